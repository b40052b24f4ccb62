//! Finds the control plane's binaries.
//!
//! Binaries in `KUBEBUILDER_ASSETS` (the convention of controller-runtime's envtest) take precedence. Missing ones come from
//! `.build/bin` of this repository, which `make control-plane` fills; kubectl also from `PATH`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Paths of the control plane's programs.
#[derive(Debug, Clone)]
pub struct Assets {
    pub etcd: PathBuf,
    pub apiserver: PathBuf,
    pub controller_manager: PathBuf,
    pub kubectl: PathBuf,
}

impl Assets {
    /// Looks for every binary; the error names the first one missing and how to get it.
    pub fn find() -> Result<Self> {
        let mut folders: Vec<PathBuf> =
            env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from).into_iter().collect();
        folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.build/bin"));
        let path = env::var_os("PATH").unwrap_or_default();
        let with_path: Vec<PathBuf> = folders.iter().cloned().chain(env::split_paths(&path)).collect();
        Ok(Self {
            etcd: built("etcd", &folders)?,
            apiserver: built("kube-apiserver", &folders)?,
            controller_manager: built("kube-controller-manager", &folders)?,
            kubectl: first("kubectl", &with_path)
                .context("no kubectl in $KUBEBUILDER_ASSETS or on PATH; install it")?,
        })
    }
}

fn built(name: &str, folders: &[PathBuf]) -> Result<PathBuf> {
    first(name, folders).with_context(|| {
        let looked: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("no {name} in {}; `make control-plane` builds it", looked.join(" or "))
    })
}

fn first(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_has_the_binary_wins() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [one.path().to_path_buf(), two.path().to_path_buf()];
        std::fs::write(two.path().join("etcd"), "").unwrap();
        assert_eq!(built("etcd", &folders).unwrap(), two.path().join("etcd"));
        std::fs::write(one.path().join("etcd"), "").unwrap();
        assert_eq!(built("etcd", &folders).unwrap(), one.path().join("etcd"));
    }

    #[test]
    fn a_missing_binary_is_named_with_the_way_to_get_it() {
        let error = built("kube-apiserver", &["/nowhere".into()]).unwrap_err().to_string();
        assert_eq!(error, "no kube-apiserver in /nowhere; `make control-plane` builds it");
    }
}
