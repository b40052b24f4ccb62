//! Lifecycle of one control plane: starts its programs in order, restarts the API server, provides kubeconfigs and kubectl.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};

use crate::assets::Assets;
use crate::audit::{self, AuditEntry, AuditFilter};
use crate::certificates::Certificates;
use crate::components::{self, Layout};
use crate::identity::{ADMIN, CONTROLLER_MANAGER, Identities, User, write_kubeconfig};
use crate::kubectl::Kubectl;
use crate::port::free_port;
use crate::process::Process;
use crate::wait::wait_until;
use crate::watchdog::Watchdog;

/// Limit for a program to become ready; it takes 5 s on two idle cores, longer on machines that are busy with other tests.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Limit for a graceful stop; the API server drains requests in progress, in less than 2 s where none hangs.
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// Number of ports to try.
const PORTS: usize = 5;

/// Options of a control plane.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Users with kubeconfigs of their own, see [`ControlPlane::user_kubeconfig`].
    pub users: Vec<User>,
    /// Additional arguments for kube-apiserver; they override the defaults.
    pub apiserver_args: Vec<String>,
}

/// A running control plane; dropping it ends its processes and removes its files.
#[derive(Debug)]
pub struct ControlPlane {
    // Fields drop in this order: clients before servers, processes before files.
    _controller_manager: Process,
    /// None while it is stopped.
    apiserver: Mutex<Option<Process>>,
    /// None while it is stopped.
    etcd: Mutex<Option<Process>>,
    kubectl: Kubectl,
    identities: Identities,
    options: Options,
    assets: Assets,
    port: u16,
    layout: Layout,
    _folder: TempDir,
    _folder_watchdog: Watchdog,
}

/// Returns the control plane that all tests of this process share; the first call starts it, and it ends with the process.
///
/// A test that stops the API server, or changes objects outside of a namespace of its own, starts its own control plane
/// instead.
///
/// # Errors
/// When it could not be started; the start is tried once, and every caller gets the reason.
pub async fn shared() -> Result<&'static ControlPlane> {
    static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    let start =
        || async { ControlPlane::start(Options::default()).await.map_err(|error| format!("{error:#}")) };
    SHARED.get_or_init(start).await.as_ref().map_err(|error| anyhow!("no shared control plane: {error}"))
}

impl ControlPlane {
    /// Starts the programs, and returns when the API server is ready and the controllers work.
    ///
    /// # Errors
    /// When a binary is missing or a program is not ready within two minutes; the message has the end of its log.
    pub async fn start(options: Options) -> Result<Self> {
        let assets = Assets::find()?;
        let folder = tempfile::Builder::new().prefix("testbed-").tempdir().context("no temporary folder")?;
        let folder_watchdog = Watchdog::remove_folder(folder.path())?;
        let certificates = Certificates::generate(folder.path())?;
        let layout = Layout { folder: folder.path().to_path_buf(), certificates };
        let identities = Identities::generate(&options.users)?;
        identities.write_token_file(&layout.token_file())?;
        std::fs::write(layout.audit_policy(), audit::POLICY)?;

        let etcd = start_etcd(&assets, &layout).await?;
        let (apiserver, kubectl, port) = first_apiserver(&assets, &layout, &identities, &options).await?;

        let server = server_url(port);
        let kubeconfig = write_kubeconfig(
            layout.file("controller-manager.kubeconfig"),
            &server,
            &layout.certificates.authority,
            CONTROLLER_MANAGER,
            identities.token(CONTROLLER_MANAGER)?,
        )?;
        let command = components::controller_manager(&assets, &layout, &kubeconfig);
        let controller_manager =
            Process::spawn(command, layout.file("kube-controller-manager.log"))?.silent_on_panic();
        // A controller creates it, in a namespace that the API server creates shortly after it is ready.
        let at_work = wait_until(READY_WITHIN, "the ServiceAccount default/default", async || {
            kubectl.run(["get", "serviceaccount", "default", "-n", "default"]).await.map(Some)
        });
        at_work.await.map_err(|error| controller_manager.with_log(&error))?;

        Ok(Self {
            _controller_manager: controller_manager,
            apiserver: Mutex::new(Some(apiserver)),
            etcd: Mutex::new(Some(etcd)),
            kubectl,
            identities,
            options,
            assets,
            port,
            layout,
            _folder: folder,
            _folder_watchdog: folder_watchdog,
        })
    }

    /// Returns the API server's address, `https://127.0.0.1:PORT`; a restart keeps it.
    #[must_use]
    pub fn server(&self) -> String {
        server_url(self.port)
    }

