//! `CloudAccount` and `ClusterCloudAccount`: provider, credentials, endpoint and request budget of one cloud account.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Provider, credentials, endpoint and request budget of a cloud account.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "crossregionbackup.io",
    version = "v1alpha1",
    kind = "CloudAccount",
    doc = "How to reach one cloud account: provider, credentials, endpoint, request budget. It serves the resources of its own namespace.",
    namespaced,
    status = "CloudAccountStatus",
    shortname = "cacct",
    category = "crossregionbackup",
    derive = "PartialEq",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters"),
    validation = Rule::new("!has(self.spec.credentials.workloadIdentity)").message("workloadIdentity is the operator's own identity: allowed in a ClusterCloudAccount only").field_path(".spec.credentials.workloadIdentity").reason(Reason::FieldValueForbidden)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.tencent) || self.provider == 'Tencent'").message("tencent is allowed with provider Tencent only").field_path(".tencent").reason(Reason::FieldValueForbidden))]
#[x_kube(validation = Rule::new("!has(self.endpoint) || self.endpoint.startsWith('https://') || self.endpoint.startsWith('http://')").message("endpoint must start with https://, or with http:// where the operator's --allowed-endpoint names it so").field_path(".endpoint"))]
#[x_kube(validation = Rule::new("!has(self.stsEndpoint) || self.stsEndpoint.startsWith('https://') || self.stsEndpoint.startsWith('http://')").message("stsEndpoint must start with https://, or with http:// where the operator's --allowed-endpoint names it so").field_path(".stsEndpoint"))]
#[x_kube(validation = Rule::new("self.provider != 'BytePlus' || (!has(self.assumeRole) && !has(self.credentials.workloadIdentity))").message("provider BytePlus has neither assumeRole nor workloadIdentity: nothing about its STS could be verified").field_path(".provider"))]
#[x_kube(validation = Rule::new("!has(self.assumeRole) || self.assumeRole.role.startsWith(self.provider == 'Tencent' ? 'qcs:' : 'trn:')").message("assumeRole.role must be one of the provider: trn:iam::ACCOUNT:role/NAME for Volcengine, qcs::cam::uin/ACCOUNT:roleName/NAME for Tencent").field_path(".assumeRole.role"))]
#[x_kube(validation = Rule::new("!has(self.credentials.workloadIdentity) || self.credentials.workloadIdentity.role.startsWith(self.provider == 'Tencent' ? 'qcs:' : 'trn:')").message("workloadIdentity.role must be one of the provider: trn:iam::ACCOUNT:role/NAME for Volcengine, qcs::cam::uin/ACCOUNT:roleName/NAME for Tencent").field_path(".credentials.workloadIdentity.role"))]
#[x_kube(validation = Rule::new("!has(self.credentials.workloadIdentity) || has(self.credentials.workloadIdentity.providerId) == (self.provider == 'Tencent')").message("workloadIdentity.providerId is required with provider Tencent, and allowed there only").field_path(".credentials.workloadIdentity.providerId"))]
pub struct CloudAccountSpec {
    /// Cloud provider: Volcengine, BytePlus or Tencent. Immutable.
    #[x_kube(validation = Rule::new("self == oldSelf").message("provider is immutable").reason(Reason::FieldValueForbidden))]
    pub provider: Provider,
    /// Home region, in which the credentials are verified. Policies and inventories name their own region. Default:
    /// cn-beijing for Volcengine, ap-southeast-1 for BytePlus, ap-guangzhou for Tencent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 40), regex(pattern = r"^[a-z]{2,}(-[a-z0-9]+)+$"))]
    pub region: Option<String>,
    /// Source of the credentials. Exactly one member must be set.
    pub credentials: CredentialsSource,
    /// Role of the account that the operator assumes with these credentials. Requests are signed with the temporary
    /// credentials that the cloud's STS issues for it. Volcengine and Tencent only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assume_role: Option<AssumeRole>,
    /// Overrides the provider's endpoint: scheme and host, optionally with a port. `{region}` is replaced by the
    /// region of the resource; without it, one host serves all regions. Hosts outside the provider's own domains must
    /// be allowed by the operator's flag --allowed-endpoint. Default: https://redis.{region}.volcengineapi.com for
    /// Volcengine, https://redis.{region}.byteplusapi.com for BytePlus; for Tencent, the host depends on
    /// tencent.site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 253), regex(pattern = r"^https?://[a-z0-9.{}-]+(:[0-9]{1,5})?$"))]
    pub endpoint: Option<String>,
    /// Overrides the STS endpoint of assumeRole and workloadIdentity: scheme and host, optionally with a port. The
    /// rules are those of endpoint; with workloadIdentity, the host must be a documented STS host of the provider, or
    /// one that --allowed-endpoint names exactly. Default: https://sts.volcengineapi.com for Volcengine; for Tencent
    /// https://sts.tencentcloudapi.com, or https://sts.intl.tencentcloudapi.com if tencent.site is International.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 8, max = 253), regex(pattern = r"^https?://[a-z0-9.{}-]+(:[0-9]{1,5})?$"))]
    pub sts_endpoint: Option<String>,
    /// Share of the cloud's rate limit for this account, across all resources that use it. If it is too small, these
    /// resources are polled less often than their interval asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_budget: Option<RequestBudget>,
    /// Timeout of one request to the cloud: 1s to 60s, default 10s.
    #[serde(default = "default_request_timeout")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('60s')").message("requestTimeout must be 1s to 60s"))]
    pub request_timeout: String,
    /// If true, this account and all resources that use it report Suspended, and no requests are sent for them.
    /// Default false.
    #[serde(default)]
    pub suspend: bool,
    /// Settings for Tencent Cloud only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tencent: Option<TencentSettings>,
}

