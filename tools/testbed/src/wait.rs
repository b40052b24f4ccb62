//! Waits for conditions in other processes: polls with a deadline, never a fixed sleep.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Pause between two polls. Short: most polls take longer than the pause.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `look` until it returns `Ok(Some(value))`, at most for `limit`.
///
/// `Ok(None)` and `Err` both mean "not yet"; the last `Err` is part of the failure's message. A poll that knows more than "no"
/// therefore returns, for example, `Err(anyhow!("phase is {phase}"))`.
///
/// # Errors
/// When the limit has passed; a poll in progress is dropped then.
pub async fn wait_until<T>(
    limit: Duration,
    what: impl Display,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut looks = 0_u32;
    let mut last = None;
    let polling = async {
        loop {
            match look().await {
                Ok(Some(value)) => return value,
                Ok(None) => last = None,
                Err(error) => last = Some(error),
            }
            looks += 1;
            tokio::time::sleep(PAUSE).await;
        }
    };
    if let Ok(value) = tokio::time::timeout(limit, polling).await {
        return Ok(value);
    }
    let waited = started.elapsed().as_secs_f32();
    let seen = last.map_or_else(String::new, |error| format!("; last seen: {error:#}"));
    Err(anyhow!("waited {waited:.1} s ({looks} looks) in vain for: {what}{seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_what_the_look_found() {
        let mut countdown = 2;
        let found = wait_until(Duration::from_secs(10), "the end", async || {
            countdown -= 1;
            Ok((countdown == 0).then_some("done"))
        });
        assert_eq!(found.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn the_failure_says_what_was_waited_for_and_what_was_seen() {
        let waiting =
            wait_until::<()>(Duration::from_millis(1), "a phase", async || Err(anyhow!("phase is Lost")));
        let message = waiting.await.unwrap_err().to_string();
        assert!(message.contains("in vain for: a phase; last seen: phase is Lost"), "{message}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_does_not_outlive_the_limit() {
        let hanging =
            wait_until::<()>(Duration::from_millis(1), "nothing", async || std::future::pending().await);
        assert!(hanging.await.is_err());
    }
}
