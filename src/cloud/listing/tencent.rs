//! A listing as Tencent Cloud takes it: in spans of at most 30 days, with codes for statuses, and, where it insists, by
//! instance. What it takes differs between the versions of its documents, so the widest question is put first.

use jiff::{SignedDuration, Timestamp};

use super::selection::Selection;
use crate::cloud::Site;
use crate::cloud::exchange::is_not_sent;
use crate::cloud::tencent::query::{BackupQuery, SPAN_MAX};
use crate::cloud::tencent::{LIST_BACKUPS, codes};
use crate::domain::{Failure, Kind};

/// The domain's words, and the code that each is asked for by. What 1 means only an answer tells.
const STATUSES: [(&str, i64); 7] = [
    ("Creating", 1),
    ("Locked", 1),
    ("Available", 2),
    ("Exporting", 3),
    ("Exported", 4),
    ("Expired", -1),
    ("Deleted", -2),
];
/// What is asked for where no status is wanted in particular.
const ALL: [i64; 4] = [1, 2, 3, 4];
/// What every version of the documents has.
const BASIC: [i64; 2] = [1, 2];
const BASIC_ONLY: &str = "filter.statuses: this cloud lists Creating, Locked and Available alone";
const NOT_HERE: &str = "not available with Tencent; allowed with Volcengine and BytePlus only";
/// 2000-01-01T00:00:00Z, before the service began.
const START: Timestamp = Timestamp::constant(946_684_800, 0);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// How far the cloud's clock may be ahead: no backup begins later.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// Its parts are every span of the first target, then those of the next.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whose backups; `None`: those of all instances.
    targets: Vec<Option<String>>,
    spans: Vec<Option<(Timestamp, Timestamp)>>,
    /// The codes that are wanted.
    wanted: Vec<i64>,
    /// By the user, in so many words.
    chosen: bool,
    /// Those that are asked for: the wanted ones, or fewer once the cloud refused them.
    statuses: Vec<i64>,
    /// The account's, for where the cloud lists by instance alone; `None` where no other form of the question is left.
    instances: Option<Vec<String>>,
    /// The question for all instances was refused: the targets may include one that is gone.
    by_instance: bool,
}

impl Asked {
    pub fn new(
        site: Site,
        selection: &Selection,
        instances: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        selection.check(LIST_BACKUPS, site.provider(), &STATUSES.map(|(word, _)| word), Some(NOT_HERE))?;
        let mut wanted: Vec<_> = STATUSES
            .iter()
            .filter(|(word, _)| selection.statuses.iter().any(|s| s == word))
            .map(|(_, code)| *code)
            .collect();
        wanted.dedup();
        if wanted.is_empty() {
            wanted.extend(ALL);
        }
        Ok(Self {
            targets: vec![selection.instance.clone()],
            spans: spans(selection.window, now),
            statuses: wanted.clone(),
            chosen: !selection.statuses.is_empty(),
            wanted,
            instances: selection.instance.is_none().then_some(instances),
            by_instance: false,
        })
    }

    pub fn parts(&self) -> usize {
        self.targets.len() * self.spans.len()
    }

    pub fn is_of_one(&self, part: usize) -> bool {
        self.targets[part / self.spans.len()].is_some()
    }

    pub fn query(&self, part: usize, page: u32, size: u32) -> BackupQuery {
        BackupQuery {
            instance_id: self.targets[part / self.spans.len()].clone(),
            instance_name: None,
            statuses: self.statuses.clone(),
            window: self.spans[part % self.spans.len()],
            limit: size,
            offset: (page - 1).saturating_mul(size),
        }
    }

    /// A refused question is put with fewer statuses, then by instance, with all statuses again. An instance that is
    /// gone by then has no backups.
    pub fn part_after(&mut self, failure: Failure, part: usize) -> Result<usize, Failure> {
        if self.by_instance && failure.kind == Kind::InstanceNotFound {
            return Ok((part / self.spans.len() + 1) * self.spans.len());
        }
        if failure.kind != Kind::InvalidRequest || is_not_sent(&failure) {
            return Err(failure);
        }
        let wants_instance = self.instances.is_some() && failure.has_code(codes::misses_parameter);
        // What was chosen is not left out silently.
        if !wants_instance && !self.chosen && self.statuses == ALL {
            self.statuses = BASIC.to_vec();
            return Ok(part);
        }
        // That the account has no instances is a reason to list none only where the cloud asked for one.
        if let Some(instances) = self.instances.take_if(|i| wants_instance || !i.is_empty()) {
            self.targets = instances.into_iter().map(Some).collect();
            self.statuses.clone_from(&self.wanted);
            self.by_instance = true;
            return Ok(0);
        }
        Err(if self.statuses.iter().all(|status| BASIC.contains(status)) {
            failure
        } else {
            Failure { message: Some(BASIC_ONLY.to_owned()), ..failure }
        })
    }
}

/// The window in pieces that do not overlap; both ends of each are included. They stay a second under the documented
/// 30 days, which could count the last second too.
fn spans(window: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Vec<Option<(Timestamp, Timestamp)>> {
    let Some((start, end)) = window else {
        return vec![None];
    };
    let latest = now.saturating_add(AHEAD).unwrap_or(now);
    let end = whole_second(end.min(latest.max(start)));
    let mut begin = whole_second(start.max(START)).min(end);
    let mut spans = Vec::new();
    loop {
        let last = begin.saturating_add(SPAN_MAX - SECOND).unwrap_or(end).min(end);
        spans.push(Some((begin, last)));
        if last == end {
            return spans;
        }
        begin = last.saturating_add(SECOND).unwrap_or(end);
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
