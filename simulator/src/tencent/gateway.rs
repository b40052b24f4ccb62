//! Tencent's gateway: parsing of requests, and the order of the refusals.

use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::actions::{self, Call, SERVICE, VERSION};
use super::auth::{self, Claim};
use super::error;
use super::signing::ALGORITHM;
use super::sts;
use crate::error::ApiError;
use crate::faults::ThrottleStyle;
use crate::keys::Keys;
use crate::limits::Bucket;
use crate::model::{KeySpec, RateLimit};
use crate::request::Signed;
use crate::request_log::RequestRecord;
use crate::request_pipeline::{Admitted, Gateway};
use crate::simulator::CloudState;

/// Authorization of the unsigned calls.
const SKIP: &str = "SKIP";

/// Returns whether a request is meant for Tencent Cloud.
pub(crate) fn is_meant(headers: &HeaderMap) -> bool {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    headers.contains_key("x-tc-action")
        || authorization.starts_with(ALGORITHM.as_bytes())
        || authorization == SKIP.as_bytes()
}

/// An action of one of the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Redis(actions::Action),
    Sts(sts::Action),
}

impl Action {
    fn named(name: &str) -> Option<Self> {
        let redis = || actions::Action::named(name).map(Self::Redis);
        sts::Action::named(name).map(Self::Sts).or_else(redis)
    }

    /// Returns version and name of its service.
    fn service(self) -> (&'static str, &'static str) {
        match self {
            Self::Redis(_) => (VERSION, SERVICE),
            Self::Sts(_) => (sts::VERSION, sts::SERVICE),
        }
    }
}

/// A request as Tencent Cloud parses it.
pub(crate) struct Tencent {
    action: String,
    version: String,
    region: String,
    timestamp: String,
    instance_id: Option<String>,
    role: Option<String>,
    asked: Option<Action>,
}

impl Tencent {
    /// Returns version and name of the requested service; Redis if the action belongs to no service.
    fn service(&self) -> (&'static str, &'static str) {
        self.asked.map_or((VERSION, SERVICE), Action::service)
    }
}

impl Gateway for Tencent {
    type Action = Action;

    /// Limit of signature v3.
    const BODY_LIMIT: usize = 10 << 20;
    /// Exactly this: the Python SDK takes an error for a success when a charset follows.
    const CONTENT_TYPE: &'static str = "application/json";
    const RESULT: &'static str = "Response";

    fn read(request: Signed<'_>, record: &mut RequestRecord) -> Self {
        let header = |name: &str| request.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        record.action = header("x-tc-action");
        record.version = header("x-tc-version");
        record.region = header("x-tc-region");
        record.x_date = header("x-tc-timestamp");
        record.security_token = header("x-tc-token");
        record.instance_id = record.body["InstanceId"].as_str().map(str::to_owned);
        if let Some(claim) = request.header("authorization").and_then(Claim::parse) {
            record.access_key_id = Some(claim.secret_id);
            record.signature = Some(claim.signature);
            record.signed_headers = Some(claim.signed_headers.join(";"));
        }
        Self {
            action: record.action.clone().unwrap_or_default(),
            version: record.version.clone().unwrap_or_default(),
            region: record.region.clone().unwrap_or_default(),
            timestamp: record.x_date.clone().unwrap_or_default(),
            instance_id: record.instance_id.clone(),
            role: record.body["RoleArn"].as_str().map(str::to_owned),
            asked: record.action.as_deref().and_then(Action::named),
        }
    }

    fn screen(&self, request: Signed<'_>) -> Result<(), ApiError> {
        // The SDKs' GET form is not supported: no client that can send JSON needs it.
        if request.method != Method::POST {
            return Err(error::unsupported_protocol(request.method));
        }
        for (value, parameter) in [
            (&self.action, "Action"),
            (&self.version, "Version"),
            (&self.region, "Region"),
            (&self.timestamp, "Timestamp"),
        ] {
            if value.is_empty() {
                return Err(error::missing_parameter(parameter));
            }
        }
        Ok(())
    }

    fn unsigned_role(&self, request: Signed<'_>) -> Option<&str> {
        let unsigned = self.asked == Some(Action::Sts(sts::Action::AssumeRoleWithWebIdentity))
            && request.header("authorization") == Some(SKIP);
        unsigned.then(|| self.role.as_deref().unwrap_or_default())
    }

