//! Volcengine's gateway: parsing of requests, and the order of the refusals.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::actions::{self, Call, VERSION};
use super::auth::{self, Claim};
use super::envelope::Metadata;
use super::error;
use super::params::Params;
use super::sts;
use crate::error::ApiError;
use crate::faults::ThrottleStyle;
use crate::keys::Keys;
use crate::model::KeySpec;
use crate::request::Signed;
use crate::request_log::RequestRecord;
use crate::request_pipeline::{Admitted, Gateway};
use crate::simulator::CloudState;

/// An action of one of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Redis(actions::Action),
    Sts(sts::Action),
}

/// A request as Volcengine parses it.
pub(crate) struct Volcengine {
    metadata: Metadata,
    service: String,
    instance_id: Option<String>,
    sts_action: Option<sts::Action>,
    sts_params: sts::Params,
}

impl Gateway for Volcengine {
    type Action = Action;

    /// Far above the size of any request of this API.
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
        let action = record.action.clone().unwrap_or_default();
        let version = record.version.clone().unwrap_or_default();
        let sts_action = sts::Action::named(&action, &version);
        let sts_params = sts_action.map_or_else(Default::default, |_| sts::Params::read(request));
        let metadata = Metadata {
            action,
            version,
            region: record.region.clone().unwrap_or_default(),
            service: if sts_action.is_some() { sts::SERVICE } else { "Redis" },
        };
        Self { metadata, service, instance_id, sts_action, sts_params }
    }

    fn screen(&self, request: Signed<'_>) -> Result<(), ApiError> {
        // The SDKs assume a role by GET and do everything else by POST.
        let allowed = match self.sts_action {
            Some(sts::Action::AssumeRole) => request.method == Method::GET || request.method == Method::POST,
            _ => request.method == Method::POST,
        };
        if !allowed {
            return Err(error::method_not_allowed(request.method));
        }
        for (value, parameter) in [(&self.metadata.action, "Action"), (&self.metadata.version, "Version")] {
            if value.is_empty() {
                return Err(error::missing_parameter(parameter));
            }
        }
        Ok(())
    }

    fn unsigned_role(&self, request: Signed<'_>) -> Option<&str> {
        let unsigned = self.sts_action == Some(sts::Action::AssumeRoleWithOidc)
            && request.header("authorization").is_none();
        unsigned.then(|| self.sts_params.text("RoleTrn").unwrap_or_default())
    }

    fn authenticate<'k>(
        &self,
        request: Signed<'_>,
        keys: &'k Keys,
        server_now: Timestamp,
    ) -> Result<&'k KeySpec, ApiError> {
        auth::authenticate(request, |id| keys.get(id), server_now)
    }

    fn permit(&self, request: Signed<'_>, key: Option<&KeySpec>) -> Result<Action, ApiError> {
        let Metadata { action: name, version, region, .. } = &self.metadata;
        let not_found = || error::invalid_action_or_version(name, version);
        let Some(key) = key else { return self.sts_action.map(Action::Sts).ok_or_else(not_found) };
        let service = self.service.to_lowercase();
        let action = match service.as_str() {
            "redis" => actions::Action::named(name).filter(|_| version == VERSION).map(Action::Redis),
            sts::SERVICE => self.sts_action.map(Action::Sts),
            _ => return Err(error::service_not_found(&self.service)),
        };
        let action = action.ok_or_else(not_found)?;
        let whole = self.instance_id.is_none();
        if key.denies(name) || whole && key.denies(&format!("{name}/*")) {
            let account = key.account_id;
            let who =
                format!("[trn:iam::{account}:user/{}] with accesskey [{}]", key.user, key.access_key_id);
            let resource = match action {
                Action::Sts(_) => self.sts_params.text("RoleTrn").unwrap_or("*").to_owned(),
                Action::Redis(_) => {
                    let instance = self.instance_id.as_deref().unwrap_or("*");
                    format!("trn:redis:{region}:{account}:instance/{instance}")
                }
            };
            return Err(error::access_denied(&who, &format!("{service}:{name}"), &resource));
        }
        let json = request.header("content-type").is_some_and(|text| text.starts_with("application/json"));
        if matches!(action, Action::Redis(_)) && !json {
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
        let action = match call.action {
            Action::Redis(action) => action,
            Action::Sts(action) => {
                let result = sts::run(action, call.key.as_ref(), &self.sts_params, state, now)?;
                return Ok(state.settings.with_quirk(result));
            }
        };
        let params = Params::parse(call.body)?;
        Call {
            world: &mut state.world,
            replays: &mut state.replays,
            ledger: &mut state.ledger,
            account: call.account,
            region: &self.metadata.region,
            params: &params,
            now,
            settings: &state.settings,
        }
        .run(action)
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
            "Credentials": {
                "AccessKeyId": 5, "SecretAccessKey": [], "SessionToken": {}, "CurrentTime": 1,
                "ExpiredTime": 2, "Expiration": 3,
            },
            "AssumedRoleUser": "none",
        })
    }
}
