//! Processes that lead, lose the Lease, and lead again, in virtual time: with the production elector, and an API server
//! that cuts them off one after the other.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use http::Request;
use kube::client::Body;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, service_fn};

use crate::harness::api_server::{Delivery, EVENT, InjectedFault, Refusal};
use crate::harness::fleet::{Fleet, OTHER_TARGET, TARGET};
use crate::harness::history::EntryKind;
use crate::harness::measurements::MODIFY;
use crate::harness::{OWN_NAMESPACE, TestCluster};
use cross_region_backup_operator::cluster::elector::{Elector, LEASE, Leadership, Timing};
use cross_region_backup_operator::controllers::run;
use cross_region_backup_operator::metrics::Meters;

const SECOND: Duration = Duration::from_secs(1);
const FLEET: Fleet = Fleet { policies: 2, interval: "1m", ..Fleet::DEFAULT };

/// State of a replica's connection to the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum LinkState {
    Open,
    /// Every request fails at once.
    Fails,
    /// No request is answered.
    Hangs,
    /// Requests for the Lease are refused, as after a change of roles.
    Refused,
}

const LINK_STATES: [LinkState; 4] = [LinkState::Open, LinkState::Fails, LinkState::Hangs, LinkState::Refused];

/// One term of leadership, of the process with this number.
struct Term {
    process: usize,
    from: Instant,
    until: Option<Instant>,
}

type Terms = Arc<Mutex<Vec<Term>>>;

struct Replica {
    process: usize,
    way: Arc<AtomicU8>,
    meters: Meters,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    /// Starts a replica with its own elector, and records its terms.
    fn start(cluster: &mut TestCluster, terms: &Terms) -> Self {
        let wire = cluster.wire();
        let (process, way) = (wire.process, Arc::<AtomicU8>::default());
        let meters = Meters::default();
        let kube = gated(cluster.api.client(&wire), way.clone());
        let identity = format!("replica-{process}");
        let elector = Elector::new(kube.clone(), OWN_NAMESPACE, identity, Timing::default());
        let elector = Arc::new(tokio::sync::Mutex::new(elector));
        let mut settings = cluster.settings(&wire, kube);
        settings.meters = meters.clone();
        let terms = terms.clone();
        let leading = move || {
            let (elector, terms) = (elector.clone(), terms.clone());
            async move {
                let leadership = elector.lock().await.acquire().await?;
                note_term(process, leadership.clone(), &terms);
                Ok(leadership)
            }
            .boxed()
        };
        let (stop, asked) = oneshot::channel();
        let ended = tokio::spawn(run(settings, leading, asked.map(drop)));
        Self { process, way, meters, stop, ended }
    }

    fn set(&self, way: LinkState) {
        self.way.store(way as u8, Ordering::Relaxed);
    }

    /// Returns whether `/metrics` reports leadership.
    fn reports_leadership(&self) -> bool {
        let mut text = Vec::new();
        self.meters.write(&mut text).unwrap();
        String::from_utf8(text).unwrap().contains("crossregionbackup_leader 1")
    }

    async fn end(self) {
        let _ = self.stop.send(());
        self.ended.await.unwrap().unwrap();
    }
}

fn note_term(process: usize, leadership: Leadership, terms: &Terms) {
    let number = {
        let mut terms = terms.lock().unwrap();
        terms.push(Term { process, from: Instant::now(), until: None });
        terms.len() - 1
    };
    let terms = terms.clone();
    tokio::spawn(async move {
        leadership.lost().await;
        terms.lock().unwrap()[number].until = Some(Instant::now());
    });
}

/// Returns a client whose requests go through `way` as it is at their time.
fn gated(client: kube::Client, way: Arc<AtomicU8>) -> kube::Client {
    let service = service_fn(move |request: Request<Body>| {
        let (client, way) = (client.clone(), LINK_STATES[usize::from(way.load(Ordering::Relaxed))]);
        async move {
            let is_of_lease = request.uri().path().contains("/leases");
            match way {
                LinkState::Fails => Err(BoxError::from("connection refused")),
                LinkState::Hangs => std::future::pending().await,
                LinkState::Refused if is_of_lease => {
                    let status = json!({
                        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                        "reason": "Forbidden", "message": "leases is forbidden",
                    });
                    let answer = http::Response::builder().status(403);
                    Ok(answer.body(Body::from(status.to_string().into_bytes())).unwrap())
                }
                LinkState::Open | LinkState::Refused => client.send(request).await.map_err(BoxError::from),
            }
        }
    });
    kube::Client::new(service, "default")
}

/// Returns the process that leads.
fn leader(terms: &Terms) -> Option<usize> {
    let terms = terms.lock().unwrap();
    terms.last().filter(|term| term.until.is_none()).map(|term| term.process)
}

async fn until_led(terms: &Terms, by: impl Fn(usize) -> bool) -> usize {
    let led = async {
        loop {
            if let Some(process) = leader(terms).filter(|process| by(*process)) {
                return process;
            }
            sleep(SECOND / 10).await;
        }
    };
    timeout(60 * SECOND, led).await.expect("nobody leads")
}

/// Checks that terms do not overlap, and that each Modify and each write fell into a term of its process. Returns the
/// number of Modifies.
fn check(cluster: &TestCluster, terms: &Terms) -> usize {
    let terms = terms.lock().unwrap();
    for pair in terms.windows(2) {
        let until = pair[0].until.expect("the last one alone goes on");
        assert!(until <= pair[1].from, "two led at once");
    }
    let mut modifies = 0;
    for entry in cluster.journal.entries() {
        match &entry.what {
            EntryKind::Called(call) if call.action == MODIFY => modifies += 1,
            EntryKind::Called(_) => {}
            EntryKind::Stored(stored) if stored.resource != "leases" && entry.by != 0 => {}
            _ => continue,
        }
        let of =
            terms.iter().rfind(|term| term.from <= entry.at && term.until.is_none_or(|end| entry.at <= end));
        assert!(of.is_some_and(|term| term.process == entry.by), "outside of its term: {entry:?}");
    }
    modifies
}

