//! Where a region's instances can copy their backups to: one instance's answer is a hint for the others.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use super::account::Account;
use crate::domain::{Failure, InstanceRef};
use crate::plan::since;

/// An answer is believed so long. A target that it lacks is asked for again in any case.
const HOLDS: Duration = Duration::from_secs(3600);
/// A refusal is believed so long: those who ask at the same time get the same answer.
const REFUSAL_HOLDS: Duration = Duration::from_secs(1);

type Answer = Result<Vec<String>, Failure>;

/// What the cloud last said of each region, and when.
#[derive(Default)]
pub struct Regions(tokio::sync::Mutex<HashMap<String, (Answer, Timestamp)>>);

impl Account {
    /// The targets of an instance's region; asked for by `ask` where no answer for its region has the `wanted` one, or this very
    /// instance's is wanted. Those who want to know of one region at the same time wait for the first one's answer.
    ///
    /// # Errors
    /// The call's failure, or that of the one who asked a moment ago.
    pub async fn available_regions(
        &self,
        instance: &InstanceRef,
        wanted: Option<&str>,
        now: impl Fn() -> Timestamp,
        ask: impl Future<Output = Answer>,
    ) -> Answer {
        let Some(wanted) = wanted else { return self.ask_for_one(instance, now, ask).await };
        let mut told = self.regions.0.lock().await;
        match told.get(&instance.region) {
            Some((Err(failure), at)) if since(*at, now()) < REFUSAL_HOLDS => return Err(failure.clone()),
            Some((Ok(regions), at)) if since(*at, now()) < HOLDS => {
                if regions.iter().any(|region| region == wanted) {
                    return Ok(regions.clone());
                }
                // It may be this instance alone that can be copied there: nobody else has to wait for its answer.
                drop(told);
                return self.ask_for_one(instance, now, ask).await;
            }
            _ => {}
        }
        let answer = ask.await;
        told.insert(instance.region.clone(), (answer.clone(), now()));
        answer
    }

    /// Its answer is a hint as any other.
    async fn ask_for_one(
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
