//! ClientTokens: a repeated Modify gets the first response, without a further effect.

use std::collections::BTreeMap;

use super::error;
use crate::error::ApiError;

/// A token's initial use, and its outcome.
#[derive(Clone, Debug)]
struct FirstUse {
    asked: ModifyParams,
    outcome: Result<(), ApiError>,
}

/// Parameters that must be the same when a token is used again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModifyParams {
    pub region: String,
    pub instance_id: String,
    pub active: bool,
    pub target: Option<String>,
}

/// Outcomes by account and token; tokens are case-sensitive. They are kept forever, as their lifetime is not
/// documented.
#[derive(Debug, Default)]
pub(crate) struct ClientTokens(BTreeMap<(u64, String), FirstUse>);

impl ClientTokens {
    /// Returns the first outcome of this token, an error if another request used it, `None` if it is new.
    pub fn find(&self, account: u64, token: &str, asked: &ModifyParams) -> Option<Result<(), ApiError>> {
        let first = self.0.get(&(account, token.to_owned()))?;
        if first.asked == *asked {
            return Some(first.outcome.clone());
        }
        Some(Err(error::param("ClientToken was used before with other parameters.")))
    }

    pub fn remember(
        &mut self,
        account: u64,
        token: &str,
        asked: ModifyParams,
        outcome: Result<(), ApiError>,
    ) {
        self.0.insert((account, token.to_owned()), FirstUse { asked, outcome });
    }
}
