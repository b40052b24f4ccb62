use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cloud_simulator::{InstanceSpec, KeySpec, Policy, Simulator};
use http::Request;
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::cli::plan::PlanFormat;
use crate::cli::source::SourceArgs;
use crate::cloud::{EndpointRule, Transport, service_transport};
use crate::domain::Change;

const SECRET: &str = "TheSecretKeyOfThisTest";

/// Returns manifests of a Secret, an account and `count` policies.
fn manifests(count: usize) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: key, namespace: payments}}\n\
         stringData: {{accessKeyId: AKLTTestTestTestTest01, secretAccessKey: {SECRET}}}\n\
         ---\napiVersion: crossregionbackup.io/v1alpha1\nkind: CloudAccount\nmetadata: {{name: prod, namespace: payments}}\n\
         spec: {{provider: Volcengine, credentials: {{secretRef: {{name: key}}}}}}\n"
    );
    for n in 0..count {
        text.push_str(&format!(
            "---\napiVersion: crossregionbackup.io/v1alpha1\nkind: CrossRegionBackupPolicy\n\
             metadata: {{name: p-{n}, namespace: payments}}\nspec: {{accountRef: {{name: prod}}, region: cn-beijing, \
             instanceId: redis-a{n}, active: true, crossBackupRegion: cn-shanghai}}\n"
        ));
    }
    text
}

fn cloud(count: usize, start: Timestamp) -> Simulator {
    let cloud = Simulator::new(cloud_simulator::Clock::from_tokio(start));
    let key = KeySpec {
        access_key_id: "AKLTTestTestTestTest01".to_owned(),
        secret_access_key: SECRET.to_owned(),
        ..KeySpec::default()
    };
    cloud.put_key(key).unwrap();
    for n in 0..count {
        let id = format!("redis-a{n}");
        cloud.put_instance(InstanceSpec::new(&*id, "cn-beijing")).unwrap();
        if n % 100 != 0 {
            let on = Policy { active: true, region: "cn-shanghai".to_owned(), ttl: 7 };
            cloud.set_policy(&id, on).unwrap();
        }
    }
    cloud
}

/// Returns the access and the policies of these manifests against the simulated cloud, and the send time of each
/// request.
fn access_for(text: &str, cloud: &Simulator, start: Timestamp) -> (Access, Sorted, Arc<Mutex<Vec<Instant>>>) {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("all.yaml");
    std::fs::write(&path, text).unwrap();
    let args = Plan {
        paths: vec![path.clone()],
        delete: false,
        output: PlanFormat::Text,
        source: SourceArgs::default(),
    };
    let (given, sorted) = sort(manifests::read(&[path]).unwrap(), Vec::new(), "default", &args);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let router = service_transport(cloud_simulator::router(cloud.clone()));
    let recorded = sent.clone();
    let transport = Transport::new(service_fn(move |request: Request<Bytes>| {
        recorded.lock().unwrap().push(Instant::now());
        let router = router.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            router.oneshot(request).await
        }
    }));
    let rule = EndpointRule::new(&[]).unwrap();
    let clock = Clock::from_tokio(start);
    (Access::through(transport, rule, clock, None, &args.source, given), sorted, sent)
}

/// Returns the plan, and the send time of each request.
async fn plan(text: &str, cloud: &Simulator, start: Timestamp) -> (PlanResult, Vec<Instant>) {
    let (access, sorted, sent) = access_for(text, cloud, start);
    let outcome = planned(&access, sorted, start).await;
    let sent = sent.lock().unwrap().clone();
    (outcome, sent)
}

#[tokio::test(start_paused = true)]
async fn no_modify_leaves_a_command_whoever_asks_for_it() {
    let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let cloud = cloud(1, start);
    let (access, ..) = access_for(&manifests(1), &cloud, start);
    let key = access.declared().next().unwrap().clone();
    let Ok(resolved) = access.resolve(&key).await.access else { panic!("the account is fine") };
    let instance = InstanceRef { region: "cn-beijing".to_owned(), id: "redis-a0".to_owned() };
    let change = Change { active: true, cross_backup_region: Some("cn-shanghai".to_owned()) };
    let (instance, change) = (&instance, &change);
    let asked = access
        .call(&resolved, "ModifyCrossRegionBackupPolicy", |client| async move {
            client.modify_policy(instance, change, "a-token").await
        })
        .await;
    assert_eq!(asked.unwrap_err().code, "not sent: it could change something");
    assert!(!cloud.counters().by_action.contains_key("ModifyCrossRegionBackupPolicy"));
    assert_eq!(access.sent.by_action(), [("DescribeDBInstances".to_owned(), 1)].into());
}

#[tokio::test(start_paused = true)]
async fn five_thousand_manifests_are_planned_within_the_account_s_budget() {
    const N: usize = 5_000;
    let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let cloud = cloud(N, start);
    let began = Instant::now();
    let (outcome, sent) = plan(&manifests(N), &cloud, start).await;
    let took = began.elapsed();
    assert_eq!(outcome.exit(), Exit::Changes, "{:?}", outcome.invalid);
    let count = |wanted: &str| outcome.lines.iter().filter(|l| render::action(&l.verdict) == wanted).count();
    assert_eq!((count("enable"), count("none")), (N / 100, N - N / 100));
    // One verification, one Describe per policy, and one shared call for the available target regions.
    let calls = [
        ("DescribeAvailableCrossRegion", 1),
        ("DescribeCrossRegionBackupPolicy", N as u64),
        ("DescribeDBInstances", 1),
    ];
    assert_eq!(outcome.calls, calls.map(|(action, count)| (action.to_owned(), count)).into());
    assert_eq!(cloud.counters().modifies_applied, 0);
    // The default budget: 10 requests a second, 2 at once.
    let seconds = (N as f64 + 2.0) / 10.0;
    assert!(took.as_secs_f64() >= seconds - 1.0 && took.as_secs_f64() < seconds * 1.02, "{took:?}");
    for (at, first) in sent.iter().enumerate() {
        let within =
            sent[at..].iter().take_while(|t| t.duration_since(*first) < Duration::from_secs(10)).count();
        assert!(within <= 10 * 10 + 2 + 1, "{within} in 10 s");
    }
    let text = render::text(&outcome, Paint::NONE);
    assert!(
        text.ends_with("5002 cloud calls, none that changes anything.\n"),
        "{}",
        &text[text.len() - 300..]
    );
    let comment = render::comment(&outcome);
    assert!(comment.len() < 65_536 && comment.contains("more: a comment has no room for them"));
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_rejected_cost_two_calls_and_not_one_for_each_policy() {
    let start: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
    let cloud = cloud(50, start);
    let text = manifests(50).replace(SECRET, "another");
    let (outcome, _) = plan(&text, &cloud, start).await;
    assert_eq!(outcome.exit(), Exit::Failure);
    assert_eq!(outcome.calls, [("DescribeDBInstances".to_owned(), 2)].into(), "the Secret was read again");
    let is_told =
        |line: &PolicyResult| matches!(&line.verdict, Verdict::Problem { reason: "CredentialsRejected", .. });
    assert!(outcome.lines.iter().all(is_told));
    assert!(!render::text(&outcome, Paint::NONE).contains("another"));
}
