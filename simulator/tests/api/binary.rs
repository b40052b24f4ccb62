//! Tests of the binary: printed address, initial state, and shutdown.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

fn program(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cloud-simulator"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn get(address: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn it_serves_its_seed_until_told_to_end() {
    let seed = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/seed.json");
    for signal in ["-TERM", "-INT"] {
        let mut child = program(&["--listen", "127.0.0.1:0", "--state", seed]);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let address = line.trim_end().strip_prefix("listening on http://").unwrap();
        let instances = get(address, "/admin/instances").await;
        assert_eq!(instances[0]["instanceId"], "redis-cn0212gzmh2xs1234");
        assert_eq!(get(address, "/admin/backups").await[0]["status"], "Available");
        let id = child.id().unwrap().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
        assert!(child.wait().await.unwrap().success(), "{signal}");
    }
}

#[tokio::test]
async fn it_says_what_is_wrong_with_a_seed() {
    for (seed, complaint) in [("Cargo.toml", "expected value"), ("nowhere.json", "No such file")] {
        let path = format!("{}/{seed}", env!("CARGO_MANIFEST_DIR"));
        let output = program(&["--state", &path]).wait_with_output().await.unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(&path) && told.contains(complaint), "{told}");
    }
}
