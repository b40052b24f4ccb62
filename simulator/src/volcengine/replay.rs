//! ClientTokens: a Modify that comes again with its token is answered as the first time, without a further effect.

use std::collections::BTreeMap;

use super::error;
use crate::error::ApiError;

/// What a token was first used for, and how that ended.
#[derive(Clone, Debug)]
struct First {
    asked: Asked,
    outcome: Result<(), ApiError>,
}

/// The parameters that must be the same when a token is used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub region: String,
    pub instance_id: String,
    pub active: bool,
    pub target: Option<String>,
}

/// Outcomes by account and token; tokens are case-sensitive. They are kept for good, as their lifetime is not
/// documented.
#[derive(Debug, Default)]
pub(crate) struct Replays(BTreeMap<(u64, String), First>);

impl Replays {
    /// The first outcome of this token, an error if it was another request's, `None` if it is new.
    pub fn find(&self, account: u64, token: &str, asked: &Asked) -> Option<Result<(), ApiError>> {
        let first = self.0.get(&(account, token.to_owned()))?;
        if first.asked == *asked {
            return Some(first.outcome.clone());
        }
        Some(Err(error::param("ClientToken was used before with other parameters.")))
    }

    pub fn remember(&mut self, account: u64, token: &str, asked: Asked, outcome: Result<(), ApiError>) {
        self.0.insert((account, token.to_owned()), First { asked, outcome });
    }
}
