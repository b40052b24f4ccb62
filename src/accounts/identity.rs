//! The operator's own identity in the cluster: a token in a file that the kubelet writes, and replaces before the
//! token expires.

use std::env;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::cloud::{IdentityToken, Site};

/// Path that VKE's webhook mounts; an environment variable names that of a custom projected volume (VKE, "IRSA",
/// 6460/1324613).
const VKE_TOKEN_FILE: &str = "/var/run/secrets/vke.volcengine.com/irsa-tokens/token";
/// Maximum length of a token in bytes: AssumeRoleWithOIDC takes at most 65536 characters.
const MAX_TOKEN_BYTES: u64 = 65_536;

/// Location of the process's identity, from the environment that the clouds' webhooks set for their SDKs.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// VOLCENGINE_OIDC_TOKEN_FILE.
    pub volcengine_token_file: Option<PathBuf>,
    /// VOLCENGINE_OIDC_STS_ENDPOINT: a host without a scheme, for accounts that name no stsEndpoint.
    pub volcengine_sts: Option<String>,
    /// TKE_WEB_IDENTITY_TOKEN_FILE.
    pub tencent_token_file: Option<PathBuf>,
}

impl Identity {
    pub fn from_env() -> Self {
        let value = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
        Self {
            volcengine_token_file: value("VOLCENGINE_OIDC_TOKEN_FILE").map(PathBuf::from),
            volcengine_sts: value("VOLCENGINE_OIDC_STS_ENDPOINT").map(|host| host.trim().to_owned()),
            tencent_token_file: value("TKE_WEB_IDENTITY_TOKEN_FILE").map(PathBuf::from),
        }
    }

    /// Returns the file of the token that this cloud's STS takes.
    pub fn token_file(&self, site: Site) -> TokenFile {
        match site {
            Site::Volcengine | Site::BytePlus => {
                let path = self.volcengine_token_file.clone().unwrap_or_else(|| VKE_TOKEN_FILE.into());
                TokenFile { path: Some(path), variable: "VOLCENGINE_OIDC_TOKEN_FILE" }
            }
            Site::Tencent | Site::TencentInternational => {
                TokenFile { path: self.tencent_token_file.clone(), variable: "TKE_WEB_IDENTITY_TOKEN_FILE" }
            }
        }
    }

    /// Returns the STS endpoint that the environment names.
    pub fn sts_endpoint(&self, site: Site) -> Option<String> {
        let host = self.volcengine_sts.as_ref().filter(|_| site == Site::Volcengine)?;
        Some(format!("https://{host}"))
    }
}

/// Token file for one cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    path: Option<PathBuf>,
    /// Environment variable that names the file.
    variable: &'static str,
}

impl TokenFile {
    /// Reads the present token.
    ///
    /// # Errors
    /// Description of the problem with the file, for the account's owner.
    pub async fn read(&self) -> Result<IdentityToken, String> {
        let Some(path) = &self.path else {
            return Err(format!("the operator has no token file: {} is not set", self.variable));
        };
        let wrong = |what: &str| format!("token file {} {what}", path.display());
        let bytes = read(path).await.map_err(|error| match error {
            ErrorKind::NotFound => format!("{} ({} names another)", wrong("does not exist"), self.variable),
            ErrorKind::PermissionDenied => wrong("may not be read by the operator"),
            _ => wrong("cannot be read"),
        })?;
        if bytes.len() as u64 > MAX_TOKEN_BYTES {
            return Err(wrong("is longer than 65536 bytes"));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("holds no token"))?;
        if text.trim().bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(wrong("holds no token"));
        }
        IdentityToken::new(&text).ok_or_else(|| wrong("is empty"))
    }
}

/// Reads a file up to the first byte beyond the limit: the configured path may be anything.
async fn read(path: &Path) -> Result<Vec<u8>, ErrorKind> {
    let kind = |error: std::io::Error| error.kind();
    if !tokio::fs::metadata(path).await.map_err(kind)?.is_file() {
        return Err(ErrorKind::InvalidInput);
    }
    let mut bytes = Vec::new();
    let file = File::open(path).await.map_err(kind)?;
    file.take(MAX_TOKEN_BYTES + 1).read_to_end(&mut bytes).await.map_err(kind)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8]) -> TokenFile {
        let path = env::temp_dir().join(format!("crbo-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        TokenFile { path: Some(path), variable: "VARIABLE" }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_token_file_is_said() {
        let unset = Identity::default().token_file(Site::Tencent);
        assert_eq!(
            unset.read().await.unwrap_err(),
            "the operator has no token file: TKE_WEB_IDENTITY_TOKEN_FILE is not set"
        );
        let absent = TokenFile { path: Some("/nowhere/token".into()), variable: "VARIABLE" };
        assert_eq!(
            absent.read().await.unwrap_err(),
            "token file /nowhere/token does not exist (VARIABLE names another)"
        );
        let folder = TokenFile { path: Some(env::temp_dir()), variable: "VARIABLE" };
        assert!(folder.read().await.unwrap_err().ends_with("cannot be read"));
        let good = b"eyJhbGci.c3Vi.c2ln\n";
        for (name, content, end) in [
            ("empty", &b""[..], "is empty"),
            ("blank", b" \n\t\n", "is empty"),
            ("long", &[b'a'; 65_537], "is longer than 65536 bytes"),
            ("binary", &[0xff, 0xfe], "holds no token"),
            ("lines", b"one\ntwo", "holds no token"),
        ] {
            let file = file(name, content);
            let said = file.read().await.unwrap_err();
            assert!(said.starts_with("token file /") && said.ends_with(end), "{name}: {said}");
            // The file is read again each time.
            std::fs::write(file.path.as_ref().unwrap(), good).unwrap();
            assert!(file.read().await.is_ok(), "{name}");
            std::fs::remove_file(file.path.unwrap()).unwrap();
        }
    }

    #[test]
    fn volcengine_s_file_has_a_usual_place() {
        assert_eq!(Identity::default().token_file(Site::Volcengine).path, Some(VKE_TOKEN_FILE.into()));
        let named = Identity { volcengine_token_file: Some("/token".into()), ..Identity::default() };
        assert_eq!(named.token_file(Site::Volcengine).path, Some("/token".into()));
    }
}
