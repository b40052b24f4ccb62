//! Events against an API server that stores them.

use http::{Method, StatusCode};

use super::*;
use crate::cluster::testing::{self, Call, refusal};

#[derive(Clone, Default)]
struct Server {
    events: Arc<Mutex<BTreeMap<String, Value>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    terminating: Option<&'static str>,
}

impl Server {
    fn events(&self) -> Events {
        let server = self.clone();
        let client = testing::client(move |call| {
            let answer = server.answer(call);
            async move { answer }
        });
        let clock = Clock::from_tokio("2026-11-01T00:00:00Z".parse().unwrap());
        Events::new(client, "operator-1_abc".to_owned(), clock)
    }

    fn answer(&self, call: Call) -> (StatusCode, Value) {
        self.calls.lock().unwrap().push(call.clone());
        let mut events = self.events.lock().unwrap();
        if call.method == Method::POST {
            if self.terminating.is_some_and(|ns| call.path.contains(&format!("/namespaces/{ns}/"))) {
                let (code, mut body) = refusal(StatusCode::FORBIDDEN, "Forbidden", "it is being terminated");
                body["details"] = json!({"causes": [{"reason": "NamespaceTerminating", "message": "it is"}]});
                return (code, body);
            }
            let path = format!("{}/{}", call.path, call.body["metadata"]["name"].as_str().unwrap());
            if events.contains_key(&path) {
                return refusal(StatusCode::CONFLICT, "AlreadyExists", "there is one");
            }
            events.insert(path, call.body.clone());
            return (StatusCode::CREATED, call.body);
        }
        assert_eq!(
            (call.method, call.content_type.as_str()),
            (Method::PATCH, "application/merge-patch+json")
        );
        let Some(event) = events.get_mut(&call.path) else {
            return refusal(StatusCode::NOT_FOUND, "NotFound", "no such Event");
        };
        if let Some(series) = call.body.get("series") {
            event["series"] = series.clone();
        }
        (StatusCode::OK, event.clone())
    }

    fn all(&self) -> Vec<(String, Value)> {
        self.events.lock().unwrap().iter().map(|(path, event)| (path.clone(), event.clone())).collect()
    }

    fn only(&self) -> Value {
        let all = self.all();
        assert_eq!(all.len(), 1, "{all:?}");
        all[0].1.clone()
    }
}

fn about(namespace: Option<&str>) -> ObjectReference {
    ObjectReference {
        api_version: Some("crossregionbackup.io/v1alpha1".to_owned()),
        kind: Some("CrossRegionBackupPolicy".to_owned()),
        name: Some("sessions".to_owned()),
        namespace: namespace.map(str::to_owned),
        uid: Some("u-1".to_owned()),
        ..ObjectReference::default()
    }
}

