//! Backup listing at Tencent Cloud: spans of at most 30 days, numeric status codes, and one request per instance where
//! the cloud requires it. The accepted parameters differ between the versions of its documents, so the broadest request
//! is tried first.

use jiff::{SignedDuration, Timestamp};

use super::selection::Selection;
use crate::cloud::Site;
use crate::cloud::api_client::is_invalid_request;
use crate::cloud::tencent::query::{BackupQuery, SPAN_MAX};
use crate::cloud::tencent::{LIST_BACKUPS, codes};
use crate::domain::{Failure, Kind};

/// Statuses of the domain, and the codes that request them. Code 1 covers two; only the response tells them apart.
const STATUSES: [(&str, i64); 7] = [
    ("Creating", 1),
    ("Locked", 1),
    ("Available", 2),
    ("Exporting", 3),
    ("Exported", 4),
    ("Expired", -1),
    ("Deleted", -2),
];
/// Codes to request if no status is selected.
const DEFAULT_STATUSES: [i64; 4] = [1, 2, 3, 4];
/// Codes that every version of the documents has.
const BASIC_STATUSES: [i64; 2] = [1, 2];
const BASIC_ONLY: &str = "filter.statuses: this cloud lists Creating, Locked and Available alone";
const VOLCENGINE_ONLY: &str = "not available with Tencent; allowed with Volcengine and BytePlus only";
/// 2000-01-01T00:00:00Z, before the service began.
const START: Timestamp = Timestamp::constant(946_684_800, 0);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// Bound on how far the cloud's clock may be ahead: no backup starts later.
const CLOCK_SKEW_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Requests of a listing in their current form. The parts are all spans of the first target, then those of the next.
#[derive(Clone, Debug)]
pub struct CloudPlan {
    /// Instances whose backups are requested; `None` stands for all instances.
    targets: Vec<Option<String>>,
    spans: Vec<Option<(Timestamp, Timestamp)>>,
    /// Codes of the selected statuses, or [`DEFAULT_STATUSES`].
    wanted: Vec<i64>,
    /// Whether the user selected statuses explicitly.
    is_explicit: bool,
    /// Codes that are requested: the wanted ones, or fewer once the cloud refused them.
    statuses: Vec<i64>,
    /// Instances of the account, for a cloud that lists by instance only; `None` if no other form of the request is
    /// left.
    instances: Option<Vec<String>>,
    /// Whether the request for all instances was refused: the targets may then include a deleted instance.
    by_instance: bool,
}

impl CloudPlan {
    pub fn new(
        site: Site,
        selection: &Selection,
        instances: Vec<String>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        selection.check(
            LIST_BACKUPS,
            site.provider(),
            &STATUSES.map(|(word, _)| word),
            Some(VOLCENGINE_ONLY),
        )?;
        let mut wanted: Vec<_> = STATUSES
            .iter()
            .filter(|(word, _)| selection.statuses.iter().any(|s| s == word))
            .map(|(_, code)| *code)
            .collect();
        wanted.dedup();
        if wanted.is_empty() {
            wanted.extend(DEFAULT_STATUSES);
        }
        Ok(Self {
            targets: vec![selection.instance.clone()],
            spans: spans(selection.window, now),
            statuses: wanted.clone(),
            is_explicit: !selection.statuses.is_empty(),
            wanted,
            instances: selection.instance.is_none().then_some(instances),
            by_instance: false,
        })
    }

    pub fn parts(&self) -> usize {
        self.targets.len() * self.spans.len()
    }

    pub fn is_single_instance(&self, part: usize) -> bool {
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

    /// Changes a refused request: first to fewer statuses, then to one instance at a time, with all statuses again.
    /// Skips an instance that has been deleted meanwhile: it has no backups.
    pub fn part_after(&mut self, failure: Failure, part: usize) -> Result<usize, Failure> {
        if self.by_instance && failure.kind == Kind::InstanceNotFound {
            return Ok((part / self.spans.len() + 1) * self.spans.len());
        }
        if failure.kind != Kind::InvalidRequest || is_invalid_request(&failure) {
            return Err(failure);
        }
        let wants_instance = self.instances.is_some() && failure.has_code(codes::is_missing_parameter);
        // Explicitly selected statuses are not dropped silently.
        if !wants_instance && !self.is_explicit && self.statuses == DEFAULT_STATUSES {
            self.statuses = BASIC_STATUSES.to_vec();
            return Ok(part);
        }
        // An account without instances has an empty listing only if the cloud required an instance.
        if let Some(instances) = self.instances.take_if(|i| wants_instance || !i.is_empty()) {
            self.targets = instances.into_iter().map(Some).collect();
            self.statuses.clone_from(&self.wanted);
            self.by_instance = true;
            return Ok(0);
        }
        Err(if self.statuses.iter().all(|status| BASIC_STATUSES.contains(status)) {
            failure
        } else {
            Failure { message: Some(BASIC_ONLY.to_owned()), ..failure }
        })
    }
}

/// Splits the window into spans that do not overlap, both ends inclusive. Each is a second shorter than the documented
/// 30 days, which may count the last second too.
fn spans(window: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Vec<Option<(Timestamp, Timestamp)>> {
    let Some((start, end)) = window else {
        return vec![None];
    };
    let latest = now.saturating_add(CLOCK_SKEW_MAX).unwrap_or(now);
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