fn lease_path() -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{OWN_NAMESPACE}/leases/{LEASE}")
}

/// Returns what the processes hold: tasks, open watches, references to the API server and to the cloud's transport.
fn held(cluster: &TestCluster) -> [usize; 4] {
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    [tasks, cluster.api.watches(), cluster.api.holders(), cluster.arrivals.holders()]
}

#[tokio::test(start_paused = true)]
async fn over_a_hundred_lost_and_regained_leases_at_most_one_acts_and_nothing_is_left_of_a_term() {
    let mut cluster = TestCluster::new();
    cluster.install(&FLEET);
    for number in 0..FLEET.policies {
        cluster.api.create(&FLEET.collection(number), FLEET.manifest(number));
    }
    cluster.journal.start_recording();
    let terms = Terms::default();
    let replicas = [Replica::start(&mut cluster, &terms), Replica::start(&mut cluster, &terms)];
    let of = |process: usize| replicas.iter().find(|replica| replica.process == process).unwrap();
    let (mut modifies, mut rest) = (0, Vec::new());
    for round in 0..104 {
        let leads = until_led(&terms, |_| true).await;
        let number = terms.lock().unwrap().len() - 1;
        // There is always a difference to correct.
        let target = [OTHER_TARGET, TARGET][round % 2];
        for number in 0..FLEET.policies {
            cluster.retarget(&FLEET, number, target);
        }
        sleep(5 * SECOND).await;
        assert!(of(leads).reports_leadership() && !of(3 - leads).reports_leadership());
        match round % 5 {
            way @ 0..3 => of(leads).set(LINK_STATES[way + 1]),
            // Another actor deletes the Lease, or takes it over without a check.
            3 => cluster.api.delete(&lease_path()),
            _ => drop(cluster.api.patch(&lease_path(), &json!({"spec": {"holderIdentity": "another"}}))),
        }
        for number in 0..FLEET.policies {
            cluster.retarget(&FLEET, number, [TARGET, OTHER_TARGET][round % 2]);
        }
        let lost = Instant::now();
        while terms.lock().unwrap()[number].until.is_none() {
            assert!(lost.elapsed() <= 11 * SECOND, "round {round}: it did not step down");
            sleep(SECOND / 10).await;
        }
        // It may lead again already after the Lease was deleted.
        assert!(leader(&terms).is_some() || !of(leads).reports_leadership());
        let next = until_led(&terms, |process| round % 5 > 2 || process != leads).await;
        assert!(lost.elapsed() <= 26 * SECOND, "round {round}: it took {:?}", lost.elapsed());
        of(leads).set(LinkState::Open);
        sleep(5 * SECOND).await;
        for replica in &replicas {
            assert!(!replica.ended.is_finished(), "round {round}: a process has ended");
        }
        assert_eq!(leader(&terms), Some(next));
        modifies += check(&cluster, &terms);
        // Drops the checked history.
        cluster.journal.start_recording();
        cluster.clear_records();
        if round % 20 == 3 {
            rest.push(held(&cluster));
        }
    }
    assert!(terms.lock().unwrap().len() > 100);
    assert!(modifies >= 2 * 104, "{modifies} changes were made");
    let spread = |of: usize| rest.iter().map(|held| held[of]).max().unwrap() - rest[0][of];
    // A request may be in flight at one sample and not at another; a leak per term would add up to a hundred.
    assert!((0..4).all(|of| spread(of) <= 4), "{rest:?}");
    for replica in replicas {
        replica.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn alone_and_without_its_api_server_it_stands_by_and_leads_again_with_what_has_changed() {
    for outage in [4, 14, 60, 600] {
        let mut cluster = TestCluster::new();
        cluster.install(&FLEET);
        cluster.api.create(&FLEET.collection(0), FLEET.manifest(0));
        let terms = Terms::default();
        let replica = Replica::start(&mut cluster, &terms);
        until_led(&terms, |_| true).await;
        sleep(30 * SECOND).await;
        cluster.api.inject(|seen| {
            let reply = Delivery::Lost;
            let refusal = (seen.verb != EVENT).then_some(Refusal::new(503, "ServiceUnavailable"));
            Some(InjectedFault { refusal, reply, ..InjectedFault::default() })
        });
        sleep(SECOND).await;
        let changed = Instant::now();
        cluster.retarget(&FLEET, 0, OTHER_TARGET);
        sleep(outage * SECOND).await;
        assert!(!replica.ended.is_finished(), "it has ended");
        assert_eq!(leader(&terms).is_none(), outage > 10);
        cluster.api.stop_injecting();
        let healed = Instant::now();
        sleep(30 * SECOND).await;
        let arrived = cluster.arrivals.since(changed).into_iter().find(|call| call.action == MODIFY);
        let took = arrived.expect("no Modify").at.saturating_duration_since(healed);
        // A watch retries after 2 s at most; then policy and account are polled.
        assert!(took <= Duration::from_millis(2_500), "after {outage} s it took {took:?}");
        assert_eq!(leader(&terms), Some(replica.process));
        assert_eq!(terms.lock().unwrap().len(), if outage > 10 { 2 } else { 1 });
        replica.end().await;
    }
}
