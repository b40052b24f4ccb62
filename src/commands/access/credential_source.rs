//! Source of an account and of its credentials: the files, else the cluster, else the environment. A file may not
//! redirect credentials that do not come from the files.

use std::env;
use std::sync::PoisonError;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1 as core;
use kube::Api;

use super::cluster::Cluster;
use super::manifests_source::SecretProblem;
use super::{Access, Declared, environment};
use crate::accounts::{AccountKey, provider_name};
use crate::api::account::{CloudAccountSpec, CredentialsSource, SecretRef};
use crate::api::{CloudAccount, ClusterCloudAccount};
use crate::cluster::secrets::{ReadError, read_secret};
use crate::commands::show;
use crate::domain::Reason;
use crate::telemetry::scrub::message_with_causes;

/// Name in messages of the Secret that holds the environment's credentials; no Secret in a cluster can have this name.
const ENVIRONMENT_SECRET: &str = "of the environment";
/// Fields that a file may not change if the credentials do not come from the files.
const RESTRICTED_FIELDS: [&str; 4] =
    ["spec.endpoint", "spec.stsEndpoint", "spec.assumeRole", "spec.credentials.workloadIdentity"];

impl Access {
    /// Returns the account to use, and the cluster's version of it.
    pub(super) async fn found(
        &self,
        key: &AccountKey,
    ) -> Result<(Declared, Option<Declared>), (Reason, String)> {
        let of_cluster = match &self.cluster {
            Some(cluster) => self.stored(cluster, key).await?,
            None => None,
        };
        let declared = match self.given.account(key).cloned().or_else(|| of_cluster.clone()) {
            Some(declared) => declared,
            None => self.environment_account()?,
        };
        Ok((declared, of_cluster))
    }

    /// Reads the account from the cluster.
    pub(super) async fn stored(
        &self,
        cluster: &Cluster,
        key: &AccountKey,
    ) -> Result<Option<Declared>, (Reason, String)> {
        let what = key.to_string().replace(' ', "/");
        let found = match &key.namespace {
            Some(namespace) => {
                let api = Api::<CloudAccount>::namespaced(cluster.client.clone(), namespace);
                cluster.get(api, &what).await.map(|found| found.as_ref().map(Declared::from))
            }
            None => {
                let api = Api::<ClusterCloudAccount>::all(cluster.client.clone());
                cluster.get(api, &what).await.map(|found| found.as_ref().map(Declared::from))
            }
        };
        found.map_err(|error| (Reason::AccountNotReady, format!("{error:#}")))
    }

    /// Returns an account for the environment's credentials, used if none is declared.
    fn environment_account(&self) -> Result<Declared, (Reason, String)> {
        if self.cluster.is_some() {
            return Err((
                Reason::AccountNotFound,
                "it is neither in the files nor in the cluster".to_owned(),
            ));
        }
        let provider = match self.provider {
            Some(provider) => provider,
            None => environment::only_provider().map_err(|what| {
                let text =
                    format!("it is not in the files, and the environment has no credentials for it: {what}");
                (Reason::AccountNotFound, format!("{text}; or use --from-cluster"))
            })?,
        };
        let spec = CloudAccountSpec {
            provider,
            region: None,
            credentials: CredentialsSource::default(),
            assume_role: None,
            endpoint: None,
            sts_endpoint: None,
            request_budget: None,
            request_timeout: "10s".to_owned(),
            suspend: false,
            tencent: None,
        };
        Ok(Declared { spec, sharing: None })
    }

