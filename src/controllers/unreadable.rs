//! A stored object that this version cannot read: it is told in status, and holds nothing else up.

use std::fmt::Debug;

use kube::api::{ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::policy::convert::{condition_from, condition_to};
use super::watch::Guarded;
use super::{Context, NotReported};
use crate::cluster::status::apply_status;
use crate::domain::condition;
use crate::domain::{Outcome, Progress, Reason, Truth};
use crate::telemetry::redact;

/// A parser's words are cut here.
const LONGEST: usize = 256;

/// Says so in the conditions `main`. Whatever else status tells stays.
pub async fn tell<K>(
    context: &Context,
    api: &Api<Guarded<K>>,
    invalid: &InvalidObject,
    main: &[&str],
) -> Result<Action, NotReported>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    let guarded: Guarded<K> = DeserializeGuard(Err(invalid.clone()));
    let meta = &invalid.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let failed = |error: String| NotReported(error);
    let resource = ApiResource::erase::<K>(&());
    let dynamic: Api<DynamicObject> = match &meta.namespace {
        Some(namespace) => Api::namespaced_with(context.kube.clone(), namespace, &resource),
        None => Api::all_with(context.kube.clone(), &resource),
    };
    let Some(stored) = dynamic.get_opt(&name).await.map_err(|e| failed(e.to_string()))? else {
        return Ok(Action::await_change());
    };
    let mut status = stored.data.get("status").cloned().unwrap_or_else(|| json!({}));
    let old: Vec<condition::Condition> = status
        .get("conditions")
        .and_then(|conditions| serde_json::from_value::<Vec<_>>(conditions.clone()).ok())
        .unwrap_or_default()
        .iter()
        .map(condition_from)
        .collect();
    let outcome = Outcome {
        status: Truth::False,
        reason: Reason::InvalidRequest,
        progress: Progress::Stalled,
        cause: words(invalid),
        detail: None,
    };
    let generation = meta.generation.unwrap_or_default();
    let new = condition::merge(&old, main, &outcome, generation, context.clock.now());
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if new == old && observed == Some(generation) {
        return Ok(Action::await_change());
    }
    let conditions: Vec<_> = new.iter().map(condition_to).collect();
    status["conditions"] = serde_json::to_value(conditions).map_err(|e| failed(e.to_string()))?;
    status["observedGeneration"] = json!(generation);
    apply_status(api, &guarded, status).await.map_err(|e| failed(e.to_string()))?;
    Ok(Action::await_change())
}

/// What a condition, an Event or an account's resources say of it.
pub fn words(invalid: &InvalidObject) -> String {
    let why: String =
        redact::scrub(&invalid.error).chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    format!("the resource cannot be read by this version of the operator: {why}")
}
