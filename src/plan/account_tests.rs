use super::*;
use crate::plan::demand::{Demand, shortfall};
use crate::plan::slow_listing::SlowListing;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn failure(kind: Kind, code: &str) -> Failure {
    Failure {
        message: Some("what the cloud says".to_owned()),
        request_id: Some("r-1".to_owned()),
        ..Failure::by_code(kind, "DescribeDBInstances", code)
    }
}

const STALENESS: Duration = Duration::from_secs(1200);
const TEXT: &str = "why";
/// Expected readiness in the table below.
enum Means {
    Open,
    Pending,
    Closed(Reason, &'static str),
}

/// Verification state, outcome for a new account, and readiness before and after a first verification.
#[test]
fn each_standing_has_its_reason_its_progress_and_its_gate() {
    use Progress::{Reconciling, Settled, Stalled};
    use Reason::*;
    let not_ready = |text| Means::Closed(AccountNotReady, text);
    let table = [
        (VerificationState::Unknown, None, Means::Pending, Means::Pending),
        (
            VerificationState::Verified,
            Some((ConditionStatus::True, CredentialsVerified, Settled)),
            Means::Open,
            Means::Open,
        ),
        (
            VerificationState::CredentialsMissing(TEXT.into()),
            Some((ConditionStatus::False, CredentialsMissing, Reconciling)),
            Means::Closed(CredentialsMissing, TEXT),
            Means::Closed(CredentialsMissing, TEXT),
        ),
        (
            VerificationState::CredentialsRejected(TEXT.into()),
            Some((ConditionStatus::False, CredentialsRejected, Stalled)),
            Means::Closed(CredentialsRejected, TEXT),
            Means::Closed(CredentialsRejected, TEXT),
        ),
        (
            VerificationState::EndpointNotAllowed(TEXT.into()),
            Some((ConditionStatus::False, EndpointNotAllowed, Stalled)),
            Means::Closed(EndpointNotAllowed, TEXT),
            Means::Closed(EndpointNotAllowed, TEXT),
        ),
        (
            VerificationState::Invalid(TEXT.into()),
            Some((ConditionStatus::False, InvalidRequest, Stalled)),
            not_ready(TEXT),
            not_ready(TEXT),
        ),
        (
            VerificationState::EndpointUnreachable(TEXT.into()),
            Some((ConditionStatus::False, EndpointUnreachable, Reconciling)),
            not_ready("not verified yet: EndpointUnreachable"),
            Means::Open,
        ),
        (
            VerificationState::Throttled(TEXT.into()),
            Some((ConditionStatus::False, Throttled, Reconciling)),
            not_ready("not verified yet: Throttled"),
            Means::Open,
        ),
    ];
    for (verification, told, new, verified_before) in table {
        let mut memory = AccountMemory::new(false, at(0));
        memory.verification = verification.clone();
        memory.untried = verification == VerificationState::Unknown;
        let outcome = memory.outcome(false, STALENESS, at(1)).map(|o| (o.status, o.reason, o.progress));
        assert_eq!(outcome, told, "{verification:?}");
        for (ever, means) in [(false, new), (true, verified_before)] {
            memory.ever_verified = ever;
            let expected = match means {
                Means::Open => AccountReadiness::Open,
                Means::Pending => AccountReadiness::Pending(at(10)),
                Means::Closed(reason, text) => {
                    AccountReadiness::Closed(reason, format!("CloudAccount prod: {text}"))
                }
            };
            assert_eq!(
                memory.readiness("CloudAccount prod", false, false, at(1)),
                expected,
                "{verification:?}, verified before: {ever}"
            );
            // Suspended takes precedence.
            assert!(matches!(
                memory.readiness("CloudAccount prod", false, true, at(1)),
                AccountReadiness::Closed(Suspended, _)
            ));
            let suspended = memory.outcome(true, STALENESS, at(1)).map(|o| (o.status, o.reason, o.progress));
            assert_eq!(suspended, Some((ConditionStatus::Unknown, Suspended, Settled)));
        }
    }
}

#[test]
fn each_refusal_has_its_standing_and_its_pace() {
    let minute = Some(Duration::from_secs(60));
    let day = Some(Duration::from_secs(86_400));
    let unreachable =
        |text: &str| VerificationState::EndpointUnreachable(format!("DescribeDBInstances: {text}"));
    for (kind, code, interval, verification, next) in [
        (
            Kind::CredentialsRejected,
            "InvalidAccessKey",
            minute,
            VerificationState::CredentialsRejected(
                "the cloud rejected the credentials: InvalidAccessKey".into(),
            ),
            60,
        ),
        (
            Kind::CredentialsRejected,
            "SignatureDoesNotMatch",
            None,
            VerificationState::CredentialsRejected(
                "the cloud rejected the credentials: SignatureDoesNotMatch".into(),
            ),
            600,
        ),
        (
            Kind::CredentialsRejected,
            "InvalidSecretToken",
            day,
            VerificationState::CredentialsRejected(
                "the cloud rejected the credentials: InvalidSecretToken".into(),
            ),
            3600,
        ),
        (
            Kind::EndpointNotAllowed,
            "refused",
            day,
            VerificationState::EndpointNotAllowed("what the cloud says".into()),
            3600,
        ),
        (
            Kind::Throttled,
            "FlowLimitExceeded",
            minute,
            VerificationState::Throttled("DescribeDBInstances: FlowLimitExceeded".into()),
            2,
        ),
        (Kind::CloudUnavailable, "timeout", minute, unreachable("timeout: what the cloud says"), 2),
        (Kind::InvalidRequest, "ServiceNotFound", minute, unreachable("ServiceNotFound"), 2),
        (Kind::InvalidRequest, "InvalidActionOrVersion", minute, unreachable("InvalidActionOrVersion"), 2),
    ] {
        let mut memory = AccountMemory::new(false, at(0));
        assert!(memory.is_due(at(0)));
        memory.refused(&failure(kind, code), interval, at(5), 1.0);
        assert_eq!(memory.verification, verification);
        assert_eq!(memory.next_verification, Some(at(5 + next)), "{code}");
        assert!(!memory.is_due(at(5 + next - 1)) && memory.is_due(at(5 + next)));
        // The message of these kinds is our own.
        if matches!(kind, Kind::EndpointNotAllowed | Kind::CloudUnavailable) {
            continue;
        }
        // The condition repeats neither the cloud's message nor a request id.
        let message = memory.outcome(false, STALENESS, at(6)).unwrap().message();
        assert!(message.ends_with(&format!(": {code}")), "{message}");
    }
}

#[test]
fn passing_failures_back_off_and_success_forgets_them() {
    let delays = |kind| {
        let mut memory = AccountMemory::new(false, at(0));
        let mut delays = Vec::new();
        for _ in 0..10 {
            memory.refused(&failure(kind, "timeout"), None, at(0), 1.0);
            delays.push(since(at(0), memory.next_verification.unwrap()).as_secs());
        }
        (delays, memory)
    };
    assert_eq!(delays(Kind::Throttled).0, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    let (delays, mut memory) = delays(Kind::CloudUnavailable);
    assert_eq!(delays, [2, 4, 8, 16, 30, 30, 30, 30, 30, 30]);
    memory.accepted(at(9));
    assert_eq!((memory.failures, memory.next_verification), (0, None));
    assert_eq!((memory.verification.clone(), memory.last_good), (VerificationState::Verified, Some(at(9))));
    assert!(!memory.is_due(at(1_000_000)), "who is verified is verified when something changes");
}

#[test]
fn a_verified_account_is_believed_through_passing_failures_and_not_longer() {
    let mut memory = AccountMemory::new(false, at(0));
    memory.accepted(at(0));
    memory.refused(&failure(Kind::CloudUnavailable, "timeout"), None, at(100), 1.0);
    assert_eq!(memory.outcome(false, STALENESS, at(1199)), None, "what it said before");
    let told = memory.outcome(false, STALENESS, at(1200)).unwrap();
    assert_eq!(told.reason, Reason::EndpointUnreachable);
    assert_eq!(
        memory.readiness("CloudAccount prod", false, false, at(1200)),
        AccountReadiness::Open,
        "its resources judge by their own looks"
    );
    memory.refused(&failure(Kind::CredentialsRejected, "InvalidAccessKey"), None, at(1300), 1.0);
    assert_eq!(memory.outcome(false, STALENESS, at(1300)).unwrap().reason, Reason::CredentialsRejected);
}

#[test]
fn a_first_verification_that_takes_long_is_told_to_the_resources() {
    let memory = AccountMemory::new(false, at(0));
    assert_eq!(memory.readiness("CloudAccount prod", false, false, at(9)), AccountReadiness::Pending(at(10)));
    let late = memory.readiness("CloudAccount prod", false, false, at(10));
    assert_eq!(
        late,
        AccountReadiness::Closed(Reason::AccountNotReady, "CloudAccount prod: not verified yet".to_owned())
    );
}

#[test]
fn what_status_says_is_believed_after_a_start() {
    let memory = AccountMemory::new(true, at(0));
    assert_eq!((memory.verification.clone(), memory.is_due(at(0))), (VerificationState::Verified, false));
    assert_eq!(memory.readiness("CloudAccount prod", false, false, at(0)), AccountReadiness::Open);
}

#[test]
fn a_change_is_verified_now_and_a_rejection_holds_until_that_has_ended() {
    for (verification, after_change) in [
        (VerificationState::Verified, VerificationState::Verified),
        (
            VerificationState::CredentialsRejected(TEXT.into()),
            VerificationState::CredentialsRejected(TEXT.into()),
        ),
        (VerificationState::CredentialsMissing(TEXT.into()), VerificationState::Unknown),
        (VerificationState::EndpointNotAllowed(TEXT.into()), VerificationState::Unknown),
        (VerificationState::EndpointUnreachable(TEXT.into()), VerificationState::Unknown),
        (VerificationState::Invalid(TEXT.into()), VerificationState::Unknown),
    ] {
        let mut memory = AccountMemory::new(false, at(0));
        memory.verification = verification;
        memory.failures = 7;
        memory.next_verification = None;
        memory.changed(at(50));
        assert_eq!(memory.verification, after_change);
        assert!(memory.is_due(at(50)) && memory.failures == 0);
    }
    let mut memory = AccountMemory::new(true, at(0));
    memory.blocked(VerificationState::CredentialsMissing(TEXT.into()));
    assert!(!memory.is_due(at(1_000_000)), "only a change helps");
}

fn reason(readiness: &AccountReadiness) -> Option<Reason> {
    match readiness {
        AccountReadiness::Closed(reason, _) => Some(*reason),
        AccountReadiness::Open | AccountReadiness::Pending(_) => None,
    }
}

#[test]
fn resources_wait_for_the_trial_of_new_credentials_and_not_longer() {
    let mut account = AccountMemory::new(true, at(0));
    assert_eq!(
        account.readiness("CloudAccount a", false, false, at(0)),
        AccountReadiness::Open,
        "believed after a start"
    );
    account.changed(at(100));
    assert_eq!(
        account.readiness("CloudAccount a", false, false, at(101)),
        AccountReadiness::Pending(at(110))
    );
    assert_eq!(
        account.readiness("CloudAccount a", false, false, at(110)),
        AccountReadiness::Open,
        "it was verified once"
    );
    account.accepted(at(102));
    assert_eq!(account.readiness("CloudAccount a", false, false, at(102)), AccountReadiness::Open);

    account.changed(at(200));
    account.refused(&failure(Kind::CloudUnavailable, "Code"), None, at(201), 0.5);
    assert_eq!(
        account.readiness("CloudAccount a", false, false, at(201)),
        AccountReadiness::Open,
        "each judges by its own look"
    );
    account.changed(at(300));
    account.refused(&failure(Kind::CredentialsRejected, "Code"), None, at(301), 0.5);
    assert_eq!(
        reason(&account.readiness("CloudAccount a", false, false, at(301))),
        Some(Reason::CredentialsRejected)
    );
    account.changed(at(400));
    let during = account.readiness("CloudAccount a", false, false, at(401));
    assert_eq!(reason(&during), Some(Reason::CredentialsRejected), "until the new ones were tried");
}

#[test]
fn credentials_that_come_late_have_their_trial_as_well() {
    let mut account = AccountMemory::new(false, at(0));
    account.blocked(VerificationState::CredentialsMissing("no Secret".to_owned()));
    account.changed(at(3600));
    assert_eq!(
        account.readiness("CloudAccount a", false, false, at(3601)),
        AccountReadiness::Pending(at(3610)),
        "no AccountNotReady between"
    );
    assert_eq!(
        reason(&account.readiness("CloudAccount a", false, false, at(3610))),
        Some(Reason::AccountNotReady)
    );
}

#[test]
fn a_rejection_reads_the_same_whichever_call_was_rejected() {
    let mut account = AccountMemory::new(true, at(0));
    let rejected = failure(Kind::CredentialsRejected, "Code");
    account.refused(&rejected, None, at(1), 0.5);
    let before = account.verification.clone();
    account.refused(&Failure { action: "AnotherAct", ..rejected }, None, at(2), 0.5);
    assert_eq!(account.verification, before);
    assert_eq!(
        before,
        VerificationState::CredentialsRejected("the cloud rejected the credentials: Code".to_owned())
    );
}

#[test]
fn what_cannot_be_verified_yet_is_not_asked_for_without_end() {
    let memory = AccountMemory::new(false, at(0));
    assert_eq!(memory.next_reconcile(false, None, STALENESS, at(0)), Some(at(0)));
    assert_eq!(memory.next_reconcile(false, Some(at(5)), STALENESS, at(0)), Some(at(5)));
    assert_eq!(memory.next_reconcile(true, None, STALENESS, at(0)), None);
    let mut memory = AccountMemory::new(true, at(0));
    assert_eq!(memory.next_reconcile(false, None, STALENESS, at(0)), None);
    memory.refused(&failure(Kind::CredentialsRejected, "InvalidAccessKey"), None, at(700), 1.0);
    assert_eq!(memory.next_reconcile(false, None, STALENESS, at(700)), Some(at(1200)));
}

#[test]
fn a_clock_set_back_puts_nothing_off_and_keeps_nothing_believed() {
    const BACK: i64 = -86_400;
    let mut memory = AccountMemory::new(true, at(0));
    memory.changed(at(5));
    memory.refused(&failure(Kind::CloudUnavailable, "timeout"), None, at(5), 1.0);
    memory.clamp_to_clock(at(BACK));
    assert!(memory.is_due(at(BACK + 300)));
    assert_eq!(memory.outcome(false, STALENESS, at(BACK + 1199)), None);
    assert!(memory.outcome(false, STALENESS, at(BACK + 1200)).is_some());
    let mut memory = AccountMemory::new(true, at(0));
    memory.changed(at(5));
    memory.clamp_to_clock(at(BACK));
    assert_eq!(memory.readiness("CloudAccount prod", false, false, at(BACK + 10)), AccountReadiness::Open);
    let mut memory = AccountMemory::new(true, at(0));
    memory.refused(&failure(Kind::CredentialsRejected, "InvalidAccessKey"), None, at(0), 1.0);
    memory.clamp_to_clock(at(BACK));
    assert!(memory.is_due(at(BACK + 3600)) && !memory.is_due(at(BACK + 3599)));
}

#[test]
fn a_budget_that_is_too_small_is_told_while_it_is_and_its_resources_are_weighed_together() {
    let words = "the request budget allows one look at each resource every 20s; at their own intervals the resources need 4 \
                 requests per second";
    let demands = [Demand { interval: Duration::from_secs(10), calls: 20 }; 2];
    let mut account = AccountMemory::new(true, at(0));
    assert_eq!(account.min_interval(), Duration::ZERO);
    account.set_shortfall(shortfall(&demands, 2), at(0));
    assert_eq!(account.min_interval(), Duration::from_secs(20));
    let told = account.outcome(false, STALENESS, at(0)).unwrap();
    assert_eq!(
        (told.status, told.reason, told.progress),
        (ConditionStatus::True, Reason::BudgetTooSmall, Progress::Settled)
    );
    assert_eq!(told.cause, words);
    assert_eq!(account.readiness("CloudAccount prod", false, false, at(0)), AccountReadiness::Open);

    // Only the first of many changes schedules a recomputation.
    assert!(account.resources_changed(at(1)));
    assert!(!account.resources_changed(at(2)));
    assert_eq!(account.next_reconcile(false, None, STALENESS, at(2)), Some(at(3)));
    account.set_shortfall(shortfall(&demands, 2), at(2));
    assert_eq!(account.next_reconcile(false, None, STALENESS, at(2)), Some(at(3)), "not all have come");
    account.set_shortfall(shortfall(&demands[1..], 2), at(3));
    assert_eq!(account.next_reconcile(false, None, STALENESS, at(3)), None);
    assert_eq!(account.outcome(false, STALENESS, at(3)).unwrap().reason, Reason::CredentialsVerified);
    account.resources_changed(at(100));
    account.clamp_to_clock(at(50));
    assert_eq!(
        account.next_reconcile(false, None, STALENESS, at(50)),
        Some(at(52)),
        "a clock that is set back"
    );
}

#[test]
fn what_the_sts_says_is_told_with_its_action() {
    let of = |kind, code: &str| {
        let mut account = AccountMemory::new(false, at(0));
        let failure = Failure { action: "AssumeRole", ..failure(kind, code) };
        account.refused(&failure, Some(Duration::from_secs(60)), at(0), 1.0);
        (account.verification, account.next_verification)
    };
    let minute = Some(at(60));
    let rejected =
        VerificationState::CredentialsRejected("the role was refused: AssumeRole: RoleNotExist".into());
    assert_eq!(of(Kind::CredentialsRejected, "RoleNotExist"), (rejected, minute));
    let invalid = VerificationState::Invalid("AssumeRole: InvalidParameter".into());
    assert_eq!(of(Kind::InvalidRequest, "InvalidParameter"), (invalid, minute));
    let unreachable =
        VerificationState::EndpointUnreachable("AssumeRole: timeout: what the cloud says".into());
    assert_eq!(of(Kind::CloudUnavailable, "timeout"), (unreachable, Some(at(2))));
}

#[test]
fn the_resources_of_a_shared_account_learn_nothing_of_its_secret_and_host() {
    let texts = [
        (
            VerificationState::CredentialsMissing("Secret x has no key y".into()),
            "its credentials are missing",
        ),
        (VerificationState::EndpointNotAllowed("host".into()), "its endpoint is not allowed"),
        (VerificationState::Invalid("spec.x".into()), "it cannot be used"),
    ];
    for (verification, text) in texts {
        let mut account = AccountMemory::new(true, at(0));
        account.blocked(verification);
        let readiness = account.readiness("ClusterCloudAccount prod", true, false, at(0));
        let AccountReadiness::Closed(_, told) = readiness else { panic!("{readiness:?}") };
        assert_eq!(told, format!("ClusterCloudAccount prod: {text}"));
    }
}

#[test]
fn verifications_that_resources_ask_for_keep_a_distance() {
    let mut account = AccountMemory::new(false, at(0));
    let failure = failure(Kind::CredentialsRejected, "InvalidAccessKey");
    let reject = |account: &mut AccountMemory, now| account.refused(&failure, None, now, 0.5);
    reject(&mut account, at(0));
    assert!(!account.is_verifying(at(1)));
    account.request_verification(at(1));
    assert!(account.is_due(at(1)) && account.is_verifying(at(1)));
    reject(&mut account, at(2));
    for second in 3..11 {
        account.request_verification(at(second));
        assert!(!account.is_due(at(second)) && account.is_verifying(at(second)), "{second}");
    }
    assert!(account.is_due(at(11)), "ten seconds after the one before");
    reject(&mut account, at(12));
    assert!(!account.is_verifying(at(12)));
}

#[test]
fn a_listing_that_takes_longer_than_the_interval_is_told_with_the_rate_that_is_needed() {
    let demands = [Demand { interval: Duration::from_secs(60), calls: 90 }; 2];
    let slow =
        |seconds| Some(SlowListing::new("cn-beijing".to_owned(), Duration::from_secs(seconds), &demands));
    let said = |account: &AccountMemory| account.outcome(false, STALENESS, at(0)).unwrap();
    let mut account = AccountMemory::new(true, at(0));
    account.set_shortfall(shortfall(&demands, 3), at(0));
    account.set_slow_listing(slow(105));
    assert_eq!(
        (account.min_interval(), account.budget_min_interval()),
        (Duration::from_secs(105), Duration::ZERO)
    );
    assert_eq!(
        (said(&account).reason, said(&account).cause.as_str()),
        (
            Reason::BudgetTooSmall,
            "listing the backups in cn-beijing takes too long for a look at each resource more often than every 1m45s; at \
             their own intervals the resources need 3 requests per second"
        )
    );
    // Listings are slow because the budget is too small.
    account.set_shortfall(shortfall(&demands, 2), at(0));
    assert!(
        said(&account).cause.starts_with("the request budget allows one look at each resource every 1m45s;")
    );
    account.set_slow_listing(slow(75));
    assert_eq!(account.min_interval(), Duration::from_secs(90));
    account.set_shortfall(None, at(0));
    account.set_slow_listing(None);
    assert_eq!(
        (account.min_interval(), said(&account).reason),
        (Duration::ZERO, Reason::CredentialsVerified)
    );
}
