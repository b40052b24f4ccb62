//! Target regions that a region's instances can copy their backups to: the answer for one instance is a hint for the
//! others.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use super::account::Account;
use crate::domain::{Failure, InstanceRef};
use crate::plan::since;

/// Lifetime of a cached answer. A target that it lacks is asked for again in any case.
const TARGETS_CACHE_TTL: Duration = Duration::from_secs(3600);
/// Lifetime of a cached refusal: concurrent callers get the same answer.
const REFUSAL_CACHE_TTL: Duration = Duration::from_secs(1);

type Answer = Result<Vec<String>, Failure>;

/// Last answer for each region, and its time.
#[derive(Default)]
pub struct Regions(tokio::sync::Mutex<HashMap<String, (Answer, Timestamp)>>);

impl Account {
    /// Returns the target regions of an instance's region. Calls `ask` if no cached answer for the region contains
    /// `wanted`; without `wanted` the answer is that for this very instance. Concurrent callers for one region wait
    /// for the first one's answer.
    ///
    /// # Errors
    /// The failure of the call, or of another caller's a moment ago.
    pub async fn available_regions(
        &self,
        instance: &InstanceRef,
        wanted: Option<&str>,
        now: impl Fn() -> Timestamp,
        ask: impl Future<Output = Answer>,
    ) -> Answer {
        let Some(wanted) = wanted else { return self.ask_for_instance(instance, now, ask).await };
        let mut cached = self.regions.0.lock().await;
        match cached.get(&instance.region) {
            Some((Err(failure), at)) if since(*at, now()) < REFUSAL_CACHE_TTL => return Err(failure.clone()),
            Some((Ok(regions), at)) if since(*at, now()) < TARGETS_CACHE_TTL => {
                if regions.iter().any(|region| region == wanted) {
                    return Ok(regions.clone());
                }
                // Only this instance may have that target: no other caller has to wait for its answer.
                drop(cached);
                return self.ask_for_instance(instance, now, ask).await;
            }
            _ => {}
        }
        let answer = ask.await;
        cached.insert(instance.region.clone(), (answer.clone(), now()));
        answer
    }

    /// Asks for this very instance; its answer is cached as a hint as well.
    async fn ask_for_instance(
        &self,
        instance: &InstanceRef,
        now: impl Fn() -> Timestamp,
        ask: impl Future<Output = Answer>,
    ) -> Answer {
        let answer = ask.await;
        if answer.is_ok() {
            self.regions.0.lock().await.insert(instance.region.clone(), (answer.clone(), now()));
        }
        answer
    }
}
