//! Checks each Modify: a policy must want it and be allowed to send it, and a describe must have shown the need.

use std::time::Duration;

use tokio::time::Instant;

use super::ensure;
use super::objects::{Policy, Setting};
use super::process::{Modify, Process};
use crate::harness::history::Call;

/// Time for which the result of a describe is valid.
const DESCRIBE_VALIDITY: Duration = Duration::from_secs(30);
/// Duration of one attempt with its retries.
const ATTEMPT_DURATION: Duration = Duration::from_secs(30);
/// Time until a received change is heeded by every policy.
const PROPAGATION_TIME: Duration = Duration::from_secs(1);
/// Time that an accepted change is waited for.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(60);

pub fn check(process: &Process, call: &Call, at: Instant) -> Result<Modify, String> {
    let instance = call.instance();
    let token = call.body["ClientToken"].as_str().unwrap_or_default();
    let to = Setting::of_call(&call.body).ok_or("a Modify says nothing")?;
    let (mut senders, mut why) = (Vec::new(), Vec::new());
    for (policy, _) in process.policies().filter(|(policy, _)| policy.instance() == instance) {
        match may_send(process, policy, &to, at) {
            Ok(()) => senders.push(policy.spec_key()),
            Err(not) => why.push(format!("{}: {not}", policy.name)),
        }
    }
    ensure(!senders.is_empty(), || format!("nobody may set {instance} to {to:?}: {why:?}"))?;
    let is_retry = process.modifies.iter().any(|m| m.token == token && m.sent + ATTEMPT_DURATION >= at);
    if !is_retry {
        differs(process, instance, &to, at)?;
        is_not_repeated(process, instance, &to, &senders, at)?;
    }
    let (instance, token) = (instance.to_owned(), token.to_owned());
    Ok(Modify { instance, to, token, sent: at, senders, accepted: None })
}

fn may_send(process: &Process, policy: &Policy, to: &Setting, at: Instant) -> Result<(), String> {
    ensure(policy.manages(), || "it only observes".to_owned())?;
    ensure(!policy.is_suspended(), || "it is suspended".to_owned())?;
    ensure(process.is_open(policy), || "its account is not open to it".to_owned())?;
    if policy.deleted {
        ensure(policy.disables() && policy.held, || {
            "it is deleted, and leaves the instance as it is".to_owned()
        })?;
        ensure(!to.active, || "it is deleted, and wants it off".to_owned())?;
    } else {
        ensure(to.meets(&policy.spec), || format!("it wants {:?}", Setting::of_object(&policy.spec)))?;
        ensure(policy.held || !policy.disables(), || "its deletion is not held up yet".to_owned())?;
    }
    let competing_policy = process.competing_policy(policy, at.checked_sub(PROPAGATION_TIME).unwrap_or(at));
    ensure(competing_policy.is_none(), || {
        format!(
            "{} manages the instance",
            competing_policy.map_or("", |competing_policy| &competing_policy.name)
        )
    })
}

/// Checks that the last successful describe is recent, and showed another setting.
fn differs(process: &Process, instance: &str, to: &Setting, at: Instant) -> Result<(), String> {
    let seen =
        process.describes_of(instance).rev().find_map(|look| Some((look.answered, look.seen.as_ref()?)));
    let fresh = seen.filter(|(answered, _)| *answered + DESCRIBE_VALIDITY >= at);
    ensure(fresh.is_some_and(|(_, seen)| !seen.equals(to)), || {
        format!("{instance} is set to {to:?}, and the last look showed {seen:?}")
    })
}

/// Checks that an accepted change is not repeated, unless a describe has shown another change in between.
fn is_not_repeated(
    process: &Process,
    instance: &str,
    to: &Setting,
    senders: &[(String, i64)],
    at: Instant,
) -> Result<(), String> {
    for earlier in
        process.modifies.iter().filter(|modify| modify.instance == instance && modify.to.equals(to))
    {
        let Some(accepted) = earlier.accepted.filter(|accepted| *accepted + CONFIRMATION_TIMEOUT > at) else {
            continue;
        };
        let is_same = earlier.senders.iter().any(|sender| senders.contains(sender));
        let before = process.describes_of(instance).rev().find(|look| look.answered <= earlier.sent);
        let old = before.and_then(|look| look.seen.as_ref());
        let mut after = process.describes_of(instance).filter(|look| look.answered > accepted);
        let moved = after.any(|look| look.seen.as_ref().is_some_and(|seen| Some(seen) != old));
        ensure(!is_same || moved, || format!("{instance} is set to {to:?} again, which was accepted"))?;
    }
    Ok(())
}