    fn authenticate<'k>(
        &self,
        request: Signed<'_>,
        keys: &'k Keys,
        server_now: Timestamp,
    ) -> Result<&'k KeySpec, ApiError> {
        auth::authenticate(request, self.service().1, |id| keys.get(id), server_now)
    }

    fn permit(&self, request: Signed<'_>, key: Option<&KeySpec>) -> Result<Action, ApiError> {
        let (version, service) = self.service();
        if self.version != version {
            return Err(error::no_such_version());
        }
        let action = self.asked.ok_or_else(error::invalid_action)?;
        if !is_served(request.header("host").unwrap_or_default(), service, &self.region) {
            return Err(error::unsupported_region(&self.region));
        }
        if let Some(key) = key
            && key.denies(&self.action)
        {
            if let Action::Sts(_) = action {
                return Err(error::sts_unauthorized(&self.action, self.role.as_deref().unwrap_or("*")));
            }
            let instance = self.instance_id.as_deref().unwrap_or("*");
            let resource = format!("qcs::redis:{}:uin/{}:instance/{instance}", self.region, key.account_id);
            return Err(error::no_cam_authed(&self.action, &resource));
        }
        let content_type = request.header("content-type").unwrap_or_default();
        if content_type.split(';').next() != Some("application/json") {
            return Err(error::invalid_request(content_type));
        }
        Ok(action)
    }

    fn limit(&self, account: u64, state: &mut CloudState, now: Timestamp) -> Result<(), ApiError> {
        // Limits of STS are not known.
        let documented = match self.asked {
            Some(Action::Redis(action)) => action.documented_limit(),
            _ => u32::MAX,
        };
        let Some(limit) = state.settings.tencent.limits.of(&self.action, documented) else { return Ok(()) };
        let dimension = (account, self.region.clone(), self.action.clone());
        let bucket = state.tencent_buckets.entry(dimension).or_insert_with(|| {
            let per_second = f64::from(limit);
            let style = ThrottleStyle::RequestLimit;
            Bucket::new(RateLimit { per_second, burst: None, style, retry_after: None }, now)
        });
        if bucket.pass(now) { Ok(()) } else { Err(error::over_limit(limit)) }
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
                let result = sts::run(action, call.key.as_ref(), call.body, state, now)?;
                return Ok(state.settings.with_quirk(result));
            }
        };
        let call_on = Call {
            world: &state.tencent,
            settings: &state.settings,
            account: call.account,
            region: &self.region,
        };
        call_on.run(action, call.body)
    }

    fn wrap(&self, outcome: Result<Value, ApiError>, _date: Timestamp) -> (StatusCode, Value) {
        let (status, mut response) = match outcome {
            Ok(result) => (StatusCode::OK, result),
            Err(error) => {
                (error.status, json!({ "Error": { "Code": error.code, "Message": error.message } }))
            }
        };
        response["RequestId"] = json!(Uuid::new_v4().to_string());
        let mut frame = json!({});
        frame[Self::RESULT] = response;
        (status, frame)
    }

    fn throttled(style: ThrottleStyle) -> ApiError {
        error::throttled(style)
    }

    fn account_throttled(style: ThrottleStyle) -> ApiError {
        error::account_throttled(style)
    }

    fn too_large() -> ApiError {
        error::request_size_limit_exceeded()
    }

    fn wrong_types() -> Value {
        json!({
            "TotalCount": "many", "BackupSet": {}, "InstanceSet": "none", "BackupId": 5, "StartTime": 1,
            "EndTime": [], "BackupType": 1, "Status": "two", "Remark": {}, "Locked": "no", "BackupSize": "537",
            "InstanceType": [], "MemSize": "2048", "ShardNum": {}, "ReplicasNum": true,
            "Credentials": { "Token": 5, "TmpSecretId": [], "TmpSecretKey": {} },
            "ExpiredTime": "soon", "Expiration": 1,
        })
    }
}

/// Returns whether a host serves a region. Financial regions are separate: of Tencent's own hosts, only the one that
/// names such a region serves it.
fn is_served(host: &str, service: &str, region: &str) -> bool {
    let host = host.split(':').next().unwrap_or_default().to_lowercase();
    !region.ends_with("-fsi")
        || !host.ends_with("tencentcloudapi.com")
        || host.starts_with(&format!("{service}.{region}."))
}
