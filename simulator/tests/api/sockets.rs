//! Tests of connection faults over real sockets.

use std::io::ErrorKind;

use axum::body::to_bytes;
use cloud_simulator::{Clock, Effect, FaultSpec, InstanceSpec, KeySpec, Server, Simulator};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Ask, ID, KEY, MODIFY, SECRET};

async fn server() -> (Simulator, Server) {
    let simulator = Simulator::new(Clock::system());
    simulator.put_key(KeySpec::new(KEY, SECRET)).unwrap();
    simulator.put_instance(InstanceSpec::new(ID, "cn-beijing")).unwrap();
    let server = Server::start(simulator.clone()).await.unwrap();
    (simulator, server)
}

/// Sends a Modify as raw bytes, and reads until the connection is closed or fails.
async fn exchange(simulator: &Simulator, server: &Server) -> (Vec<u8>, Option<ErrorKind>) {
    let body = json!({ "InstanceId": ID, "Active": true, "CrossBackupRegion": "cn-shanghai" });
    let mut ask = Ask::new(simulator, MODIFY, body);
    ask.host = server.address().to_string();
    let (parts, body) = ask.request().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let mut text = format!("POST {} HTTP/1.1\r\nconnection: close\r\n", parts.uri);
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    text += &format!("content-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut received = Vec::new();
    let end = stream.read_to_end(&mut received).await.err().map(|error| error.kind());
    (received, end)
}

fn active(simulator: &Simulator) -> bool {
    simulator.policy(ID).unwrap().current.active
}

#[tokio::test]
async fn an_honest_answer_ends_in_order() {
    let (simulator, server) = server().await;
    let (received, end) = exchange(&simulator, &server).await;
    assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n") && received.ends_with(b"\"Result\":null}"));
    assert_eq!(end, None);
    let text = String::from_utf8(received).unwrap();
    assert_eq!(text.matches("\r\ndate: ").count(), 1, "{text}");
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (simulator, server) = server().await;
    simulator.place_fault(FaultSpec::new(Effect::Reset)).unwrap();
    assert_eq!(exchange(&simulator, &server).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
    assert!(!active(&simulator));
}

#[tokio::test]
async fn a_lost_response_is_a_reset_after_the_effect() {
    let (simulator, server) = server().await;
    simulator.place_fault(FaultSpec::new(Effect::LostResponse)).unwrap();
    assert_eq!(exchange(&simulator, &server).await, (Vec::new(), Some(ErrorKind::ConnectionReset)));
    assert!(active(&simulator));
}

#[tokio::test]
async fn a_truncated_body_is_shorter_than_announced() {
    let (simulator, server) = server().await;
    simulator.place_fault(FaultSpec::new(Effect::Truncated)).unwrap();
    let (received, _) = exchange(&simulator, &server).await;
    let text = String::from_utf8(received).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    assert!(body.starts_with("{\"ResponseMetadata\""), "{text}");
    assert_eq!(body.len(), announced.parse::<usize>().unwrap() / 2);
}

#[tokio::test]
async fn an_oversized_body_comes_whole() {
    let (simulator, server) = server().await;
    simulator.place_fault(FaultSpec::new(Effect::Oversized { bytes: 64 << 20 })).unwrap();
    let (received, end) = exchange(&simulator, &server).await;
    assert!(received.len() > 64 << 20);
    assert_eq!(end, None);
}
