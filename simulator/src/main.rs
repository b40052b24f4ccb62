//! Serves the simulator on a socket until SIGTERM or SIGINT.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use cloud_simulator::{Clock, Simulator, serve};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Simulates the Redis APIs of Volcengine and Tencent Cloud.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The world to begin with, as `POST /admin/seed` takes it.
    #[arg(long)]
    state: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cloud-simulator: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let simulator = Simulator::new(Clock::system());
    if let Some(path) = arguments.state {
        let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let seed = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        simulator.seed(seed)?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    // Requests in progress are cut: some of them hang on purpose.
    tokio::select! {
        result = serve(listener, simulator) => Ok(result?),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
