//! Who may talk to the API server: static users with random tokens, and the kubeconfig files that carry them.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

/// The administrator, of the group that RBAC does not restrict.
pub const ADMIN: &str = "admin";
/// The controller-manager under its usual name, so that the audit log tells it from the administrator.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const MASTERS: &str = "system:masters";

/// A user that the API server knows, with no rights beyond those that RBAC gives to the name and the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    /// A user without groups.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: Vec::new() }
    }

    /// The same user as a member of this group too.
    #[must_use]
    pub fn in_group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }
}

/// The users of one control plane with their tokens.
#[derive(Debug)]
pub struct Identities {
    users: Vec<(User, String)>,
}

impl Identities {
    /// The two users that every control plane has, and these.
    pub fn generate(more: &[User]) -> Result<Self> {
        let own = [ADMIN, CONTROLLER_MANAGER].map(|name| User::new(name).in_group(MASTERS));
        let users = own.iter().chain(more).map(|user| Ok((user.clone(), random_token()?)));
        Ok(Self { users: users.collect::<Result<_>>()? })
    }

    /// The file for `--token-auth-file`: token, name, uid and the quoted groups.
    pub fn write_token_file(&self, path: &Path) -> Result<()> {
        let lines = self.users.iter().map(|(user, token)| {
            format!("{token},{},{},\"{}\"\n", user.name, user.name, user.groups.join(","))
        });
        fs::write(path, lines.collect::<String>()).context("cannot write the token file")
    }

    /// The user's token.
    pub fn token(&self, name: &str) -> Result<&str> {
        let found = self.users.iter().find(|(user, _)| user.name == name);
        found.map(|(_, token)| token.as_str()).with_context(|| format!("the API server knows no user {name}"))
    }
}

/// Writes a kubeconfig file (in JSON, which is YAML) for one token, and returns its path. It replaces an earlier one in
/// one step: a process that another test has started may be reading that very moment.
pub fn write_kubeconfig(
    path: PathBuf,
    server: &str,
    authority: &Path,
    user: &str,
    token: &str,
) -> Result<PathBuf> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
        "current-context": "testbed",
    });
    replace(&path, &format!("{config:#}")).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn replace(path: &Path, text: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("no random numbers")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_a_kubeconfig_while_it_is_written_again_reads_a_whole_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.kubeconfig");
        let write = || write_kubeconfig(path.clone(), "https://a", folder.path(), "user", "token").unwrap();
        write();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| (0..200).for_each(|_| drop(write())));
            while !writer.is_finished() {
                let text = fs::read_to_string(&path).unwrap();
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text:?}");
            }
        });
    }

    #[test]
    fn the_token_file_has_a_line_for_each_user() {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::generate(&[User::new("tenant").in_group("a").in_group("b")]).unwrap();
        identities.write_token_file(&folder.path().join("tokens")).unwrap();
        let text = fs::read_to_string(folder.path().join("tokens")).unwrap();
        let token = identities.token("tenant").unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(text.ends_with(&format!("{token},tenant,tenant,\"a,b\"\n")), "{text}");
        assert!(identities.token("nobody").is_err());
    }
}
