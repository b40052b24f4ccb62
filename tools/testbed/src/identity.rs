//! Static users of the API server with random tokens, and the kubeconfig files that carry the tokens.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

/// The administrator, of the group that RBAC does not restrict.
pub const ADMIN: &str = "admin";
/// The controller-manager's usual name, so that the audit log distinguishes it from the administrator.
pub const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const MASTERS: &str = "system:masters";

/// A static user of the API server, with the rights that RBAC grants to the name and the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub groups: Vec<String>,
}

impl User {
    /// Creates a user without groups.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), groups: Vec::new() }
    }

    /// Adds the user to a group.
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
    /// Generates tokens for the two users that every control plane has, and for these.
    pub fn generate(more: &[User]) -> Result<Self> {
        let own = [ADMIN, CONTROLLER_MANAGER].map(|name| User::new(name).in_group(MASTERS));
        let users = own.iter().chain(more).map(|user| Ok((user.clone(), random_token()?)));
        Ok(Self { users: users.collect::<Result<_>>()? })
    }

    /// Writes the file for `--token-auth-file`: token, name, uid and the quoted groups.
    pub fn write_token_file(&self, path: &Path) -> Result<()> {
        let lines = self.users.iter().map(|(user, token)| {
            format!("{token},{},{},\"{}\"\n", user.name, user.name, user.groups.join(","))
        });
        fs::write(path, lines.collect::<String>()).context("cannot write the token file")
    }

    /// Returns the user's token.
    pub fn token(&self, name: &str) -> Result<&str> {
        let found = self.users.iter().find(|(user, _)| user.name == name);
        found.map(|(_, token)| token.as_str()).with_context(|| format!("the API server knows no user {name}"))
    }
}

/// Writes a kubeconfig file (in JSON, which is YAML) for one token, and returns its path.
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
    // Written to a temporary file, then renamed: another test's program may be reading the same user's file.
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).context("no temporary file")?;
    file.write_all(format!("{config:#}").as_bytes())?;
    file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
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
