//! Measures how long creating credentials and redacting their values from texts block the thread that also renews the Lease.
//! Prints a table; asserts no limit.

use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cross_region_backup_operator::cloud::Credentials;

/// Number of accounts; each round replaces the credentials of all, as happens once a minute with temporary ones.
const ACCOUNTS: usize = 1000;
const ROUNDS: usize = 60;
/// Usual length of a session token, in bytes.
const TOKEN: usize = 600;
/// Length of the longest value that is read from a Secret, in bytes.
const LONGEST: usize = 8192;

fn main() {
    let before = resident_kib();
    let mut held: Vec<_> = (0..ACCOUNTS).map(|n| credentials(n, TOKEN)).collect();
    let mut steps = Vec::new();
    for round in 1..=ROUNDS {
        for (n, account) in held.iter_mut().enumerate() {
            let (id, secret, token) = values(round * ACCOUNTS + n, TOKEN);
            steps.push(timed(|| *account = Credentials::new(&id, &secret, Some(&token))));
        }
    }
    let total: Duration = steps.iter().sum();
    println!("{ACCOUNTS} accounts with tokens of {TOKEN} bytes, {ROUNDS} rotations of all of them");
    row("a rotation, mean", total / steps.len() as u32);
    row("a rotation, longest", steps.into_iter().max().unwrap_or_default());
    println!(
        "{:<56}{:>12} KiB",
        "resident memory, with the values themselves",
        resident_kib().saturating_sub(before)
    );

    let request_id = "20251122120000A1B2C3D4E5F60718293A";
    let message =
        "The security token included in the request is invalid: eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ. "
            .repeat(3);
    let page = "x".repeat(1 << 20);
    for (of, length) in [("a usual account", TOKEN), ("three values of 8 KiB", LONGEST)] {
        let account = match length {
            LONGEST => Credentials::new(
                &"A".repeat(LONGEST),
                &"+\"/&".repeat(LONGEST / 4),
                Some(&"\\".repeat(LONGEST)),
            ),
            _ => credentials(0, length),
        };
        println!("texts of {of}");
        for (what, text) in [
            ("a request id", request_id),
            ("a message of 285 characters", &message),
            ("a message of 1 MiB", &page),
        ] {
            let longest = (0..100).map(|_| timed(|| account.redactor().clean(text.chars()))).max();
            row(&format!("{what}, longest of 100"), longest.unwrap_or_default());
        }
    }
}

fn credentials(number: usize, token: usize) -> Credentials {
    let (id, secret, token) = values(number, token);
    Credentials::new(&id, &secret, Some(&token))
}

/// Returns a key id, a secret and a token of 47, 60 and `token` bytes.
fn values(number: usize, token: usize) -> (String, String, String) {
    let text = |letter: char, length: usize| {
        format!("{number:x}{}", letter.to_string().repeat(length))[..length].to_owned()
    };
    (format!("AKLT{}", text('i', 43)), text('/', 60), text('+', token))
}

fn timed<T>(step: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    black_box(step());
    start.elapsed()
}

fn row(what: &str, took: Duration) {
    println!("{what:<56}{:>12.1} us", took.as_secs_f64() * 1e6);
}

/// Returns the resident memory of this process; 0 where the system has no /proc.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}
