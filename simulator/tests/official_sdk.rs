//! Runs the official Python SDKs against the server, as evidence that it speaks the real protocols.

use std::process::Stdio;

use cloud_simulator::{Clock, Server, Simulator};
use tokio::process::Command;

const PYTHON: &str = "CRBO_SDK_PYTHON";

/// Runs a script of `tests/sdk` against a new server.
async fn served(script: &str) {
    let Ok(python) = std::env::var(PYTHON) else {
        panic!("{PYTHON} names no Python with the official SDKs; run `make test`, which installs one");
    };
    let server = Server::start(Simulator::new(Clock::system())).await.unwrap();
    let output = Command::new(python)
        .arg(format!("{}/tests/sdk/{script}", env!("CARGO_MANIFEST_DIR")))
        .env("SIMULATOR_URL", server.url())
        // Otherwise the Tencent Cloud SDK uses a proxy from the environment.
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("\nOK\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn volcengines_sdk_is_served() {
    served("test_volcengine_sdk.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn tencents_sdk_is_served() {
    served("test_tencent_sdk.py").await;
}
