//! Generates the CustomResourceDefinitions that are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use super::{BackupInventory, CloudAccount, ClusterCloudAccount, CrossRegionBackupPolicy};

/// Returns every CRD, ordered by name.
///
/// # Errors
/// None that an input could cause: the schemas come from the types.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [BackupInventory::crd(), CloudAccount::crd(), ClusterCloudAccount::crd(), CrossRegionBackupPolicy::crd()]
        .into_iter()
        .map(tidy)
        .collect()
}

/// Returns one CRD as YAML.
///
/// # Errors
/// None that an input could cause.
pub fn yaml(crd: &CustomResourceDefinition) -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(crd)?)
}

/// Removes `nullable` from a schema: it comes from `Option` and would allow an explicit null everywhere, which
/// server-side apply keeps.
fn tidy(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    drop_nullable(&mut value);
    serde_json::from_value(value)
}

fn drop_nullable(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.remove("nullable");
            if let Some(Value::Array(allowed)) = map.get_mut("enum") {
                allowed.retain(|value| !value.is_null());
            }
            map.values_mut().for_each(drop_nullable);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nullable),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// `make crds` updates the files.
    #[test]
    fn crds_are_fresh() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for crd in crds().unwrap() {
            let file = folder.join(format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural));
            let fresh = yaml(&crd).unwrap();
            if std::env::var_os("UPDATE_CRDS").is_some() {
                std::fs::write(&file, &fresh).unwrap();
            }
            let stored = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(stored == fresh, "{} is stale: run `make crds`", file.display());
        }
    }

    #[test]
    fn schemas_hold_what_no_api_server_warns_about() {
        let all = serde_json::to_string(&crds().unwrap()).unwrap();
        for word in ["nullable", "null", "\"uint", "int8", "int16"] {
            assert!(!all.contains(word), "{word}");
        }
        assert_eq!(all.matches(r#""default":{"observedGeneration":-1}"#).count(), 4);
    }
}
