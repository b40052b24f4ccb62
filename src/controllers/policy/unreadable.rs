//! Reconcile of a policy that this version cannot parse.

use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::{Api, Resource};

use crate::api::{CrossRegionBackupPolicy, FINALIZER};
use crate::cluster::events::Note;
use crate::cluster::status::set_finalizer;
use crate::controllers::guarded::Guarded;
use crate::controllers::unreadable::{report_parse_error, words};
use crate::controllers::{Context, NotReported, Part};
use crate::domain::condition::types;

pub async fn reconcile(context: &Context, invalid: &InvalidObject) -> Result<Action, NotReported> {
    let meta = &invalid.metadata;
    // Its spec is unknown: another policy of its instance takes over.
    context.claims.set(&meta.uid.as_deref().unwrap_or_default().into(), None);
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let api = Api::<Guarded<CrossRegionBackupPolicy>>::namespaced(context.kube.clone(), namespace);
    if meta.deletion_timestamp.is_none() {
        return report_parse_error(context, &api, invalid, &[types::READY, types::SYNCED]).await;
    }
    if meta.finalizers.iter().flatten().any(|f| f == FINALIZER) {
        if let Some(wait) = context.failed_writes.wait(meta, Part::Status) {
            return Ok(Action::requeue(wait));
        }
        let guarded: Guarded<CrossRegionBackupPolicy> = Guarded(Err(invalid.clone()));
        let note =
            Note { warning: false, reason: "DisableSkipped", action: "Reconcile", text: words(invalid) };
        context.events.publish(&guarded.object_ref(&()), note).await;
        set_finalizer(&api, &guarded, FINALIZER, false).await?;
    }
    Ok(Action::await_change())
}
