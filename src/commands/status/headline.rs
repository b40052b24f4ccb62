//! Headline of `status`: whether the other region has a usable copy to restore from.

use jiff::SignedDuration;

use super::explain::Policy;
use crate::api::duration;
use crate::api::policy::RecoveryPoint;
use crate::commands::show::TextStyle;
use crate::commands::show::age;
use crate::domain::condition::{Reason, types};

/// First line of the explanation.
pub(super) struct Headline {
    pub(super) text_style: TextStyle,
    pub(super) text: String,
    /// Problem for which there may be no condition.
    pub(super) reason: Option<Reason>,
}

impl Headline {
    fn notice(text: &str) -> Self {
        Self { text_style: TextStyle::Notice, text: text.to_owned(), reason: None }
    }
}

impl Policy<'_> {
    pub(super) fn is_outdated(&self) -> bool {
        self.observed() < self.object.metadata.generation
    }

    pub(super) fn headline(&self) -> Headline {
        if self.observed().is_none() {
            return Headline::notice(
                "Nobody has looked at this policy yet, so nothing is known of its copies.",
            );
        }
        // The status describes the target of its own generation.
        let target = if self.is_outdated() { "the region wanted before" } else { self.target() };
        match (self.active, &self.recovery_point, &self.backups) {
            (Some(false), ..) => self.headline_of_inactive(),
            (_, Some(point), _) => self.headline_of(point, target),
            (_, None, Some(_)) => Headline {
                text_style: TextStyle::Bad,
                text: format!(
                    "Nothing to restore from: there is no usable copy in {target}.{}",
                    self.caveat()
                ),
                reason: Some(Reason::NoBackupYet),
            },
            (_, None, None) => Headline::notice(&format!(
                "Whether there is a usable copy in {target} is not known: the backups were not read."
            )),
        }
    }

    fn headline_of_inactive(&self) -> Headline {
        Headline::notice(match &self.found {
            Some(found) if found.active => "The policy wants no copies, but the cloud still makes them.",
            Some(_) => "No copies are made, as the policy wants: the instance is not protected.",
            None => "The policy wants no copies; what the cloud does is not known.",
        })
    }

    fn headline_of(&self, point: &RecoveryPoint, target: &str) -> Headline {
        let old = self.now.duration_since(point.time.0);
        let mut text = format!("The newest usable copy in {target} is {} old", age::duration(old));
        let objective = self.text("/spec/recoveryPointObjective");
        let length = objective
            .as_deref()
            .and_then(duration::parse)
            .and_then(|length| SignedDuration::try_from(length).ok());
        let mut text_style = TextStyle::Good;
        let mut reason = None;
        match (objective, length) {
            (Some(objective), Some(length)) if old <= length => {
                text.push_str(&format!(", within its objective of {objective}."));
            }
            (Some(objective), Some(_)) => {
                text_style = TextStyle::Bad;
                reason = Some(Reason::ObjectiveExceeded);
                text.push_str(&format!(": that exceeds its objective of {objective}."));
            }
            _ => text.push_str("; no objective says how old it may be."),
        }
        match &self.found {
            Some(found) if !found.active => {
                text_style = TextStyle::Bad;
                text.push_str(" No further copies are made: the cloud's policy is off.");
            }
            Some(found) if found.cross_backup_region != self.target => {
                text_style = TextStyle::Bad;
                let other =
                    found.cross_backup_region.as_deref().unwrap_or("a region that the cloud does not name");
                text.push_str(&format!(" Further copies go to {other}."));
            }
            _ => {}
        }
        let caveat = self.caveat();
        if text_style == TextStyle::Good && (self.is_outdated() || !caveat.is_empty()) {
            text_style = TextStyle::Notice;
        }
        Headline { text_style, text: text + &caveat, reason }
    }

    /// Returns why the headline may be outdated; empty if it is not.
    fn caveat(&self) -> String {
        let unsure = |kind| {
            self.condition(kind).filter(|c| c.status == "Unknown" && c.reason != Reason::NoBackupYet.as_str())
        };
        match unsure(types::SYNCED).or_else(|| unsure(types::RECOVERY_POINT_MET)) {
            Some(condition) => format!(" So it was when last seen: {}.", condition.reason),
            None => String::new(),
        }
    }
}
