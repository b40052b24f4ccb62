//! Leader election in virtual time, against a Lease API with injected faults.

mod server;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::json;
use tokio::time::{Instant, sleep};

use self::server::{Fault, Server};
use super::*;
use testbed::capture::capture;

const SECOND: Duration = Duration::from_secs(1);

/// Returns a server on which candidate 0 alone meets `fault`, from `from` on.
fn cut_off(from: Duration, fault: Fault) -> Server {
    Server::new(move |number, now, _| if number == 0 && now >= from { fault } else { Fault::None })
}

#[tokio::test(start_paused = true)]
async fn makes_the_lease_and_keeps_it() {
    let server = Server::sound();
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    let first = server.spec();
    assert_eq!(first["holderIdentity"], "candidate-0");
    assert_eq!(first["leaseDurationSeconds"], 15);
    assert_eq!(first["leaseTransitions"], 0);
    assert_eq!(leadership.previous_renewal(), None);
    for _ in 0..3_600 {
        sleep(SECOND).await;
        assert!(leadership.is_current());
        assert!(leadership.safe_until() <= Instant::now() + 10 * SECOND);
    }
    let last = server.spec();
    assert_eq!(last["acquireTime"], first["acquireTime"]);
    assert_eq!(last["leaseTransitions"], 0);
    assert_ne!(last["renewTime"], first["renewTime"]);
    assert!(server.written().elapsed() <= 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_second_candidate_waits_while_the_first_leads() {
    let server = Server::sound();
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let leadership = first.acquire().await.unwrap();
    assert!(tokio::time::timeout(600 * SECOND, second.acquire()).await.is_err());
    assert!(leadership.is_current());
    assert_eq!(server.spec()["holderIdentity"], "candidate-0");
}

async fn the_rival_starts_after_the_leader_stopped(fault: Fault) {
    let server = cut_off(22 * SECOND, fault);
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let leadership = first.acquire().await.unwrap();
    let rival = tokio::spawn(async move {
        let leadership = second.acquire().await.unwrap();
        (Instant::now(), leadership, second)
    });
    leadership.lost().await;
    let stopped = Instant::now();
    assert!(!leadership.is_current());
    assert!(stopped - server.start <= 32 * SECOND, "{fault:?}: {:?}", stopped - server.start);
    let (started, theirs, _second) = rival.await.unwrap();
    assert!(theirs.is_current() && !leadership.is_current());
    assert!(started >= server.start + 35 * SECOND, "{fault:?}: {:?}", started - server.start);
    assert!(started <= server.start + 50 * SECOND, "{fault:?}: {:?}", started - server.start);
    assert!(started > stopped);
    assert_eq!(server.spec()["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gets_errors_stops_before_the_rival_starts() {
    the_rival_starts_after_the_leader_stopped(Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gets_no_answer_stops_before_the_rival_starts() {
    the_rival_starts_after_the_leader_stopped(Fault::Hangs).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_writes_arrive_late_stops_before_the_rival_starts() {
    the_rival_starts_after_the_leader_stopped(Fault::Late(4 * SECOND)).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_answers_are_lost_stops_though_its_writes_are_done() {
    the_rival_starts_after_the_leader_stopped(Fault::AnswerLost).await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_survives_what_passes_in_time() {
    let server = Server::new(|_, now, method| match now.as_secs() {
        20..24 => Fault::Refused(StatusCode::SERVICE_UNAVAILABLE),
        40..44 if method == Method::PUT => Fault::AnswerLost,
        60..64 => Fault::Hangs,
        _ => Fault::None,
    });
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    for _ in 0..100 {
        sleep(SECOND).await;
        assert!(leadership.is_current(), "at {:?}", server.start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_the_lease_taken_or_deleted_stops_at_its_next_renewal() {
    for deleted in [false, true] {
        let server = Server::sound();
        let mut elector = server.elector(0);
        let leadership = elector.acquire().await.unwrap();
        sleep(SECOND).await;
        if deleted {
            server.store.lock().unwrap().lease = None;
        } else {
            server.put(json!({"holderIdentity": "someone-else", "leaseDurationSeconds": 15}));
        }
        leadership.lost().await;
        assert!(!leadership.is_current());
        assert!(server.start.elapsed() <= 6 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_not_taken_from_a_holder_that_may_still_lead() {
    let server = Server::sound();
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let leadership = first.acquire().await.unwrap();
    let rival = tokio::spawn(async move { (second.acquire().await.unwrap(), second) });
    sleep(7 * SECOND).await;
    server.store.lock().unwrap().lease = None;
    leadership.lost().await;
    assert!(!rival.is_finished() && server.start.elapsed() <= 11 * SECOND);
    // The former holder knows that nobody leads.
    let lost = Instant::now();
    let again = first.acquire().await.unwrap();
    assert!(again.is_current() && lost.elapsed() <= SECOND && !rival.is_finished());
}

#[tokio::test(start_paused = true)]
async fn of_two_that_create_at_the_same_time_one_wins() {
    let server = Server::sound();
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let both = tokio::time::timeout(60 * SECOND, async { tokio::join!(first.acquire(), second.acquire()) });
    assert!(both.await.is_err(), "one of the two waits for ever");
    let holder = server.spec()["holderIdentity"].clone();
    assert!(holder == "candidate-0" || holder == "candidate-1");
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_at_once() {
    let server = Server::sound();
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let leadership = first.acquire().await.unwrap();
    let rival = tokio::spawn(async move { (second.acquire().await.unwrap(), Instant::now(), second) });
    // Just after a poll.
    sleep(6 * SECOND + SECOND / 10).await;
    first.release(5 * SECOND).await;
    let released = Instant::now();
    assert!(!leadership.is_current());
    leadership.lost().await;
    assert_eq!(server.spec()["holderIdentity"], "");
    let until = server.spec()["renewTime"].clone();
    let (theirs, started, _second) = rival.await.unwrap();
    assert!(started - released <= SECOND, "{:?}", started - released);
    assert_eq!(server.spec()["leaseTransitions"], 1);
    assert_eq!(json!(MicroTime(theirs.previous_renewal().unwrap())), until);
}

#[tokio::test(start_paused = true)]
async fn releases_also_what_it_won_without_learning_it() {
    let server =
        Server::new(
            |_, now, method| {
                if now < SECOND && method == Method::POST { Fault::AnswerLost } else { Fault::None }
            },
        );
    let mut elector = server.elector(0);
    assert!(tokio::time::timeout(SECOND, elector.acquire()).await.is_err());
    assert_eq!(server.spec()["holderIdentity"], "candidate-0");
    elector.release(5 * SECOND).await;
    assert_eq!(server.spec()["holderIdentity"], "");
}

#[tokio::test(start_paused = true)]
async fn release_leaves_a_rival_s_lease_alone_and_ends_when_nothing_answers() {
    let server = Server::sound();
    let mut elector = server.elector(0);
    elector.acquire().await.unwrap();
    server.put(json!({"holderIdentity": "someone-else", "leaseDurationSeconds": 15}));
    elector.release(5 * SECOND).await;
    assert_eq!(server.spec()["holderIdentity"], "someone-else");

    let server = cut_off(SECOND, Fault::Hangs);
    let mut elector = server.elector(0);
    elector.acquire().await.unwrap();
    sleep(SECOND).await;
    let asked = Instant::now();
    elector.release(5 * SECOND).await;
    assert!(asked.elapsed() <= 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn takes_an_old_lease_after_its_own_duration_and_tells_its_renewal() {
    let server = Server::sound();
    server.put(json!({
        "holderIdentity": "of-yesterday", "leaseDurationSeconds": 40, "leaseTransitions": 7,
        // By the wall clock it expired long ago, or never expires: neither counts.
        "renewTime": "2020-01-01T00:00:00.000000Z", "acquireTime": "2099-01-01T00:00:00.000000Z",
    }));
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    let waited = server.start.elapsed();
    assert!(40 * SECOND <= waited && waited <= 42 * SECOND, "{waited:?}");
    assert_eq!(leadership.previous_renewal(), Some("2020-01-01T00:00:00Z".parse().unwrap()));
    let spec = server.spec();
    assert_eq!(spec["leaseTransitions"], 8);
    assert_eq!(spec["leaseDurationSeconds"], 15);
    assert_eq!(spec["acquireTime"], spec["renewTime"]);
}

#[tokio::test(start_paused = true)]
async fn takes_a_lease_that_nobody_holds_at_once() {
    for spec in [json!({"holderIdentity": "", "leaseDurationSeconds": 15}), json!({})] {
        let server = Server::sound();
        server.put(spec);
        let mut elector = server.elector(0);
        elector.acquire().await.unwrap();
        assert_eq!(server.start.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_does_not_hide_who_led_before() {
    let server =
        Server::new(
            |_, now, method| {
                if now < 16 * SECOND && method == Method::PUT { Fault::AnswerLost } else { Fault::None }
            },
        );
    server.put(json!({
        "holderIdentity": "of-yesterday", "leaseDurationSeconds": 15, "renewTime": "2020-01-01T00:00:00.000000Z",
    }));
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    assert_eq!(leadership.previous_renewal(), Some("2020-01-01T00:00:00Z".parse().unwrap()));
    assert_eq!(server.spec()["leaseTransitions"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_had_is_an_error_that_names_namespace_and_verb() {
    for (method, verb) in [(Method::GET, "get"), (Method::POST, "create"), (Method::PUT, "update")] {
        let server =
            Server::new(
                move |_, _, asked| {
                    if *asked == method { Fault::Refused(StatusCode::FORBIDDEN) } else { Fault::None }
                },
            );
        if verb == "update" {
            server.put(json!({}));
        }
        let error = server.elector(0).acquire().await.unwrap_err();
        let waited = server.start.elapsed();
        assert!(30 * SECOND <= waited && waited <= 32 * SECOND, "{waited:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot {verb} the Lease cross-region-backup-operator in namespace backup: refused on purpose"
            )
        );
    }
    let server =
        Server::new(
            |_, _, asked| {
                if *asked == Method::POST { Fault::Refused(StatusCode::NOT_FOUND) } else { Fault::None }
            },
        );
    assert_eq!(server.elector(0).acquire().await.unwrap_err().verb, "create");
}

#[tokio::test(start_paused = true)]
async fn a_stand_by_survives_an_api_server_that_refuses_for_a_while() {
    let server = Server::new(|number, now, _| match now.as_secs() {
        10..20 if number == 1 => Fault::Refused(StatusCode::FORBIDDEN),
        _ => Fault::None,
    });
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    first.acquire().await.unwrap();
    let waiting = tokio::spawn(async move { second.acquire().await.map(|_| second) });
    sleep(30 * SECOND).await;
    first.release(5 * SECOND).await;
    let _second = waiting.await.unwrap().unwrap();
    assert_eq!(server.spec()["holderIdentity"], "candidate-1");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_passes_soon_after_the_start_is_waited_for() {
    for method in [Method::GET, Method::POST] {
        // Unavailable for longer than a refusal may last; then refusals until it has read its roles.
        let server = Server::new(move |_, now, asked| match now.as_secs() {
            0..45 => Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR),
            45..70 if *asked == method => Fault::Refused(StatusCode::FORBIDDEN),
            _ => Fault::None,
        });
        server.elector(0).acquire().await.unwrap();
        assert!(server.start.elapsed() <= 72 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_permitted_once_waits_through_any_refusal() {
    let server = Server::new(|_, now, _| match now.as_secs() {
        100..1_000 => Fault::Refused(StatusCode::FORBIDDEN),
        _ => Fault::None,
    });
    let mut elector = server.elector(0);
    let first = elector.acquire().await.unwrap();
    first.lost().await;
    assert!(server.start.elapsed() <= 111 * SECOND);
    let again = elector.acquire().await.unwrap();
    assert!(again.is_current() && !first.is_current());
    assert!(server.start.elapsed() >= 1_000 * SECOND && server.start.elapsed() <= 1_002 * SECOND);
    // The last renewal was shortly before the refusals.
    let until = again.previous_renewal().unwrap();
    assert_eq!(server.spec()["leaseTransitions"], 0, "nobody else had it: {until}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_times_lost_and_regained_it_has_one_leader_and_a_line_for_each_change() {
    let log = capture();
    // The two candidates alternate: one of them cannot reach the Lease for half a minute.
    let server = Server::new(|number, now, _| match now.as_secs() {
        at if at % 60 >= 30 && usize::try_from(at / 60 % 2).unwrap() == number => Fault::Hangs,
        _ => Fault::None,
    });
    let (shown, regained) = (Arc::new(Mutex::new(vec![None::<Leadership>; 2])), Arc::new(Mutex::new(0)));
    for number in 0..2 {
        let (server, shown, regained) = (server.clone(), shown.clone(), regained.clone());
        tokio::spawn(async move {
            let mut elector = server.elector(number);
            loop {
                let leadership = elector.acquire().await.unwrap();
                shown.lock().unwrap()[number] = Some(leadership.clone());
                leadership.lost().await;
                *regained.lock().unwrap() += 1;
            }
        });
    }
    let minutes = 110;
    let mut tasks = Vec::new();
    while server.start.elapsed() < 60 * minutes * SECOND {
        sleep(SECOND / 10).await;
        let leading = shown.lock().unwrap().iter().flatten().filter(|l| l.is_current()).count();
        assert!(leading <= 1, "{leading} lead after {:?}", server.start.elapsed());
        if server.start.elapsed().as_secs() % 60 == 20 {
            tasks.push(tokio::runtime::Handle::current().metrics().num_alive_tasks());
        }
    }
    let lost = *regained.lock().unwrap();
    assert!(lost >= 100, "lost {lost} times");
    assert_eq!(tasks.iter().min(), tasks.iter().max(), "a term leaves a task behind");
    let lines = log.text();
    let of = |words: &str| lines.lines().filter(|line| line.contains(words)).count();
    assert_eq!(of(": leading"), lost + 1);
    assert_eq!(of("no longer leading"), lost);
    for once in ["could not renew the Lease", "could not reach the Lease", "standing by for the Lease"] {
        assert!(of(once) <= lost + 2, "{once}: {} times", of(once));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_told_by_the_holder_s_name() {
    let log = capture();
    let server = Server::sound();
    let (mut first, mut second) = (server.elector(0), server.elector(1));
    let both = tokio::time::timeout(60 * SECOND, async { tokio::join!(first.acquire(), second.acquire()) });
    assert!(both.await.is_err());
    let lines = log.text();
    assert!(lines.contains("standing by for the Lease holder=\"candidate-"), "{lines}");
    assert!(!lines.contains("WARN") && !lines.contains("ApiError"), "{lines}");
}

#[tokio::test(start_paused = true)]
async fn waits_through_an_api_server_that_is_not_there_yet() {
    let server = Server::new(|_, now, _| match now.as_secs() {
        0..30 => Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR),
        30..60 => Fault::Hangs,
        _ => Fault::None,
    });
    let mut elector = server.elector(0);
    assert!(elector.acquire().await.unwrap().is_current());
    assert!(server.start.elapsed() <= 65 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_elector_ends_the_leadership_at_once() {
    let server = Server::sound();
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    drop(elector);
    assert!(!leadership.is_current());
    leadership.lost().await;
    assert_eq!(server.start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_term_that_is_renewed_ends_no_work_before_its_last_seconds() {
    let server = Server::sound();
    let mut elector = server.elector(0);
    let leadership = elector.acquire().await.unwrap();
    let left = Duration::from_secs(2);
    // Renewed every 5 s, the term always has 5 s left.
    assert!(timeout(Duration::from_secs(60), leadership.ends_within(left)).await.is_err());
    assert!(timeout(Duration::from_secs(60), leadership.ends_within(Duration::from_secs(5))).await.is_ok());
    let never = Leadership::always();
    assert!(timeout(Duration::from_secs(60), never.ends_within(left)).await.is_err());
    let (sender, term) = tokio::sync::watch::channel(Term::until(Instant::now() + Duration::from_secs(10)));
    let unrenewed = Leadership::new(term, None);
    let began = Instant::now();
    unrenewed.ends_within(left).await;
    assert_eq!(began.elapsed().as_secs(), 8);
    unrenewed.lost().await;
    assert_eq!(began.elapsed().as_secs(), 10);
    drop(sender);
}

#[tokio::test(start_paused = true)]
async fn without_election_leadership_never_ends() {
    let leadership = Leadership::always();
    assert!(tokio::time::timeout(86_400 * SECOND, leadership.lost()).await.is_err());
    assert!(leadership.is_current());
    assert!(leadership.safe_until() > Instant::now() + 86_400 * SECOND);
    assert_eq!(leadership.previous_renewal(), None);
}

#[tokio::test(start_paused = true)]
async fn every_write_changes_the_lease_though_the_clock_stands_still() {
    let server = Server::sound();
    let elector = server.elector(0).with_clock(Clock::from_tokio(Timestamp::UNIX_EPOCH));
    let lease = elector.candidate.create().await.unwrap();
    let renewed = elector.candidate.renewed(lease.clone());
    assert_ne!(renewed.renewed(), lease.renewed());
}

#[test]
fn names_differ_between_processes_and_fit_into_events() {
    assert_ne!(identity(), identity());
    let long = name_of_process(&"h".repeat(300));
    assert!(long.len() <= 128, "{long}");
    assert!(name_of_process("operator-7d9f-x2x1").starts_with("operator-7d9f-x2x1_"));
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::Refused(StatusCode::INTERNAL_SERVER_ERROR)),
        1 => Just(Fault::Refused(StatusCode::CONFLICT)),
        2 => Just(Fault::Hangs),
        2 => Just(Fault::AnswerLost),
        2 => (1..40_u32).prop_map(|s| Fault::Late(s * SECOND)),
    ]
}

/// Leads repeatedly, mostly as the same process, and publishes its leadership in `shown`.
async fn candidate(server: Server, number: usize, shown: Arc<Mutex<Vec<Option<Leadership>>>>) {
    let mut elector = server.elector(number);
    loop {
        if fastrand::u8(..4) == 0 {
            elector = server.elector(number);
            elector.candidate.identity = identity();
        }
        let leadership = elector.acquire().await.unwrap();
        shown.lock().unwrap()[number] = Some(leadership.clone());
        leadership.lost().await;
        if fastrand::bool() {
            elector.release(5 * SECOND).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Each candidate meets each fault of its list for 4 seconds.
    #[test]
    fn never_do_two_lead_at_once(faults in prop::collection::vec(prop::collection::vec(fault(), 40), 3)) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = Server::new(move |number, now, _| {
                faults[number].get(usize::try_from(now.as_secs() / 4).unwrap()).copied().unwrap_or(Fault::None)
            });
            let shown = Arc::new(Mutex::new(vec![None::<Leadership>; 3]));
            for number in 0..3 {
                tokio::spawn(candidate(server.clone(), number, shown.clone()));
            }
            let mut led = false;
            while server.start.elapsed() < 250 * SECOND {
                sleep(Duration::from_millis(50)).await;
                let leading = shown.lock().unwrap().iter().flatten().filter(|l| l.is_current()).count();
                assert!(leading <= 1, "{leading} lead after {:?}", server.start.elapsed());
                led = leading == 1;
            }
            assert!(led, "once the faults have passed someone leads");
        });
    }
}
