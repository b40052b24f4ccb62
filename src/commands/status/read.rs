//! Reads the policy from the cluster that kubectl would use.

use anyhow::anyhow;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};

use crate::api::CrossRegionBackupPolicy;
use crate::cli::Status;
use crate::commands::access::cluster::connect;

/// Reads the policy as it is stored, in any shape.
///
/// # Errors
/// The cluster, kind or policy does not exist, or reading it is forbidden; the message says what to do.
pub async fn policy(args: &Status) -> anyhow::Result<DynamicObject> {
    let (client, config) = connect(&args.cluster).await?;
    if let (Some(one), Some(other)) = (&args.policy.namespace, &args.cluster.namespace)
        && one != other
    {
        return Err(anyhow!(
            "{one}/{} is not in the namespace {other}: leave out one of the two",
            args.policy.name
        ));
    }
    let requested = args.policy.namespace.clone().or_else(|| args.cluster.namespace.clone());
    let namespace = requested.unwrap_or_else(|| config.default_namespace.clone());
    let (host, name) = (config.cluster_url.to_string(), args.policy.name.as_str());
    let resource = ApiResource::erase::<CrossRegionBackupPolicy>(&());
    let api = Api::<DynamicObject>::namespaced_with(client, &namespace, &resource);
    api.get(name).await.map_err(|error| explained(error, &host, &namespace, name))
}

fn explained(error: kube::Error, host: &str, namespace: &str, name: &str) -> anyhow::Error {
    let kube::Error::Api(status) = &error else {
        return anyhow::Error::new(error).context(format!("cannot reach the cluster at {host}"));
    };
    match status.code {
        // Without the CRD, the API server does not know the path, and its 404 names no object.
        404 if status.details.as_ref().is_some_and(|details| details.name == name) => anyhow!(
            "there is no CrossRegionBackupPolicy {name} in the namespace {namespace}: `kubectl get crbp -A` lists all"
        ),
        404 => anyhow!(
            "the cluster at {host} does not know CrossRegionBackupPolicy: is the operator installed there? Its command crds \
             prints the definitions"
        ),
        401 => anyhow!("the cluster at {host} does not accept the kubeconfig's credentials: log in again"),
        403 => anyhow!(
            "you may not read the policy: ask for the verb get on crossregionbackuppolicies in the namespace {namespace} ({})",
            status.message
        ),
        _ => anyhow!(
            "the cluster at {host} does not answer with the policy: {} ({})",
            status.message,
            status.code
        ),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;

    use super::*;

    /// Returns the message for a response of the API server.
    async fn message_for(code: u16, body: &'static str) -> String {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let answer = Response::builder().status(code).body(Body::from(body.as_bytes().to_vec()));
            Ok::<_, std::convert::Infallible>(answer.unwrap())
        });
        let resource = ApiResource::erase::<CrossRegionBackupPolicy>(&());
        let api =
            Api::<DynamicObject>::namespaced_with(Client::new(service, "default"), "payments", &resource);
        let error = api.get("sessions").await.unwrap_err();
        explained(error, "https://cluster.example", "payments", "sessions").to_string()
    }

    #[tokio::test]
    async fn each_refusal_says_what_to_do() {
        let missing = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"x \"sessions\" not found",
            "reason":"NotFound","details":{"name":"sessions","kind":"crossregionbackuppolicies"},"code":404}"#;
        assert!(
            message_for(404, missing)
                .await
                .starts_with("there is no CrossRegionBackupPolicy sessions in the namespace payments")
        );
        assert!(message_for(404, "404 page not found\n").await.contains("is the operator installed there?"));
        let forbidden = r#"{"kind":"Status","status":"Failure","message":"User \"eve\" cannot get","reason":"Forbidden","code":403}"#;
        let text = message_for(403, forbidden).await;
        assert!(text.contains("ask for the verb get") && text.contains("User \"eve\" cannot get"), "{text}");
        assert!(message_for(401, "Unauthorized").await.contains("log in again"));
        assert!(message_for(503, "busy").await.contains("(503)"));
    }
}
