//! One leadership term: the controllers of a process while it leads. Their state begins and ends with the term, as
//! another replica may have changed anything before the next one; only the watches outlive it.

use std::sync::Arc;

use futures::channel::mpsc::unbounded;
use futures::future::{BoxFuture, join_all, select_all};
use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backup_lister::BackupLister;
use super::failed_writes::FailedWrites;
use super::guarded::Guarded;
use super::metrics::MetricsState;
use super::policy::Claims;
use super::state_store::StateStore;
use super::triggers::{Trigger, scopes};
use super::watch::{WatchSettings, touched_metadata};
use super::watches::{Deletions, Watches};
use super::{
    Context, MAX_CONCURRENT_WRITES, MAX_WAITING_RECONCILES, SHUTDOWN_GRACE, Settings, account, api,
    inventory, policy, queues,
};
use crate::accounts::{Accounts, Deps};
use crate::cluster::elector::Leadership;
use crate::cluster::secrets::Secrets;

/// Reason for the end of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The process was asked to stop.
    Stopped,
    /// The leadership was lost.
    Lost,
}

/// Runs the controllers until `stop` resolves or the leadership is lost. After `stop`, work in progress gets [`SHUTDOWN_GRACE`]
/// to finish; after a lost leadership it is cancelled at once, and has ended when this returns.
///
/// `began`: time since when this process has waited for the Lease.
///
/// # Errors
/// A controller has ended by itself, which none should.
pub async fn lead(
    settings: &Settings,
    watches: &mut Watches,
    leadership: Leadership,
    began: Timestamp,
    stop: impl Future<Output = ()> + Clone + Send + Sync + 'static,
) -> anyhow::Result<Ended> {
    watches.freshness.start_leading();
    let (shared_trigger, shared_triggers) = unbounded();
    let (triggers, scope_triggers) = scopes(watches.scopes.len(), shared_trigger);
    let accounts = {
        let (trigger, changed) = (triggers.clone(), triggers.clone());
        let deps = Deps {
            secrets: Secrets::Cluster(settings.kube.clone()),
            clock: settings.clock.clone(),
            rule: settings.rule.clone(),
            transport: settings.transport.clone(),
            own_namespace: settings.own_namespace.clone(),
            identity: settings.identity.clone(),
            concurrency: settings.concurrency,
            meters: settings.meters.clone(),
        };
        Arc::new(Accounts::new(
            deps,
            move |key| trigger.account(key),
            move |key| changed.resources(&Trigger::Account(key.clone())),
        ))
    };
    let metrics_state = Arc::new(MetricsState::default());
    watches.look_up(settings, metrics_state.clone(), Some(accounts.clone()), Some(leadership.clone()));
    let context = Arc::new(Context {
        meters: settings.meters.clone(),
        metrics_state,
        started: settings.clock.now(),
        shared: watches.shared(),
        freshness: watches.freshness.clone(),
        kube: settings.kube.clone(),
        clock: settings.clock.clone(),
        events: settings.events.with_empty_cache(),
        as_of: leadership.previous_renewal().unwrap_or(began),
        leadership: leadership.clone(),
        read_only: settings.read_only,
        interval_override: settings.interval_override,
        accounts,
        policy_stores: watches.policy_stores(),
        inventory_stores: watches.inventory_stores(),
        account_stores: watches.account_stores(),
        synced: watches.synced(),
        policies: StateStore::default(),
        inventories: StateStore::default(),
        account_requests: account::HandledRequests::default(),
        claims: Claims::new({
            let triggers = triggers.clone();
            move |object_key| triggers.policy(object_key)
        }),
        backup_lister: BackupLister::default(),
        triggers: triggers.clone(),
        timers: Arc::default(),
        max_policy_reconciles: u16::try_from(settings.concurrency)
            .unwrap_or(u16::MAX)
            .saturating_add(MAX_WAITING_RECONCILES),
        writes: Semaphore::new(MAX_CONCURRENT_WRITES),
        failed_writes: FailedWrites::default(),
        seeded: tokio::sync::OnceCell::new(),
        stopping: tokio::sync::watch::Sender::new(false),
    });

    let mut tasks: Vec<BoxFuture<'static, &'static str>> = Vec::new();
    for (watched, triggers) in watches.scopes.iter().zip(scope_triggers) {
        tasks.push(queues::policies(&context, &watched.policies, triggers.policy_triggers, stop.clone()));
        tasks.push(queues::inventories(
            &context,
            &watched.inventories,
            triggers.inventory_triggers,
            stop.clone(),
        ));
        let namespace = watched.namespace.as_deref();
        let awaits = WatchSettings { health: &settings.health, freshness: &watches.freshness, namespace };
        let secrets = touched_metadata(
            api::<Guarded<PartialObjectMeta<Secret>>>(&settings.watching, namespace),
            awaits,
        );
        tasks.push(queues::accounts(
            &context,
            &watched.accounts,
            secrets,
            triggers.account_triggers,
            stop.clone(),
        ));
    }
    tasks.push({
        let (context, stop) = (context.clone(), stop.clone());
        async move {
            tokio::select! {
                () = stop => "alarm",
                () = context.timers.fire(|object_key| context.triggers.policy(object_key)) => "alarm",
            }
        }
        .boxed()
    });
    if let Some(shared) = &watches.shared {
        let namespace = Some(&*settings.own_namespace);
        let awaits = WatchSettings { health: &settings.health, freshness: &watches.freshness, namespace };
        let secrets = touched_metadata(
            api::<Guarded<PartialObjectMeta<Secret>>>(&settings.watching, namespace),
            awaits,
        );
        tasks.push(queues::accounts(&context, &shared.accounts, secrets, shared_triggers, stop.clone()));
        tasks.push(queues::namespaces(&context, shared.namespaces.stream.clone(), triggers, stop.clone()));
    }
    let mut tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    let result = tokio::select! {
        biased;
        () = stop => {
            context.stopping.send_replace(true);
            if timeout(SHUTDOWN_GRACE, join_all(&mut tasks)).await.is_err() {
                tracing::warn!("some calls did not end in time; what became of them the next look will tell");
            }
            Ok(Ended::Stopped)
        }
        () = leadership.lost() => Ok(Ended::Lost),
        (ended, _, _) = select_all(&mut tasks) => match ended {
            Ok(name) => Err(anyhow::anyhow!("the {name} controller has ended")),
            Err(error) => Err(anyhow::anyhow!("a controller has ended: {error}")),
        },
        () = forget(&context, &mut watches.gone) => Err(anyhow::anyhow!("the watches have ended")),
    };
    // This ends the tasks that list backups; the others are aborted.
    context.stopping.send_replace(true);
    tasks.iter().for_each(JoinHandle::abort);
    let unfinished = tasks.into_iter().filter(|task| !task.is_finished());
    join_all(unfinished).await;
    result
}

/// Drops the state of objects that the watches report as deleted.
async fn forget(context: &Context, gone: &mut Deletions) {
    loop {
        tokio::select! {
            Some(gone) = gone.policies.next() => policy::forget(context, gone),
            Some(gone) = gone.inventories.next() => inventory::forget(context, gone),
            Some(gone) = gone.accounts.next() => account::forget(context, gone),
            else => return,
        }
    }
}