    /// Returns kubectl as the administrator, whom RBAC does not restrict.
    #[must_use]
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Returns the path of the administrator's kubeconfig file.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// Writes the kubeconfig file of one of [`Options::users`], and returns its path.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn user_kubeconfig(&self, name: &str) -> Result<PathBuf> {
        self.write_kubeconfig(name, self.identities.token(name)?)
    }

    /// Writes a kubeconfig file with a token of this ServiceAccount, valid for a day, and returns its path.
    ///
    /// # Errors
    /// When there is no such ServiceAccount.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.kubectl.run(["create", "token", name, "-n", namespace, "--duration=24h"]).await?;
        self.write_kubeconfig(&format!("{namespace}.{name}"), token.trim())
    }

    /// Returns a path in the control plane's folder, for logs and other files that are removed with it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.layout.file(name)
    }

    /// Returns the completed requests so far that match the filter, oldest first, also those before a restart of the API
    /// server. An entry may be written shortly after the client has its response: poll for the last ones.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn audit_entries(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>> {
        audit::read(&self.layout.audit_log(), filter)
    }

    /// Stops the API server with SIGTERM, as a node does; a no-op when it is stopped already.
    ///
    /// # Errors
    /// When it does not end within 20 s; it is killed then.
    pub async fn stop_apiserver(&self) -> Result<()> {
        // Dropped when taken: a failed stop leaves no half-stopped server behind.
        match self.apiserver.lock().await.take() {
            Some(mut apiserver) => apiserver.terminate(STOPPED_WITHIN).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// Restarts the API server with the same port, data and users; a no-op when it runs.
    ///
    /// # Errors
    /// When it is not ready within two minutes.
    pub async fn start_apiserver(&self) -> Result<()> {
        let mut slot = self.apiserver.lock().await;
        if slot.is_none() {
            let command =
                components::apiserver(&self.assets, &self.layout, self.port, &self.options.apiserver_args);
            let mut apiserver =
                Process::spawn(command, self.layout.file("kube-apiserver.log"))?.silent_on_panic();
            if !becomes_ready(&mut apiserver, &self.kubectl).await? {
                return Err(apiserver.with_log(&anyhow!("kube-apiserver ended")));
            }
            *slot = Some(apiserver);
        }
        Ok(())
    }

    /// Copies etcd's data, for [`ControlPlane::restore_data`]; etcd and the API server are down meanwhile.
    ///
    /// # Errors
    /// When etcd or the API server does not stop or restart in time, or the data cannot be copied.
    pub async fn copy_data(&self) -> Result<PathBuf> {
        let copy = self.layout.file("etcd-copy");
        self.with_stopped_etcd(|data| copy_folder(data, &copy)).await?;
        Ok(copy)
    }

    /// Restarts etcd and the API server on a copy of etcd's data, like a restored backup: resourceVersions go back.
    ///
    /// # Errors
    /// As [`ControlPlane::copy_data`].
    pub async fn restore_data(&self, copy: &Path) -> Result<()> {
        let restore = |data: &Path| {
            std::fs::remove_dir_all(data).context("cannot remove etcd's data")?;
            copy_folder(copy, data)
        };
        self.with_stopped_etcd(restore).await
    }

    async fn with_stopped_etcd(&self, what: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.stop_apiserver().await?;
        let mut slot = self.etcd.lock().await;
        if let Some(mut etcd) = slot.take() {
            etcd.terminate(STOPPED_WITHIN).await?;
        }
        what(&self.layout.etcd_data())?;
        *slot = Some(start_etcd(&self.assets, &self.layout).await?);
        drop(slot);
        self.start_apiserver().await
    }

    fn write_kubeconfig(&self, user: &str, token: &str) -> Result<PathBuf> {
        let path = self.layout.file(&format!("{user}.kubeconfig"));
        write_kubeconfig(path, &self.server(), &self.layout.certificates.authority, user, token)
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy_folder(&entry.path(), &target).map_err(std::io::Error::other)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    };
    copy().with_context(|| format!("cannot copy {}", from.display()))
}

/// Starts etcd, and returns when it listens: an API server started earlier waits a second before its next attempt.
async fn start_etcd(assets: &Assets, layout: &Layout) -> Result<Process> {
    let command = components::etcd(assets, layout);
    // A killed etcd leaves its socket behind.
    let _ = std::fs::remove_file(layout.etcd_socket());
    let mut etcd = Process::spawn(command, layout.file("etcd.log"))?.silent_on_panic();
    let listens = wait_until(READY_WITHIN, "etcd to listen", async || match etcd.try_wait()? {
        Some(status) => Ok(Some(Err(anyhow!("etcd ended with {status}")))),
        None => Ok(layout.etcd_socket().exists().then_some(Ok(()))),
    });
    listens.await.and_then(|ended| ended).map_err(|error| etcd.with_log(&error))?;
    Ok(etcd)
}

/// Starts the API server on a free port; retries with another port, as only the server's own bind shows whether it is free.
async fn first_apiserver(
    assets: &Assets,
    layout: &Layout,
    identities: &Identities,
    options: &Options,
) -> Result<(Process, Kubectl, u16)> {
    let mut log = String::new();
    for _ in 0..PORTS {
        let port = free_port()?;
        let kubeconfig = write_kubeconfig(
            layout.file("admin.kubeconfig"),
            &server_url(port),
            &layout.certificates.authority,
            ADMIN,
            identities.token(ADMIN)?,
        )?;
        let kubectl = Kubectl::new(assets.kubectl.clone(), kubeconfig, layout.file("kubectl-cache"));
        let command = components::apiserver(assets, layout, port, &options.apiserver_args);
        let mut apiserver = Process::spawn(command, layout.file("kube-apiserver.log"))?.silent_on_panic();
        if becomes_ready(&mut apiserver, &kubectl).await? {
            return Ok((apiserver, kubectl, port));
        }
        log = apiserver.log_tail();
        if !log.contains("address already in use") {
            break;
        }
    }
    bail!("kube-apiserver ended\n{log}")
}

/// Waits until the API server is ready; false when it has ended instead.
async fn becomes_ready(apiserver: &mut Process, kubectl: &Kubectl) -> Result<bool> {
    let ready = wait_until(READY_WITHIN, "kube-apiserver to be ready", async || {
        if apiserver.try_wait()?.is_some() {
            return Ok(Some(false));
        }
        kubectl.run(["get", "--raw", "/readyz"]).await?;
        Ok(Some(true))
    });
    ready.await.map_err(|error| apiserver.with_log(&error))
}

fn server_url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}
