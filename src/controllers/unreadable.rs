//! Stored objects that this version cannot parse: status reports that, and no other object is affected.

use std::fmt::Debug;

use jiff::Timestamp;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::guarded::Guarded;
use super::policy::convert::{condition_from, condition_to};
use super::{Context, NotReported, Part};
use crate::cluster::status::{Applied, apply_status, get_json};
use crate::domain::condition::{self, types};
use crate::domain::{ConditionStatus, Outcome, Progress, Reason};

/// Maximum length of a parse error in a message, in characters.
const MAX_ERROR_CHARS: usize = 256;

/// Reports the parse error in the conditions `main`. All other fields of the status stay.
pub async fn report_parse_error<K>(
    context: &Context,
    api: &Api<Guarded<K>>,
    invalid: &InvalidObject,
    main: &[&str],
) -> Result<Action, NotReported>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let guarded: Guarded<K> = Guarded(Err(invalid.clone()));
    if let Some(wait) = context.failed_writes.wait(&invalid.metadata, Part::Status) {
        return Ok(Action::requeue(wait));
    }
    let Some(stored) = get_json(api, &guarded).await? else {
        return Ok(Action::await_change());
    };
    let Some(status) = with_parse_error(&stored["status"], invalid, main, context.clock.now()) else {
        return Ok(Action::await_change());
    };
    let applied = apply_status(api, &guarded, status).await?;
    if let Applied::Written(_) = applied {
        context.failed_writes.succeeded(&invalid.metadata, Part::Status);
        context.meters.record_status_write(&K::kind(&()));
    }
    Ok(Action::await_change())
}

/// Returns the stored status with the parse error in the conditions `main`; `None` if it reports that already.
pub fn with_parse_error(
    stored: &Value,
    invalid: &InvalidObject,
    main: &[&str],
    now: Timestamp,
) -> Option<Value> {
    // An older CRD may have admitted a status that is no object.
    let mut status = if stored.is_object() { stored.clone() } else { json!({}) };
    let reported = status
        .get("conditions")
        .and_then(|conditions| serde_json::from_value::<Vec<_>>(conditions.clone()).ok())
        .unwrap_or_default();
    let reported: Vec<_> = reported.iter().map(condition_from).collect();
    let old = condition::credible(reported.clone(), &types::OF_POLICY, now);
    let outcome = Outcome {
        status: ConditionStatus::False,
        reason: Reason::InvalidRequest,
        progress: Progress::Stalled,
        cause: words(invalid),
        detail: None,
    };
    let generation = invalid.metadata.generation.unwrap_or_default();
    let new = condition::merge(&old, main, &outcome, generation, now);
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if new == reported && observed == Some(generation) {
        return None;
    }
    let conditions: Vec<_> = new.iter().map(condition_to).collect();
    status["conditions"] = json!(conditions);
    status["observedGeneration"] = json!(generation);
    Some(status)
}

/// Returns the message for conditions, Events and the account's resources.
pub fn words(invalid: &InvalidObject) -> String {
    let why: String = invalid.error.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect();
    format!("the resource cannot be read by this version of the operator: {why}")
}
