//! The CustomResourceDefinitions as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{CloudAccount, CrossRegionBackupPolicy};

/// Every CRD, in the order of their names.
///
/// # Errors
/// None that an input could cause: the schemas come from the types.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [CloudAccount::crd(), CrossRegionBackupPolicy::crd()].into_iter().map(tidy).collect()
}

/// An absent field is absent: `Option` would allow an explicit null everywhere, which server-side apply keeps.
fn tidy(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    drop_nullable(&mut value);
    serde_json::from_value(value)
}

fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}
