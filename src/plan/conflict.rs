//! Which of several policies manages an instance.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{Named, Reason};

/// A policy that manages, and has proved that its account reaches the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub named: Arc<Named>,
    pub created: Timestamp,
    /// The cloud refused it: it ranks behind all that were not.
    pub refused: bool,
}

/// The claim that manages: not refused first, then the older, then the smaller UID.
pub fn manager<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Option<&'a Claim> {
    claims
        .into_iter()
        .min_by(|a, b| (a.refused, a.created, &a.named.uid).cmp(&(b.refused, b.created, &b.named.uid)))
}

/// Whether the stored reason of a policy's Synced means that its last Describe may have been refused, so that it ranks behind
/// until one succeeds. `Conflict` hides the refusal that an older policy lost by; for all others that say it, the rank is the
/// same.
pub fn ranks_behind(reason: &str) -> bool {
    [Reason::PermissionDenied, Reason::InstanceNotFound, Reason::Conflict]
        .iter()
        .any(|behind| behind.as_str() == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(uid: &str, created: i64, refused: bool) -> Claim {
        Claim { named: Named::new(uid, "a", uid), created: Timestamp::from_second(created).unwrap(), refused }
    }

    #[test]
    fn the_older_manages_then_the_smaller_uid_and_the_refused_last() {
        let old = claim("b", 10, false);
        let new = claim("a", 20, false);
        assert_eq!(manager(&[new.clone(), old.clone()]), Some(&old));
        let twin = claim("a", 10, false);
        assert_eq!(manager(&[old.clone(), twin.clone()]), Some(&twin));
        let refused = claim("a", 5, true);
        assert_eq!(manager(&[refused.clone(), new.clone()]), Some(&new));
        assert_eq!(manager(std::slice::from_ref(&refused)), Some(&refused));
        assert_eq!(manager(&[]), None);
    }

    #[test]
    fn a_stored_reason_ranks_behind_where_it_may_mean_a_refusal() {
        let behind = [Reason::PermissionDenied, Reason::InstanceNotFound, Reason::Conflict];
        assert!(behind.iter().all(|reason| ranks_behind(reason.as_str())));
        let others = [Reason::InSync, Reason::CloudUnavailable, Reason::Suspended, Reason::AccountNotFound];
        assert!(!others.iter().any(|reason| ranks_behind(reason.as_str())));
    }
}
