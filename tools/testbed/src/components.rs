//! Command lines of etcd, kube-apiserver and kube-controller-manager.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::assets::Assets;
use crate::certificates::Certificates;

/// The controllers that tests rely on. Others would watch workload kinds, which nothing here uses and which an older API server
/// from `KUBEBUILDER_ASSETS` may lack.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
    serviceaccount-token-controller,root-ca-certificate-publisher-controller,clusterrole-aggregation-controller";

/// Paths of one control plane's files.
#[derive(Debug)]
pub struct Layout {
    pub folder: PathBuf,
    pub certificates: Certificates,
}

impl Layout {
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn audit_log(&self) -> PathBuf {
        self.file("audit.log")
    }

    pub fn audit_policy(&self) -> PathBuf {
        self.file("audit-policy.json")
    }

    pub fn token_file(&self) -> PathBuf {
        self.file("tokens.csv")
    }

    /// Unix socket of etcd in the private folder: no port conflicts, and no access for other users of the machine.
    pub fn etcd_socket(&self) -> PathBuf {
        self.file("etcd.sock")
    }

    pub fn etcd_data(&self) -> PathBuf {
        self.file("etcd")
    }

    fn etcd_url(&self) -> String {
        format!("unix://{}", self.etcd_socket().display())
    }
}

/// Returns the command of etcd, without fsync, which would make every write wait for the disk.
pub fn etcd(assets: &Assets, layout: &Layout) -> Command {
    let mut command = Command::new(&assets.etcd);
    command
        .arg(option("data-dir", layout.etcd_data()))
        .arg(option("listen-client-urls", layout.etcd_url()))
        // Required to be a host and port, like the default of the advertised peer URL, but unused: no client asks for
        // it, and there are no peers.
        .arg("--advertise-client-urls=http://127.0.0.1:2379")
        .arg(option("listen-peer-urls", format!("unix://{}", layout.file("peer.sock").display())))
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    command
}

/// Returns the command of an API server on 127.0.0.1.
pub fn apiserver(assets: &Assets, layout: &Layout, port: u16, more: &[String]) -> Command {
    let certificates = &layout.certificates;
    let mut command = Command::new(&assets.apiserver);
    command
        .arg(option("etcd-servers", layout.etcd_url()))
        .arg(option("secure-port", port.to_string()))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        // The Service `kubernetes` needs an address that is not loopback, and nothing here uses the Service.
        .args(["--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24"])
        .arg(option("tls-cert-file", &certificates.serving_certificate))
        .arg(option("tls-private-key-file", &certificates.serving_key))
        .arg("--authorization-mode=RBAC")
        .arg(option("token-auth-file", layout.token_file()))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(option("service-account-signing-key-file", &certificates.token_key))
        .arg(option("service-account-key-file", &certificates.token_public_key))
        .arg(option("audit-policy-file", layout.audit_policy()))
        .arg(option("audit-log-path", layout.audit_log()))
        // In megabytes. A rotated log would hide its first part from the tests that count.
        .arg("--audit-log-maxsize=4096")
        // Many tests may send requests at once; throttling by the server would only slow them down.
        .args(["--enable-priority-and-fairness=false", "--max-requests-inflight=0"])
        .arg("--max-mutating-requests-inflight=0")
        // On shutdown, watches are closed after this time. Without it they delay the exit by a minute.
        .arg("--shutdown-watch-termination-grace-period=1s")
        .args(more);
    command
}

/// Returns the command of a controller-manager with the controllers that tests rely on.
pub fn controller_manager(assets: &Assets, layout: &Layout, kubeconfig: &Path) -> Command {
    let mut command = Command::new(&assets.controller_manager);
    command
        .arg(option("kubeconfig", kubeconfig))
        .arg(option("controllers", CONTROLLERS))
        .arg(option("service-account-private-key-file", &layout.certificates.token_key))
        .arg(option("root-ca-file", &layout.certificates.authority))
        // No leader election, no port, and no effective client-side rate limit, so that namespaces are deleted
        // quickly.
        .args(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=1000"]);
    command
}

/// Formats `--name=value`; the value may be a path.
fn option(name: &str, value: impl Into<OsString>) -> OsString {
    let mut option = OsString::from(format!("--{name}="));
    option.push(value.into());
    option
}