fn default_request_timeout() -> String {
    "10s".to_owned()
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
pub enum Provider {
    Volcengine,
    BytePlus,
    Tencent,
}

/// Settings for Tencent Cloud only.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TencentSettings {
    /// Site of the API endpoint. China: redis.tencentcloudapi.com. International: redis.intl.tencentcloudapi.com.
    /// Regions that end in -fsi use redis.<region>.tencentcloudapi.com on both sites. Default China.
    #[serde(default)]
    pub site: TencentSite,
    /// UTC offset of the times that the cloud reports without a time zone: -12:00 to +14:00. Tencent Cloud documents
    /// no time zone for Redis; Beijing time is assumed. Default +08:00.
    #[serde(default = "default_time_zone")]
    #[schemars(length(min = 6, max = 6), regex(pattern = r"^[+-](0[0-9]|1[0-4]):[0-5][0-9]$"))]
    #[x_kube(validation = Rule::new("!(self.matches('^[+]14:') && self != '+14:00') && !(self.matches('^-1[2-4]:') && self != '-12:00')").message("timeZone must be -12:00 to +14:00"))]
    pub time_zone: String,
}

impl Default for TencentSettings {
    fn default() -> Self {
        Self { site: TencentSite::default(), time_zone: default_time_zone() }
    }
}

fn default_time_zone() -> String {
    "+08:00".to_owned()
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum TencentSite {
    #[default]
    China,
    International,
}

impl Provider {
    /// Returns the region in which an account without `region` is verified.
    pub fn default_region(self) -> &'static str {
        match self {
            Provider::Volcengine => "cn-beijing",
            Provider::BytePlus => "ap-southeast-1",
            Provider::Tencent => "ap-guangzhou",
        }
    }

    /// Returns the requests per second of an account without `requestBudget.requestsPerSecond`.
    pub fn default_requests_per_second(self) -> i32 {
        match self {
            Provider::Volcengine | Provider::BytePlus => 10,
            Provider::Tencent => 20,
        }
    }
}

/// Source of the credentials. Exactly one member must be set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) != has(self.workloadIdentity)").message("credentials must have exactly one of secretRef and workloadIdentity"))]
pub struct CredentialsSource {
    /// Secret with the access key. A CloudAccount reads it from its own namespace, a ClusterCloudAccount from the
    /// operator's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
    /// Identity of the operator in the cluster, which the cloud trusts for a role: no key is stored anywhere.
    /// ClusterCloudAccount only; Volcengine (VKE) and Tencent (TKE) only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_identity: Option<WorkloadIdentity>,
}

/// A role that trusts the identity of the operator's ServiceAccount.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadIdentity {
    /// Role to assume: trn:iam::ACCOUNT:role/NAME for Volcengine, qcs::cam::uin/ACCOUNT:roleName/NAME for Tencent.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(trn:iam::[0-9]+:role/.+|qcs::cam::uin/[0-9]+:role(Name)?/.+)$")
    )]
    pub role: String,
    /// Identity provider of the cluster, such as cls-abcdefgh. Required for Tencent, and allowed there only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub provider_id: Option<String>,
}

/// Role to assume, and the parameters of its session.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AssumeRole {
    /// Role to assume: trn:iam::ACCOUNT:role/NAME for Volcengine, qcs::cam::uin/ACCOUNT:roleName/NAME for Tencent.
    #[schemars(
        length(max = 256),
        regex(pattern = r"^(trn:iam::[0-9]+:role/.+|qcs::cam::uin/[0-9]+:role(Name)?/.+)$")
    )]
    pub role: String,
    /// Session name, which identifies the operator in the cloud's audit log. Default cross-region-backup-operator.
    #[serde(default = "default_session_name")]
    #[schemars(length(min = 2, max = 64), regex(pattern = r"^[A-Za-z0-9._@=,+-]{2,64}$"))]
    pub session_name: String,
    /// External ID that the role's trust policy requires besides the identity: at most 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub external_id: Option<String>,
    /// Validity of the temporary credentials: 15m to 12h, default 1h; at most the maximum that the role allows. The
    /// operator renews them before they expire.
    #[serde(default = "default_role_duration")]
    #[schemars(length(min = 2, max = 21), regex(pattern = r"^([0-9]{1,6}(h|m|s)){1,3}$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('15m') && duration(self) <= duration('12h')").message("assumeRole.duration must be 15m to 12h"))]
    pub duration: String,
}

