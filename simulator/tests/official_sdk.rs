//! The official Python SDK as a client of the server: what it can talk to speaks the real protocol.

use std::process::Stdio;

use cloud_simulator::{Clock, Server, Simulator};
use tokio::process::Command;

const PYTHON: &str = "CRBO_SDK_PYTHON";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_official_sdk_is_served() {
    let Ok(python) = std::env::var(PYTHON) else {
        panic!("{PYTHON} names no Python with the official SDK; run `make test`, which installs one");
    };
    let server = Server::start(Simulator::new(Clock::system())).await.unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sdk/test_official_sdk.py");
    let output = Command::new(python)
        .arg(script)
        .env("SIMULATOR_URL", server.url())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("\nOK\n"), "{told}");
}
