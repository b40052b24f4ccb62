#[path = "credentials_provider_tests/world.rs"]
mod world;

use std::sync::atomic::Ordering;

use cloud_simulator::{Effect, KeySpec, KeyStatus, OidcSpec, RequestRecord, RoleSpec, ThrottleStyle};
use futures::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::cloud::Site;
use crate::plan::account::VerificationState;
use world::*;

fn error(status: u16, code: &str) -> Effect {
    Effect::Error { status, code: code.to_owned(), message: String::new(), code_n: None }
}

async fn pass(duration: Duration) {
    tokio::time::advance(duration).await;
}

/// Returns the time left until `until`.
fn left(until: Option<Instant>) -> Duration {
    until.unwrap().saturating_duration_since(Instant::now())
}

#[tokio::test(start_paused = true)]
async fn they_are_renewed_after_a_part_of_their_life_that_chance_names() {
    fastrand::seed(7);
    for (site, count) in [(Site::Volcengine, 12), (Site::Tencent, 2)] {
        let world = TestAccount::new(site);
        let mut parts = Vec::new();
        let mut former = [0; 32];
        for number in 1..=count {
            let resolved = world.due().await;
            assert_eq!(world.exchanges(), number);
            assert_ne!(resolved.credentials.fingerprint(), former);
            former = resolved.credentials.fingerprint();
            assert_eq!(resolved.hint.as_deref(), Some("AKLT…0001"), "of the Secret's key");
            let (life, renewal) = (left(resolved.expires), left(resolved.again));
            assert!(life <= Duration::from_secs(3600) && life > Duration::from_secs(3598), "{life:?}");
            parts.push(renewal.as_secs_f64() / life.as_secs_f64());
            pass(renewal - Duration::from_millis(1)).await;
            let same = world.due().await;
            assert_eq!((same.credentials.fingerprint(), same.expires), (former, resolved.expires));
            assert_eq!(world.exchanges(), number, "nothing is asked for before");
            pass(Duration::from_millis(2)).await;
        }
        assert!(parts.iter().all(|part| (0.6..=0.8).contains(part)), "{parts:?}");
        let spread = |parts: &[f64]| parts.iter().any(|p| *p < 0.68) && parts.iter().any(|p| *p > 0.72);
        assert!(count < 10 || spread(&parts), "{parts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_duration_that_the_spec_names_is_asked_for_and_less_is_believed() {
    let mut world = TestAccount::new(Site::Volcengine);
    world.spec["assumeRole"]["duration"] = json!("900s");
    assert_eq!(left(world.due().await.expires), Duration::from_secs(900));
    world.generation = 2;
    world.spec["assumeRole"]["duration"] = json!("12h");
    assert_eq!(left(world.due().await.expires), Duration::from_secs(43_200));
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_once_share_one_exchange() {
    for site in BOTH {
        let world = TestAccount::new(site);
        world.fault(ASSUME, Effect::Delay { seconds: 3.0 });
        let all = join_all((0..100).map(|_| world.call())).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
        assert_eq!(world.exchanges(), 1);
        assert_eq!((world.calls().len(), world.signers().len()), (100, 1));
        // A failed exchange is the answer to all callers that waited for it.
        let world = TestAccount::new(site);
        world.fault(ASSUME, error(500, "InternalError"));
        let all = join_all((0..100).map(|_| world.call())).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!((world.exchanges(), world.calls().len()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_keeps_what_is_held_while_that_lasts_and_is_then_told() {
    let refusal = |site| if site == Site::Tencent { "UnauthorizedOperation" } else { "AccessDenied" };
    for site in BOTH {
        for (effect, kind, code) in [
            (error(500, "InternalError"), Kind::CloudUnavailable, "InternalError"),
            (Effect::Hang { after_effect: false }, Kind::CloudUnavailable, "timeout"),
            (error(403, refusal(site)), Kind::CredentialsRejected, refusal(site)),
        ] {
            let world = TestAccount::new(site);
            world.reconcile().await;
            let first = world.due().await;
            let (held, end) = (first.credentials.fingerprint(), first.expires.unwrap());
            pass(left(first.again)).await;
            world.fault(ASSUME, effect);
            let failing_since = Instant::now();
            let mut tries = 0;
            loop {
                let began = world.exchanges();
                let resolved = match world.resolve_credentials(CredentialsRequest::Due).await {
                    Ok(resolved) => resolved,
                    Err(_) => break,
                };
                assert_eq!(resolved.credentials.fingerprint(), held, "{code}");
                assert_eq!(world.exchanges(), began + 1, "{code}");
                tries += 1;
                let pause = left(resolved.again);
                assert!((Duration::from_secs(1)..=MAX_RENEWAL_RETRY_DELAY).contains(&pause), "{pause:?}");
                world.call().await.unwrap();
                pass(pause).await;
            }
            assert!(Instant::now() >= end, "{code}");
            // Full jitter up to 30 s: about one in 15 s, and with a timeout of 10 s one in 25 s.
            let spent = (end - failing_since).as_secs();
            assert!((spent / 60..spent / 5).contains(&tries), "{tries} tries in {spent} s");
            assert_eq!(world.signers().len(), 1);
            let calls = world.calls().len();
            let failure = world.call().await.unwrap_err();
            assert_eq!((failure.kind, failure.action), (kind, ASSUME));
            assert!(failure.code.starts_with(code), "{failure}");
            assert_eq!(world.calls().len(), calls, "what has ended signs nothing");
            world.cloud.clear_faults();
            assert!(
                world.resolve_credentials(CredentialsRequest::ByUser).await.is_ok(),
                "a person's wish is tried at once"
            );
            world.call().await.unwrap();
            assert_eq!(world.signers().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_asked_for_again_before_long() {
    let world = TestAccount::new(Site::Volcengine);
    world.fault(ASSUME, error(403, "AccessDenied"));
    let failure = world.refused(CredentialsRequest::Due).await;
    assert_eq!((failure.kind, failure.code.as_str()), (Kind::CredentialsRejected, "AccessDenied"));
    world.cloud.clear_faults();
    world.refused(CredentialsRequest::Due).await;
    assert_eq!(world.exchanges(), 1, "believed for a moment");
    pass(REFUSAL_CACHE_TTL).await;
    world.due().await;
    assert_eq!(world.exchanges(), 2);
}

#[tokio::test(start_paused = true)]
async fn rejected_ones_are_replaced_at_once_and_the_call_is_repeated_once() {
    for site in BOTH {
        let revoke: fn(&mut KeySpec) = |key| key.status = KeyStatus::Revoked;
        let expire: fn(&mut KeySpec) = |key| key.expires_at = Some(START.parse().unwrap());
        for spoil in [revoke, expire] {
            let world = TestAccount::new(site);
            world.call().await.unwrap();
            world.change_issued(spoil);
            let before = world.calls().len();
            let all = join_all((0..100).map(|_| world.call())).await;
            assert!(all.iter().all(Result::is_ok), "{all:?}");
            assert_eq!(world.exchanges(), 2, "many rejected calls share one exchange");
            assert!(world.calls().len() - before <= 200);
            assert_eq!(world.verification(), VerificationState::Verified);
            // If the new credentials are rejected too, they are not replaced without end.
            world.fault(site.instances_action(), error(400, "InvalidAuthorization"));
            if site == Site::Volcengine {
                let before = (world.calls().len(), world.exchanges());
                assert_eq!(world.call().await.unwrap_err().kind, Kind::CredentialsRejected);
                assert_eq!((world.calls().len(), world.exchanges()), (before.0 + 2, before.1 + 1));
                let text = "the cloud rejected the credentials: InvalidAuthorization".to_owned();
                assert_eq!(world.verification(), VerificationState::CredentialsRejected(text));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_sts_that_fails_when_others_are_needed_is_what_is_told() {
    for (effect, kind, verification) in [
        (
            error(500, "InternalError"),
            Kind::CloudUnavailable,
            VerificationState::EndpointUnreachable("AssumeRole: InternalError".to_owned()),
        ),
        (
            error(403, "AccessDenied"),
            Kind::CredentialsRejected,
            VerificationState::CredentialsRejected(
                "the role was refused: AssumeRole: AccessDenied".to_owned(),
            ),
        ),
    ] {
        let world = TestAccount::new(Site::Volcengine);
        world.call().await.unwrap();
        world.change_issued(|key| key.status = KeyStatus::Revoked);
        world.fault(ASSUME, effect);
        let before = world.calls().len();
        let failure = world.call().await.unwrap_err();
        assert_eq!((failure.kind, failure.action), (kind, ASSUME));
        assert_eq!(world.verification(), verification);
        assert_eq!(world.calls().len(), before + 1, "there is nothing to repeat it with");
        world.call().await.unwrap_err();
        assert_eq!(world.calls().len(), before + 1, "and what was rejected signs nothing more");
        world.cloud.clear_faults();
        pass(MAX_RENEWAL_RETRY_DELAY).await;
        world.call().await.unwrap();
        assert_eq!((world.verification(), world.signers().len()), (VerificationState::Verified, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_through_what_has_ended_renews_it_first() {
    for site in BOTH {
        let world = TestAccount::new(site);
        world.reconcile().await;
        world.call().await.unwrap();
        pass(Duration::from_secs(3600)).await;
        let woken = world.woken.load(Ordering::Relaxed);
        world.call().await.unwrap();
        assert_eq!((world.exchanges(), world.signers().len()), (2, 2));
        assert!(world.calls().iter().all(|call| call.outcome.as_deref() == Some("ok")));
        assert!(world.woken.load(Ordering::Relaxed) > woken, "its controller has the last word");
    }
}

#[tokio::test(start_paused = true)]
async fn another_secret_or_spec_leaves_nothing_of_the_former() {
    for site in BOTH {
        let mut world = TestAccount::new(site);
        world.reconcile().await;
        world.call().await.unwrap();
        *world.secret.lock().unwrap() = secret_of(OTHER_KEY);
        world.reconcile().await;
        world.call().await.unwrap();
        // A change of the spec that does not affect the credentials keeps them.
        world.generation = 2;
        world.reconcile().await;
        world.call().await.unwrap();
        let signed: Vec<_> = world.requests(ASSUME).into_iter().filter_map(|r| r.access_key_id).collect();
        assert_eq!(signed, [KEY, OTHER_KEY]);
        assert_eq!(world.signers().len(), 2);
        world.spec["assumeRole"]["sessionName"] = json!("another-session");
        world.generation = 3;
        world.reconcile().await;
        world.call().await.unwrap();
        assert_eq!((world.exchanges(), world.signers().len()), (3, 3));
        assert_eq!(world.account.hint().as_deref(), Some("AKLT…0002"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_secret_leads_to_is_not_replaced_by_what_the_former_led_to() {
    let world = TestAccount::new(Site::Volcengine);
    world.reconcile().await;
    world.call().await.unwrap();
    *world.secret.lock().unwrap() = secret_of(OTHER_KEY);
    world.fault(ASSUME, error(500, "InternalError"));
    let calls = world.calls().len();
    assert_eq!(world.refused(CredentialsRequest::Due).await.kind, Kind::CloudUnavailable);
    assert_eq!(world.call().await.unwrap_err().action, ASSUME);
    assert_eq!(world.calls().len(), calls, "the former's may be of another account");
    world.cloud.clear_faults();
    pass(MAX_RENEWAL_RETRY_DELAY).await;
    world.call().await.unwrap();
    assert_eq!(world.signers().len(), 2);
    // In contrast, an unreadable or missing Secret by itself does not end the credentials.
    *world.secret.lock().unwrap() = Value::Null;
    assert!(matches!(
        world.resolve_credentials(CredentialsRequest::Due).await,
        Err(CredentialsError::Missing { gone: true, .. })
    ));
    world.call().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_asks_by_an_outdated_spec_neither_gets_nor_ends_anything() {
    let mut world = TestAccount::new(Site::Volcengine);
    let outdated = world.recipe();
    world.reconcile().await;
    world.generation = 2;
    world.reconcile().await;
    world.call().await.unwrap();
    let answer =
        world.accounts.resolve_credentials(&world.account, &outdated, CredentialsRequest::ByUser).await;
    assert!(matches!(answer, Err(CredentialsError::Unreadable(_))));
    world.reconcile().await;
    world.call().await.unwrap();
    assert_eq!((world.exchanges(), world.signers().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_identity_takes_its_role_and_then_the_one_on_top() {
    for site in BOTH {
        let world = TestAccount::in_cluster(site, true);
        world.call().await.unwrap();
        let token = &world.requests(with_identity(site))[0];
        assert_eq!((token.access_key_id.as_deref(), token.outcome.as_deref()), (None, Some("ok")));
        let assume = &world.requests(ASSUME)[0];
        let between = assume.access_key_id.clone().unwrap();
        assert_ne!(world.signers(), [between], "the calls are the second role's");
        assert_eq!(world.account.hint(), None, "no key of a Secret");
        let of = |record: &RequestRecord| {
            let name = if site == Site::Tencent { "DurationSeconds" } else { "RoleSessionName" };
            record.body[name].clone()
        };
        if site == Site::Tencent {
            assert_eq!(of(token), 3600);
        } else {
            assert_eq!(of(token), "cross-region-backup-operator");
        }
        let alone = TestAccount::in_cluster(site, false);
        alone.call().await.unwrap();
        assert_eq!((alone.requests(with_identity(site)).len(), alone.exchanges()), (1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_of_ours_that_is_hours_wrong_changes_nothing() {
    for site in BOTH {
        for hours in [-5, 30] {
            for world in
                [TestAccount::with_clock(site, hours), TestAccount::in_cluster_with_clock(site, true, hours)]
            {
                world.reconcile().await;
                let resolved = world.due().await;
                assert_eq!(left(resolved.expires), Duration::from_secs(3600), "{hours} h");
                world.call().await.unwrap();
                pass(left(resolved.again)).await;
                world.reconcile().await;
                world.call().await.unwrap();
                assert_eq!(world.signers().len(), 2);
                let of_cloud = START.parse::<jiff::Timestamp>().unwrap();
                assert!(world.calls().iter().all(|call| call.at >= of_cloud), "the cloud's clock is right");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_token_s_file_is_read_at_each_exchange() {
    for site in BOTH {
        let world = TestAccount::in_cluster(site, false);
        let first = world.due().await;
        // The kubelet replaces the token, and the former one is no longer accepted.
        let next = "supply-token-of-the-cluster-2";
        let oidc = Some(OidcSpec { tokens: [next.to_owned()].into(), ..OidcSpec::default() });
        world.cloud.put_role(RoleSpec { oidc, ..RoleSpec::new(trusted(site)) }).unwrap();
        std::fs::write(&world.token, next).unwrap();
        pass(left(first.again)).await;
        let second = world.due().await;
        assert_ne!(second.credentials.fingerprint(), first.credentials.fingerprint());

        // A missing token keeps the present credentials, and is reported once they have expired.
        std::fs::remove_file(&world.token).unwrap();
        pass(left(second.again)).await;
        let kept = world.due().await;
        assert_eq!(kept.credentials.fingerprint(), second.credentials.fingerprint());
        assert!(left(kept.again) <= MAX_RENEWAL_RETRY_DELAY);
        pass(left(second.expires)).await;
        let Err(CredentialsError::Missing { text, gone: false }) =
            world.resolve_credentials(CredentialsRequest::Due).await
        else {
            panic!("there are credentials without a token");
        };
        assert!(text.contains(world.token.to_str().unwrap()) && text.contains("does not exist"), "{text}");
        assert_eq!(world.requests(with_identity(site)).len(), 2, "nothing is sent without a token");
        std::fs::write(&world.token, next).unwrap();
        world.due().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_sts_has_a_budget_of_its_own() {
    let world = TestAccount::new(Site::Volcengine);
    let throttle = || Effect::Throttle { style: ThrottleStyle::Flow429, retry_after: Some("120".to_owned()) };
    // Throttling pauses the account's calls, and not those to its STS.
    world.call().await.unwrap();
    world.fault(world.site.instances_action(), throttle());
    assert_eq!(world.call().await.unwrap_err().kind, Kind::Throttled);
    assert!(world.account.budget.paused_until().is_some());
    pass(Duration::from_secs(3000)).await;
    world.cloud.clear_faults();
    world.call().await.unwrap();
    world.fault(world.site.instances_action(), throttle());
    assert_eq!(world.call().await.unwrap_err().kind, Kind::Throttled);
    let (begun, exchanges) = (Instant::now(), world.exchanges());
    world.change_issued(|_| {});
    let client = world.account.live_client().unwrap();
    assert!(world.resolve_credentials(CredentialsRequest::Rejected(client.credentials())).await.is_ok());
    assert_eq!((world.exchanges(), begun.elapsed().as_secs()), (exchanges + 1, 0));
    world.cloud.clear_faults();
    pass(Duration::from_secs(120)).await;

    // The other way round; and a request during the STS's pause fails at once.
    let mut world = TestAccount::new(Site::Volcengine);
    world.fault(ASSUME, throttle());
    assert_eq!(world.refused(CredentialsRequest::Due).await.kind, Kind::Throttled);
    assert_eq!(world.account.budget.paused_until(), None);
    assert_eq!(left(world.account.sts_budget.paused_until()).as_secs(), 120);
    world.cloud.clear_faults();
    let begun = Instant::now();
    for second in [0, 10, 50] {
        pass(Duration::from_secs(second)).await;
        assert_eq!(world.refused(CredentialsRequest::Due).await.kind, Kind::Throttled);
        assert_eq!(world.refused(CredentialsRequest::ByUser).await.kind, Kind::Throttled);
    }
    // Another spec neither ends the pause nor waits for its end.
    world.generation = 2;
    assert_eq!(world.refused(CredentialsRequest::Due).await.kind, Kind::Throttled);
    assert_eq!((begun.elapsed().as_secs(), world.exchanges()), (60, 1));
    pass(Duration::from_secs(60)).await;
    world.due().await;
    world.store_spec();
    world.call().await.unwrap();
}
