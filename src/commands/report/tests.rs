//! Tests of each output format with every state, and with names that try to inject markup, formulas or control
//! characters.

use jiff::{SignedDuration, Timestamp};

use super::model::*;
use super::*;
use crate::commands::show::Paint;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

fn on(target: &str) -> CloudPolicy {
    CloudPolicy::On { target: Some(target.to_owned()), ttl_days: Some(7) }
}

/// Returns copies, the newest of which is `age` hours old.
fn copies(usable: i64, age: i64) -> Copies {
    Copies::Read { usable, newest: Some(now() - hours(age)) }
}

fn declared(name: &str, objective: Option<i64>) -> Option<Declared> {
    Some(Declared {
        namespace: "payments".to_owned(),
        name: name.to_owned(),
        management_policy: "Manage".to_owned(),
        active: true,
        target: Some("cn-shanghai".to_owned()),
        objective: objective.map(hours),
        protected_since: Some("2026-11-01T00:05:00Z".parse().unwrap()),
    })
}

fn instance(
    id: &str,
    name: &str,
    cloud: CloudPolicy,
    declared: Option<Declared>,
    copies: Copies,
) -> Instance {
    Instance {
        id: id.to_owned(),
        name: Some(name.to_owned()),
        project: Some("default".to_owned()),
        cloud,
        declared,
        copies,
    }
}

fn report() -> Report {
    let off = Some(Declared { active: false, target: None, ..declared("off", None).unwrap() });
    let observed = Some(Declared {
        management_policy: "Observe".to_owned(),
        ..declared("elsewhere", Some(26)).unwrap()
    });
    let none = Copies::Read { usable: 0, newest: None };
    let unread = || Copies::NotRead("not permitted".to_owned());
    Report {
        generated_at: now(),
        accounts: vec![
            Account {
                name: "payments/prod".to_owned(),
                provider: "Volcengine".to_owned(),
                region: "cn-beijing".to_owned(),
                instances: vec![
                    instance(
                        "redis-good",
                        "会话缓存",
                        on("cn-shanghai"),
                        declared("good", Some(26)),
                        copies(7, 9),
                    ),
                    instance(
                        "redis-plain",
                        "no objective",
                        on("cn-shanghai"),
                        declared("plain", None),
                        copies(7, 30),
                    ),
                    instance(
                        "redis-late",
                        "late",
                        on("cn-shanghai"),
                        declared("late", Some(26)),
                        copies(3, 39),
                    ),
                    instance(
                        "redis-very-late",
                        "very late",
                        on("cn-shanghai"),
                        declared("very-late", Some(1)),
                        copies(1, 400),
                    ),
                    instance("redis-new", "new", on("cn-shanghai"), declared("new", Some(26)), none.clone()),
                    instance(
                        "redis-off",
                        "off",
                        CloudPolicy::Off,
                        declared("switched-off", Some(26)),
                        copies(2, 50),
                    ),
                    instance("redis-off-too", "wanted off", CloudPolicy::Off, off.clone(), none.clone()),
                    instance("redis-on", "wanted off, is on", on("cn-shanghai"), off, copies(2, 3)),
                    instance("redis-elsewhere", "elsewhere", on("cn-guangzhou"), observed, copies(4, 5)),
                    instance("redis-nobody", "nobody's", CloudPolicy::Off, None, none.clone()),
                    instance("redis-unmanaged", "unmanaged", on("cn-shanghai"), None, copies(4, 5)),
                    instance(
                        "redis-unread",
                        "unread",
                        on("cn-shanghai"),
                        declared("unread", Some(26)),
                        unread(),
                    ),
                    instance(
                        "redis-denied",
                        "denied",
                        CloudPolicy::Unknown("not permitted".to_owned()),
                        None,
                        unread(),
                    ),
                ],
            },
            Account {
                name: "/shared".to_owned(),
                provider: "Tencent".to_owned(),
                region: "ap-guangzhou".to_owned(),
                instances: vec![
                    instance("crs-1", "<script>alert(1)</script>", unsupported(), None, none.clone()),
                    instance("crs-2", "=cmd|' /C calc'!A0", unsupported(), None, none.clone()),
                    instance(
                        "crs-3",
                        "a | pipe, \"quotes\" & <!-- comment",
                        unsupported(),
                        None,
                        none.clone(),
                    ),
                    instance("crs-4", "\u{1b}]0;evil\u{7}\u{1b}[2J", unsupported(), None, none.clone()),
                    instance("crs-5", "\u{202e}desrever\u{202c}\nnext line", unsupported(), None, none),
                ],
            },
        ],
        policies_without_instance: vec![PolicyWithoutInstance {
            namespace: "payments".to_owned(),
            name: "gone".to_owned(),
            account: "payments/prod".to_owned(),
            region: "cn-beijing".to_owned(),
            instance_id: "redis-gone".to_owned(),
        }],
        problems: vec![Problem {
            account: "web/broken".to_owned(),
            region: Some("cn-beijing".to_owned()),
            message: "CredentialsRejected: the cloud says <b>no</b>\u{1b}[31m".to_owned(),
        }],
    }
}

fn unsupported() -> CloudPolicy {
    CloudPolicy::Unsupported("Tencent Cloud has no cross-region policy".to_owned())
}

#[test]
fn as_text() {
    insta::assert_snapshot!(text(&report(), Paint::NONE));
}

#[test]
fn as_json() {
    insta::assert_snapshot!(to_json(&report()).unwrap());
}

#[test]
fn as_csv() {
    let csv = to_csv(&report()).unwrap();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 18);
    let names: Vec<&str> = rows.iter().filter(|row| &row[3] == "crs-2").map(|row| &row[4]).collect();
    assert_eq!(names, ["'=cmd|' /C calc'!A0"]);
    insta::assert_snapshot!(csv);
}

#[test]
fn as_html() {
    insta::assert_snapshot!(html(&report()).replace("><", ">\n<"));
}

#[test]
fn the_page_needs_nothing_and_runs_nothing() {
    let page = html(&report());
    for word in [
        "src=", "href=", "url(", "@import", "http://", "https://", "<script", "<link", "<iframe", "<img",
        "onload", "<b>no",
    ] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
    assert!(!page.contains('\u{202e}'));
    assert_well_formed(&page);
}

/// Asserts that each element is closed by its own end tag, so that no name became part of the page's structure.
fn assert_well_formed(page: &str) {
    let mut open = Vec::new();
    let body = page.split_once("<body>").unwrap().1;
    for tag in body.split('<').skip(1) {
        let name: &str = tag.split(|c: char| !c.is_ascii_alphanumeric() && c != '/').next().unwrap();
        match name.strip_prefix('/') {
            Some("body" | "html") => {}
            Some(end) => assert_eq!(open.pop(), Some(end), "{tag}"),
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn nothing_without_a_usable_copy_is_called_protected() {
    for row in report().rows().iter().filter(|row| row.state == State::Protected) {
        assert!(row.instance.usable_copies().unwrap() > 0 && row.instance.target().is_some());
        assert_ne!(row.instance.objective(now()), Objective::Exceeded);
    }
}

#[test]
fn ten_thousand_rows_stay_small() {
    let mut large = report();
    let template = large.accounts[0].instances[0].clone();
    large.accounts[0].instances = (0..10_000)
        .map(|n| Instance { id: format!("redis-cn0a1b2c3d4e{n:05}"), ..template.clone() })
        .collect();
    let page = html(&large);
    assert!(page.len() < 8_000_000, "{}", page.len());
}