    /// Adds the credentials to `held` (the files' Secret, else the cluster's, else the environment's), and returns the
    /// spec that refers to them.
    pub(super) async fn resolve_credentials(
        &self,
        key: &AccountKey,
        spec: CloudAccountSpec,
        of_cluster: Option<&Declared>,
    ) -> Result<CloudAccountSpec, (Reason, String)> {
        let namespace = key.namespace.as_deref().unwrap_or(&self.own_namespace);
        let reference = spec.credentials.secret_ref.clone();
        let mut lacks = "its Secret is not in the files: add it";
        if let Some(reference) = &reference {
            // Not `held`: another account with the same Secret may have loaded it from the cluster.
            match self.given.has_secret(namespace, reference) {
                Ok(true) => return Ok(spec),
                Ok(false) => {}
                Err(SecretProblem::Malformed(wrong)) => {
                    let text = format!("Secret {namespace}/{}: {wrong}", reference.name);
                    return Err((Reason::CredentialsMissing, text));
                }
                Err(SecretProblem::Placeholder(what)) => {
                    self.note(format!("Secret {namespace}/{} counts as not given: {what}", reference.name));
                    lacks = "its Secret in the files is encrypted or not filled in: decrypt it";
                }
            }
        }
        if self.given.account(key).is_some() {
            let own = of_cluster.map(|declared| &declared.spec);
            if let Some(field) = overridden_field(&spec, own) {
                let text = format!(
                    "{field} is set by a file, and the credentials are not the file's: they would go where the file says. \
                     Give the Secret in the files too{}",
                    match self.cluster.is_some() {
                        true => ", or apply the account first: it differs from the cluster's own",
                        false => ", or use --from-cluster, where the account equals the cluster's own",
                    }
                );
                return Err((Reason::EndpointNotAllowed, text));
            }
        }
        let Some(cluster) = &self.cluster else {
            return self.environment_credentials(namespace, spec, lacks);
        };
        if let Some(reference) = reference {
            let found = read_secret(&cluster.client, namespace, &reference.name).await;
            let text =
                |error: ReadError| format!("Secret {}: {}", reference.name, message_with_causes(&error));
            match found.map_err(|error| (Reason::CredentialsMissing, text(error)))? {
                Some(secret) => self.held.put(namespace, secret),
                None => {
                    let text =
                        format!("Secret {} is neither in the files nor in the cluster", reference.name);
                    return Err((Reason::CredentialsMissing, text));
                }
            }
        }
        Ok(spec)
    }

    /// Writes a note to standard error, once.
    fn note(&self, text: String) {
        if self.written_notes.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
            show::note(&format!("note: {text}"));
        }
    }

    /// Returns the spec with the environment's credentials, as a Secret whose keys are the variable names.
    fn environment_credentials(
        &self,
        namespace: &str,
        spec: CloudAccountSpec,
        lacks: &str,
    ) -> Result<CloudAccountSpec, (Reason, String)> {
        let missing = |text: String| (Reason::CredentialsMissing, text);
        let Some(variables) = environment::of(spec.provider) else {
            return Err(missing(format!(
                "{lacks}, set {}, or use --from-cluster",
                environment::usual(spec.provider)
            )));
        };
        let token = variables.tokens.iter().find(|name| env::var_os(name).is_some_and(|v| !v.is_empty()));
        let set = [variables.id, variables.secret].into_iter().chain(token.copied());
        let values = set.filter_map(|name| {
            let value = env::var_os(name)?.into_encoded_bytes();
            Some((name.to_owned(), ByteString(value)))
        });
        let name = format!("{ENVIRONMENT_SECRET} ({})", provider_name(spec.provider));
        let mut secret = core::Secret { data: Some(values.collect()), ..Default::default() };
        secret.metadata.name = Some(name.clone());
        self.held.put(namespace, secret.into());
        let reference = SecretRef {
            name,
            access_key_id_key: variables.id.to_owned(),
            secret_access_key_key: variables.secret.to_owned(),
            session_token_key: token.copied().unwrap_or_default().to_owned(),
        };
        let credentials = CredentialsSource { secret_ref: Some(reference), workload_identity: None };
        Ok(CloudAccountSpec { credentials, endpoint: self.endpoint.clone(), ..spec })
    }
}

/// Returns the first restricted field that a file sets and that differs from the cluster's account.
fn overridden_field(file: &CloudAccountSpec, own: Option<&CloudAccountSpec>) -> Option<&'static str> {
    let differs = [
        file.endpoint.is_some() && own.is_none_or(|own| own.endpoint != file.endpoint),
        file.sts_endpoint.is_some() && own.is_none_or(|own| own.sts_endpoint != file.sts_endpoint),
        file.assume_role.is_some() && own.is_none_or(|own| own.assume_role != file.assume_role),
        file.credentials.workload_identity.is_some()
            && own.is_none_or(|own| own.credentials.workload_identity != file.credentials.workload_identity),
    ];
    RESTRICTED_FIELDS.into_iter().zip(differs).find_map(|(field, differs)| differs.then_some(field))
}
