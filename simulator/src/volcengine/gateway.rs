//! Volcengine's gateway: where a request says what it wants, and the order of the refusals.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::actions::{Action, Call, VERSION};
use super::auth::{self, Claim};
use super::envelope::Metadata;
use super::error;
use super::params::Params;
use crate::error::ApiError;
use crate::faults::ThrottleStyle;
use crate::keys::Keys;
use crate::ledger::RequestRecord;
use crate::model::KeySpec;
use crate::request::Signed;
use crate::simulator::CloudState;
use crate::visit::{Admitted, Gateway};

/// A request as Volcengine reads it.
pub(crate) struct Volcengine {
    metadata: Metadata,
    service: String,
    instance_id: Option<String>,
}

impl Gateway for Volcengine {
    type Action = Action;

    /// No request of this API comes near it.
    const BODY_LIMIT: usize = 1 << 20;
    const CONTENT_TYPE: &'static str = "application/json; charset=utf-8";
    const RESULT: &'static str = "Result";

    fn read(request: Signed<'_>, record: &mut RequestRecord) -> Self {
        let header = |name: &str| request.header(name).map(str::to_owned);
        let field = |name: &str| record.body[name].as_str().map(str::to_owned);
        let (instance_id, client_token) = (field("InstanceId"), field("ClientToken"));
        let mut service = String::new();
        if let Some(claim) = request.header("authorization").and_then(|text| Claim::parse(text).ok()) {
            service = claim.scope.service;
            record.region = Some(claim.scope.region);
            record.access_key_id = Some(claim.access_key_id);
            record.signature = Some(claim.signature);
            record.signed_headers = Some(claim.signed_headers.join(";"));
        }
        record.action = auth::query_value(request, "Action");
        record.version = auth::query_value(request, "Version");
        record.x_date = header("x-date");
        record.security_token = header("x-security-token");
        record.instance_id = instance_id.clone();
        record.client_token = client_token;
        let metadata = Metadata {
            action: record.action.clone().unwrap_or_default(),
            version: record.version.clone().unwrap_or_default(),
            region: record.region.clone().unwrap_or_default(),
        };
        Self { metadata, service, instance_id }
    }

    fn screen(&self, request: Signed<'_>) -> Result<(), ApiError> {
        if request.method != Method::POST {
            return Err(error::method_not_allowed(request.method));
        }
        for (value, parameter) in [(&self.metadata.action, "Action"), (&self.metadata.version, "Version")] {
            if value.is_empty() {
                return Err(error::missing_parameter(parameter));
            }
        }
        Ok(())
    }

    fn authenticate<'k>(
        &self,
        request: Signed<'_>,
        keys: &'k Keys,
        server_now: Timestamp,
    ) -> Result<&'k KeySpec, ApiError> {
        auth::authenticate(request, |id| keys.get(id), server_now)
    }

    fn permit(&self, request: Signed<'_>, key: &KeySpec) -> Result<Action, ApiError> {
        let Metadata { action: name, version, region } = &self.metadata;
        if !self.service.eq_ignore_ascii_case("redis") {
            return Err(error::service_not_found(&self.service));
        }
        let action = Action::named(name)
            .filter(|_| version == VERSION)
            .ok_or_else(|| error::invalid_action_or_version(name, version))?;
        if key.denies(name) {
            let account = key.account_id;
            let who =
                format!("[trn:iam::{account}:user/{}] with accesskey [{}]", key.user, key.access_key_id);
            let instance = self.instance_id.as_deref().unwrap_or("*");
            let resource = format!("trn:redis:{region}:{account}:instance/{instance}");
            return Err(error::access_denied(&who, name, &resource));
        }
        let json = request.header("content-type").is_some_and(|text| text.starts_with("application/json"));
        if !json {
            return Err(error::param("Content-Type must be application/json."));
        }
        Ok(action)
    }

    fn act(
        &self,
        call: Admitted<'_, Action>,
        state: &mut CloudState,
        now: Timestamp,
    ) -> Result<Value, ApiError> {
        let params = Params::parse(call.body)?;
        Call {
            world: &mut state.world,
            replays: &mut state.replays,
            ledger: &mut state.ledger,
            account: call.account,
            region: &self.metadata.region,
            params: &params,
            now,
            quirks: state.settings.quirks,
        }
        .run(call.action)
    }

    fn wrap(&self, outcome: Result<Value, ApiError>, date: Timestamp) -> (StatusCode, Value) {
        self.metadata.wrap(outcome, date)
    }

    fn throttled(style: ThrottleStyle) -> ApiError {
        error::throttled(style)
    }

    fn too_large() -> ApiError {
        error::param("The request body is too large.")
    }

    fn wrong_types() -> Value {
        json!({
            "InstanceId": 5, "Active": "yes", "CrossBackupRegion": ["cn-shanghai"], "TTL": "seven",
            "Total": "many", "Backups": {}, "TargetRegionIds": "cn-shanghai",
            "TotalInstancesNum": {}, "Instances": "none",
        })
    }
}
