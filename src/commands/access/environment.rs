//! Credentials from environment variables, under the names that the clouds' own tools read.

use std::env;

use crate::api::account::Provider;

/// Variable names of one key pair.
pub struct Variables {
    pub id: &'static str,
    pub secret: &'static str,
    /// Alternative names of the session token.
    pub tokens: &'static [&'static str],
}

const VOLCENGINE: &[Variables] = &[
    // volcengine-go-sdk and volcengine-python-sdk 1.2, Terraform.
    Variables {
        id: "VOLCENGINE_ACCESS_KEY",
        secret: "VOLCENGINE_SECRET_KEY",
        tokens: &["VOLCENGINE_SESSION_TOKEN"],
    },
    // volcengine-go-sdk 1.1.
    Variables {
        id: "VOLCSTACK_ACCESS_KEY_ID",
        secret: "VOLCSTACK_SECRET_ACCESS_KEY",
        tokens: &["VOLCSTACK_SESSION_TOKEN"],
    },
    // volc-sdk-golang, Node.
    Variables { id: "VOLC_ACCESSKEY", secret: "VOLC_SECRETKEY", tokens: &[] },
];
/// Terraform and Pulumi.
const BYTEPLUS: &[Variables] = &[Variables {
    id: "BYTEPLUS_ACCESS_KEY",
    secret: "BYTEPLUS_SECRET_KEY",
    tokens: &["BYTEPLUS_SESSION_TOKEN"],
}];
/// All SDKs; tccli, Terraform and Node use other names for the token.
const TENCENT: &[Variables] = &[Variables {
    id: "TENCENTCLOUD_SECRET_ID",
    secret: "TENCENTCLOUD_SECRET_KEY",
    tokens: &["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SECURITY_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"],
}];
const PROVIDERS: [Provider; 3] = [Provider::Volcengine, Provider::BytePlus, Provider::Tencent];

fn variables(provider: Provider) -> &'static [Variables] {
    match provider {
        Provider::Volcengine => VOLCENGINE,
        Provider::BytePlus => BYTEPLUS,
        Provider::Tencent => TENCENT,
    }
}

/// Returns the usual variable names of a provider, for messages.
pub fn usual(provider: Provider) -> String {
    let first = &variables(provider)[0];
    format!("{} and {}", first.id, first.secret)
}

/// Returns the provider's first key pair of which the id or the secret is set.
pub fn of(provider: Provider) -> Option<&'static Variables> {
    variables(provider).iter().find(|v| is_set(v.id) || is_set(v.secret))
}

/// Returns the only provider that has credentials in the environment.
///
/// # Errors
/// No provider or several providers have credentials; the message says what to do.
pub fn only_provider() -> Result<Provider, String> {
    let mut found = PROVIDERS.into_iter().filter(|provider| of(*provider).is_some());
    match (found.next(), found.next()) {
        (Some(provider), None) => Ok(provider),
        (None, _) => Err(format!("set {}, or those of another cloud", usual(Provider::Volcengine))),
        (Some(one), Some(other)) => {
            Err(format!("credentials of {one:?} and of {other:?} are set: --provider says which to use"))
        }
    }
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}