pub fn default_session_name() -> String {
    "cross-region-backup-operator".to_owned()
}

fn default_role_duration() -> String {
    "1h".to_owned()
}

/// Reference to a Secret and its keys.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret. It is in the namespace of a CloudAccount, or in the operator's namespace for a
    /// ClusterCloudAccount.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
    )]
    pub name: String,
    /// Key in the Secret that holds the access key id. Default accessKeyId.
    #[serde(default = "default_access_key_id_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]{1,253}$"))]
    pub access_key_id_key: String,
    /// Key in the Secret that holds the secret access key. Default secretAccessKey.
    #[serde(default = "default_secret_access_key_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]{1,253}$"))]
    pub secret_access_key_key: String,
    /// Key in the Secret that holds the session token of temporary credentials; used if the Secret contains it.
    /// Default sessionToken.
    #[serde(default = "default_session_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]{1,253}$"))]
    pub session_token_key: String,
}

fn default_access_key_id_key() -> String {
    "accessKeyId".to_owned()
}

fn default_secret_access_key_key() -> String {
    "secretAccessKey".to_owned()
}

fn default_session_token_key() -> String {
    "sessionToken".to_owned()
}

/// Requests per second and burst.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestBudget {
    /// Requests per second, averaged: 1 to 10000, default 10, for Tencent 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub requests_per_second: Option<i32>,
    /// Maximum number of requests sent at once: 1 to 10000. Default: a quarter of requestsPerSecond, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub burst: Option<i32>,
}

/// Provider, credentials, endpoint and request budget of a cloud account, and the namespaces that may use it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "crossregionbackup.io",
    version = "v1alpha1",
    kind = "ClusterCloudAccount",
    doc = "How to reach one cloud account, shared with the namespaces that it allows. Its Secrets are in the operator's namespace.",
    status = "CloudAccountStatus",
    shortname = "ccacct",
    category = "crossregionbackup",
    derive = "PartialEq",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#
    ),
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must be at most 63 characters")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCloudAccountSpec {
    #[serde(flatten)]
    pub account: CloudAccountSpec,
    /// Namespaces whose resources may use this account. The permissions of its credentials limit what they can do
    /// with it.
    pub allowed_namespaces: AllowedNamespaces,
    /// Operations that resources of those namespaces may perform with this account.
    #[serde(default)]
    pub permissions: Permissions,
}

/// All namespaces, or those whose labels a selector matches.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.selector) == (self.from == 'Selector')").message("selector is required with from: Selector, and allowed there only").field_path(".selector"))]
pub struct AllowedNamespaces {
    /// All: every namespace. Selector: namespaces that the selector matches.
    pub from: AllowedFrom,
    /// Label selector for namespaces. An empty selector matches all namespaces, an invalid one none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum AllowedFrom {
    All,
    Selector,
}

/// Operations that resources may perform with a shared account.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// If true, policies may modify the cloud. If false, only policies with managementPolicy: Observe work. Default
    /// true.
    #[serde(default = "default_manage")]
    pub manage: bool,
    /// If true, inventories of scope Account are allowed, which list every instance of the account in a region.
    /// Default false.
    #[serde(default)]
    pub account_inventory: bool,
}

impl Default for Permissions {
    fn default() -> Self {
        Self { manage: default_manage(), account_inventory: false }
    }
}

fn default_manage() -> bool {
    true
}

/// Common interface of `CloudAccount` and `ClusterCloudAccount`.
pub trait AnyAccount: kube::Resource<DynamicType = ()> {
    fn settings(&self) -> &CloudAccountSpec;
    fn status(&self) -> Option<&CloudAccountStatus>;
    /// Returns the namespaces that may use the account, and their permissions; `None` for an account that serves only
    /// its own namespace.
    fn sharing(&self) -> Option<(&AllowedNamespaces, Permissions)>;
}

impl AnyAccount for CloudAccount {
    fn settings(&self) -> &CloudAccountSpec {
        &self.spec
    }

    fn status(&self) -> Option<&CloudAccountStatus> {
        self.status.as_ref()
    }

    fn sharing(&self) -> Option<(&AllowedNamespaces, Permissions)> {
        None
    }
}

impl AnyAccount for ClusterCloudAccount {
    fn settings(&self) -> &CloudAccountSpec {
        &self.spec.account
    }

    fn status(&self) -> Option<&CloudAccountStatus> {
        self.status.as_ref()
    }

    fn sharing(&self) -> Option<(&AllowedNamespaces, Permissions)> {
        Some((&self.spec.allowed_namespaces, self.spec.permissions))
    }
}

/// Observed state of the account.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct CloudAccountStatus {
    /// Generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Value of the annotation crossregionbackup.io/reconcile-requested-at that the operator last acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// First and last characters of the access key id in use; absent if the value does not look like an access key
    /// id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id_hint: Option<String>,
    /// Ready, and either Reconciling or Stalled while Ready waits for something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
