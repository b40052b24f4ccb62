//! Checks the delay between a failed call of a policy and the next: no retry within a second, and a policy that needs a
//! person is polled once per interval unless it is touched from outside.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::phases::INTERVAL;
use crate::faults::checker::Violation;
use crate::faults::checker::objects::Policy;
use crate::harness::history::{CloudResponse, Entry, EntryKind, USER};
use crate::harness::measurements::{BACKUPS, DESCRIBE, MODIFY};
use cross_region_backup_operator::plan::hash_of;
use cross_region_backup_operator::plan::polling::{NOT_FOUND_GRACE, next_poll};

const MIN_RETRY_DELAY: Duration = Duration::from_millis(990);
/// Retry interval of a deletion that waits for a person, in its first five minutes.
const DELETION_RETRY_DELAY: Duration = Duration::from_secs(29);
/// Timers have whole milliseconds.
const ROUNDING: SignedDuration = SignedDuration::from_millis(50);
/// Error codes after which the policy is polled once per interval.
const USER_ACTION_CODES: [&str; 4] = ["AccessDenied", "InstanceNotExist", "ParamError", "InvalidOperator"];
/// Error codes after which the call is repeated once without delay, with a corrected time or with credentials read
/// again.
const REPEATED_CODES: [&str; 2] = ["InvalidTimestamp", "InvalidAccessKey"];

struct Sent {
    at: Instant,
    /// `None`: no response yet; else the error code, if the call failed.
    answer: Option<Option<String>>,
    /// Whether the call repeats the previous one without delay.
    again: bool,
}

struct Refused {
    sent: Instant,
    told: Instant,
    code: String,
}

/// State of one policy up to one moment.
struct PolicyCalls {
    /// Start of the history.
    start: (Instant, Timestamp),
    policy: Option<Policy>,
    created: Instant,
    /// Time of the last change from outside.
    touched: Instant,
    /// Last call of each action.
    sent: HashMap<String, Sent>,
    refused: Option<Refused>,
}

/// Checks the calls of one policy.
pub fn check(entries: &[Entry], start: (Instant, Timestamp)) -> Result<(), Violation> {
    let (policy, created, touched) = (None, start.0, start.0);
    let mut pace = PolicyCalls { start, policy, created, touched, sent: HashMap::new(), refused: None };
    let mut under_way = HashMap::new();
    for entry in entries {
        match &entry.what {
            EntryKind::Started | EntryKind::Killed => pace.touched = entry.at,
            EntryKind::Received(told) if told.resource == "cloudaccounts" => pace.touched = entry.at,
            EntryKind::Stored(stored) if stored.resource.starts_with("crossregion") => {
                if entry.by == USER {
                    pace.touched = entry.at;
                }
                if pace.policy.replace(Policy::read(&stored.object)).is_none() {
                    pace.created = entry.at;
                }
            }
            EntryKind::Called(call) => {
                pace.called(&call.action, entry.at).map_err(|why| Violation { at: entry.at, why })?;
                under_way.insert((entry.by, call.number), call.action.clone());
            }
            EntryKind::Answered(number, answer) => {
                if let Some(action) = under_way.remove(&(entry.by, *number)) {
                    pace.answered(&action, entry.at, answer);
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl PolicyCalls {
    fn called(&mut self, action: &str, at: Instant) -> Result<(), String> {
        let mut again = false;
        if let Some(before) = self.sent.get(action).filter(|before| before.at > self.touched) {
            let code = before.answer.as_ref().map(|code| code.as_deref());
            // A listing of backups in flight may be the region's shared one, which runs next to a policy's own.
            let failed = code != Some(None) && (code.is_some() || action != BACKUPS);
            if failed && at < before.at + MIN_RETRY_DELAY {
                again = code.flatten().is_some_and(|code| REPEATED_CODES.contains(&code)) && !before.again;
                if !again {
                    return Err(format!("{action} {:?} after one that failed: {code:?}", at - before.at));
                }
            }
        }
        if let Some(refused) = self.refused.take_if(|_| [DESCRIBE, MODIFY].contains(&action)) {
            let earliest = self.next_call_after(&refused);
            if refused.sent > self.touched && at < earliest {
                let (soon, code) = (at - refused.told, refused.code);
                return Err(format!(
                    "{action} {soon:?} after {code}, and its turn is {:?} later",
                    earliest - at
                ));
            }
        }
        self.sent.insert(action.to_owned(), Sent { at, answer: None, again });
        Ok(())
    }

    fn answered(&mut self, action: &str, at: Instant, answer: &CloudResponse) {
        let Some(sent) = self.sent.get_mut(action) else { return };
        let code = code_of(answer);
        if let Some(code) = code.clone().filter(|code| USER_ACTION_CODES.contains(&&**code))
            && [DESCRIBE, MODIFY].contains(&action)
        {
            self.refused = Some(Refused { sent: sent.at, told: at, code });
        }
        sent.answer = Some(code);
    }

    /// Returns the earliest time of the next call.
    fn next_call_after(&self, refused: &Refused) -> Instant {
        let Some(policy) = &self.policy else { return refused.told };
        if refused.code == "InstanceNotExist" && refused.told < self.created + NOT_FOUND_GRACE {
            return refused.sent + MIN_RETRY_DELAY;
        }
        let (instant, time) = self.start;
        let told = time + SignedDuration::try_from(refused.told - instant).unwrap();
        let turn = next_poll(hash_of(&*policy.uid), INTERVAL, told);
        let turn = Duration::try_from(turn.duration_since(told) - ROUNDING).unwrap_or_default();
        refused.told + if policy.deleted { turn.min(DELETION_RETRY_DELAY) } else { turn }
    }
}

/// Returns the error code of a failure; "" for a response that the API does not specify.
fn code_of(answer: &CloudResponse) -> Option<String> {
    (!answer.is_good()).then(|| answer.code().unwrap_or_default())
}
