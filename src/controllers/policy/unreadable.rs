//! A stored object that this version cannot read: it is told in status, and holds nothing else up.

use kube::api::{ApiResource, DynamicObject};
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Api, Resource};
use serde_json::{Value, json};

use super::convert::{condition_from, condition_to};
use crate::api::{CrossRegionBackupPolicy, FINALIZER};
use crate::cluster::events::Note;
use crate::cluster::status::{apply_status, set_finalizer};
use crate::controllers::watch::Guarded;
use crate::controllers::{Context, NotReported};
use crate::domain::condition::{self, types};
use crate::domain::{Outcome, Progress, Reason, Truth};
use crate::telemetry::redact;

/// A parser's words are cut here.
const LONGEST: usize = 256;

pub async fn reconcile(context: &Context, invalid: &InvalidObject) -> Result<Action, NotReported> {
    let guarded: Guarded<CrossRegionBackupPolicy> = DeserializeGuard(Err(invalid.clone()));
    let meta = &invalid.metadata;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    let api = Api::<Guarded<CrossRegionBackupPolicy>>::namespaced(context.kube.clone(), &namespace);
    let failed = |error: String| NotReported(error);
    if meta.deletion_timestamp.is_some() {
        if meta.finalizers.iter().flatten().any(|f| f == FINALIZER) {
            let text = format!("the resource cannot be read: {}", words(invalid));
            let note = Note { warning: false, reason: "DisableSkipped", action: "Reconcile", text };
            context.events.publish(&guarded.object_ref(&()), note).await;
            set_finalizer(&api, &guarded, FINALIZER, false).await.map_err(|e| failed(e.to_string()))?;
        }
        return Ok(Action::await_change());
    }
    // Whatever was observed stays in status: only the conditions are replaced.
    let resource = ApiResource::erase::<CrossRegionBackupPolicy>(&());
    let dynamic = Api::<DynamicObject>::namespaced_with(context.kube.clone(), &namespace, &resource);
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
        cause: format!("the resource cannot be read by this version of the operator: {}", words(invalid)),
        detail: None,
    };
    let generation = meta.generation.unwrap_or_default();
    let new =
        condition::merge(&old, &[types::READY, types::SYNCED], &outcome, generation, context.clock.now());
    let observed = status.get("observedGeneration").and_then(Value::as_i64);
    if new == old && observed == Some(generation) {
        return Ok(Action::await_change());
    }
    let conditions: Vec<_> = new.iter().map(condition_to).collect();
    status["conditions"] = serde_json::to_value(conditions).map_err(|e| failed(e.to_string()))?;
    status["observedGeneration"] = json!(generation);
    apply_status(&api, &guarded, status).await.map_err(|e| failed(e.to_string()))?;
    Ok(Action::await_change())
}

fn words(invalid: &InvalidObject) -> String {
    redact::scrub(&invalid.error).chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