fn note(text: &str) -> Note {
    Note { warning: true, reason: "DriftDetected", action: "Observe", text: text.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn creates_an_event_as_the_api_wants_it() {
    let server = Server::default();
    server.events().publish(&about(Some("payments")), note("active is false")).await;
    let (path, event) = server.all().remove(0);
    let name = event["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("sessions."), "{name}");
    assert_eq!(path, format!("/apis/events.k8s.io/v1/namespaces/payments/events/{name}"));
    assert_eq!(event["metadata"]["namespace"], "payments");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["reason"], "DriftDetected");
    assert_eq!(event["action"], "Observe");
    assert_eq!(event["note"], "active is false");
    assert_eq!(event["regarding"]["uid"], "u-1");
    assert_eq!(event["reportingController"], CONTROLLER);
    assert_eq!(event["reportingInstance"], "operator-1_abc");
    assert_eq!(event["eventTime"], "2026-11-01T00:00:00.000000Z");
    assert_eq!(event.get("series"), None);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_counts_and_another_note_is_another_event() {
    let server = Server::default();
    let events = server.events();
    for _ in 0..3 {
        events.publish(&about(Some("payments")), note("active is false")).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let event = server.only();
    assert_eq!(event["series"], json!({"count": 3, "lastObservedTime": "2026-11-01T00:02:00.000000Z"}));
    events.publish(&about(Some("payments")), note("the target is another")).await;
    let other = Note { reason: "DriftCorrected", ..note("active is false") };
    events.publish(&about(Some("payments")), other).await;
    let recreated = ObjectReference { uid: Some("u-2".to_owned()), ..about(Some("payments")) };
    events.publish(&recreated, note("active is false")).await;
    assert_eq!(server.all().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn counts_on_after_a_restart() {
    let server = Server::default();
    for _ in 0..4 {
        server.events().publish(&about(Some("payments")), note("active is false")).await;
    }
    assert_eq!(server.only()["series"]["count"], 4);
}

#[tokio::test(start_paused = true)]
async fn starts_anew_when_the_api_server_has_forgotten_the_event() {
    let server = Server::default();
    let events = server.events();
    events.publish(&about(Some("payments")), note("active is false")).await;
    server.events.lock().unwrap().clear();
    events.publish(&about(Some("payments")), note("active is false")).await;
    assert_eq!(server.only().get("series"), None);
    events.publish(&about(Some("payments")), note("active is false")).await;
    assert_eq!(server.only()["series"]["count"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_terminating_namespace_is_told_about_in_default() {
    let server = Server { terminating: Some("payments"), ..Server::default() };
    let events = server.events();
    for _ in 0..2 {
        events.publish(&about(Some("payments")), note("given up")).await;
    }
    let event = server.only();
    assert_eq!(event["metadata"]["namespace"], "default");
    assert_eq!(event["regarding"]["namespace"], "payments");
    assert_eq!(event["series"]["count"], 2);
    assert_eq!(server.calls.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_scoped_object_is_told_about_in_default() {
    let server = Server::default();
    server.events().publish(&about(None), note("rejected")).await;
    assert_eq!(server.only()["metadata"]["namespace"], "default");
}

#[tokio::test(start_paused = true)]
async fn notes_are_cut() {
    let server = Server::default();
    let text = format!("{}{}", "x".repeat(985), "é".repeat(200));
    server.events().publish(&about(Some("payments")), note(&text)).await;
    let event = server.only();
    let note = event["note"].as_str().unwrap();
    assert!(note.len() <= MAX_NOTE_BYTES && note.len() > MAX_NOTE_BYTES - 4, "{}", note.len());
}

#[tokio::test(start_paused = true)]
async fn failures_and_silence_change_nothing() {
    let refusing = testing::client(|_| async { refusal(StatusCode::FORBIDDEN, "Forbidden", "not you") });
    let clock = Clock::system();
    Events::new(refusing, "i".to_owned(), clock.clone()).publish(&about(Some("payments")), note("a")).await;
    let silent = testing::client(|_| std::future::pending());
    let begun = tokio::time::Instant::now();
    Events::new(silent, "i".to_owned(), clock).publish(&about(Some("payments")), note("a")).await;
    assert_eq!(begun.elapsed(), WRITE_TIMEOUT);
}

#[test]
fn names_are_dns_subdomains() {
    let long =
        ObjectReference { name: Some(format!("{}.{}", "a".repeat(199), "b".repeat(53))), ..about(None) };
    let name = name_of(&long, "R", "t");
    assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    assert_eq!(name_of(&ObjectReference::default(), "R", "t").len(), 16);
    assert_ne!(name_of(&about(None), "ab", "c"), name_of(&about(None), "a", "bc"));
}

#[test]
fn the_memory_is_bounded_and_forgets_what_was_used_longest_ago() {
    let mut cache = EventCache::default();
    let cached = || CachedEvent { namespace: "n".to_owned(), count: 1, tick: 0 };
    cache.insert("first".to_owned(), cached());
    cache.insert("second".to_owned(), cached());
    cache.increment("first");
    for i in 0..MAX_CACHED_EVENTS - 1 {
        cache.insert(format!("e-{i}"), cached());
    }
    assert_eq!(cache.cached.len(), MAX_CACHED_EVENTS);
    assert!(cache.increment("second").is_none());
    assert_eq!(cache.increment("first").unwrap().count, 3);
}
