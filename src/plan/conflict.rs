//! Conflict resolution: which of several policies manages an instance.

use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::{ObjectKey, Reason};

/// A claim of a managing policy whose account has proven access to the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub object_key: Arc<ObjectKey>,
    pub created: Timestamp,
    pub refused: Refusal,
}

/// Whether the cloud refused a policy's Describe or Modify. The more certain the refusal, the lower the rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    #[default]
    None,
    /// After a restart: the stored reason is `Conflict`, which hides the refusal by which the policy may have lost. The
    /// next Describe resolves it.
    Possible,
    Known,
}

impl Refusal {
    /// Derives the refusal from the stored reason of a policy's Synced condition.
    pub fn of_reason(reason: &str) -> Self {
        if [Reason::PermissionDenied, Reason::InstanceNotFound].iter().any(|known| known.as_str() == reason) {
            Self::Known
        } else if reason == Reason::Conflict.as_str() {
            Self::Possible
        } else {
            Self::None
        }
    }

    pub fn known(refused: bool) -> Self {
        if refused { Self::Known } else { Self::None }
    }
}

/// Returns the claim that manages the instance: least refused, then oldest, then smallest UID.
pub fn manager<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Option<&'a Claim> {
    claims.into_iter().min_by(|a, b| {
        (a.refused, a.created, &a.object_key.uid).cmp(&(b.refused, b.created, &b.object_key.uid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(uid: &str, created: i64, refused: Refusal) -> Claim {
        Claim {
            object_key: ObjectKey::new(uid, "a", uid),
            created: Timestamp::from_second(created).unwrap(),
            refused,
        }
    }

    #[test]
    fn the_older_manages_then_the_smaller_uid_and_the_refused_last() {
        let old = claim("b", 10, Refusal::None);
        let new = claim("a", 20, Refusal::None);
        assert_eq!(manager(&[new.clone(), old.clone()]), Some(&old));
        let twin = claim("a", 10, Refusal::None);
        assert_eq!(manager(&[old.clone(), twin.clone()]), Some(&twin));
        let refused = claim("a", 5, Refusal::Known);
        assert_eq!(manager(&[refused.clone(), new.clone()]), Some(&new));
        assert_eq!(manager(std::slice::from_ref(&refused)), Some(&refused));
        assert_eq!(manager(&[]), None);
    }

    #[test]
    fn what_may_be_a_refusal_ranks_between_none_and_a_known_one() {
        let known = claim("a", 5, Refusal::Known);
        let possible = claim("b", 10, Refusal::Possible);
        let none = claim("c", 20, Refusal::None);
        assert_eq!(manager(&[known.clone(), possible.clone()]), Some(&possible));
        assert_eq!(manager(&[known, possible, none.clone()]), Some(&none));
    }

    #[test]
    fn a_stored_conflict_may_hide_a_refusal() {
        for (reason, refusal) in [
            (Reason::PermissionDenied, Refusal::Known),
            (Reason::InstanceNotFound, Refusal::Known),
            (Reason::Conflict, Refusal::Possible),
            (Reason::InSync, Refusal::None),
            (Reason::CloudUnavailable, Refusal::None),
            (Reason::Suspended, Refusal::None),
            (Reason::AccountNotFound, Refusal::None),
        ] {
            assert_eq!(Refusal::of_reason(reason.as_str()), refusal, "{reason:?}");
        }
    }
}
