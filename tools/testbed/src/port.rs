//! Free ports on loopback.

use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};

/// Below the ephemeral ports of Linux (from 32768) and macOS (from 49152), which serve connections and port 0: the system gives
/// none of these to another program, even while the API server is down between a stop and a start.
const RANGE: std::ops::Range<u16> = 20000..32768;

const TRIES: usize = 100;

/// Returns a port of 127.0.0.1 on which nothing listens now. Another process of this crate may still bind it first: a caller
/// whose server cannot bind asks for another port.
pub fn free_port() -> Result<u16> {
    let mut random = File::open("/dev/urandom").context("no random numbers")?;
    for _ in 0..TRIES {
        let mut bytes = [0; 2];
        random.read_exact(&mut bytes)?;
        let port = RANGE.start + u16::from_ne_bytes(bytes) % (RANGE.end - RANGE.start);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port of {RANGE:?} found in {TRIES} tries")
}
