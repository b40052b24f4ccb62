//! The custom resources: types, schema and CEL rules. No logic, no IO.

// Doc comments of fields are plain text for `kubectl explain`, not Markdown.
#![allow(rustdoc::bare_urls, rustdoc::invalid_html_tags)]

pub mod account;
pub mod duration;
mod generate;
pub mod inventory;
pub mod policy;
pub mod time;

pub use account::{CloudAccount, ClusterCloudAccount};
pub use generate::{crds, yaml};
pub use inventory::BackupInventory;
pub use policy::CrossRegionBackupPolicy;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

/// Finalizer of a policy, present only while `deletionPolicy: Disable`.
pub const FINALIZER: &str = "crossregionbackup.io/disable-on-delete";
/// Annotation that requests an immediate reconcile; every new value is a request.
pub const RECONCILE_REQUESTED_AT: &str = "crossregionbackup.io/reconcile-requested-at";

/// Longest value of the annotation that is stored unchanged, in characters.
const MAX_VERBATIM_CHARS: usize = 256;

/// Returns the annotation's value as it is stored, compared and reported in `status.lastHandledReconcileAt`. A value
/// of more than 256 characters becomes `sha256:` and 64 hexadecimal digits, since a value can be 256 KiB long.
pub fn handled_value(annotation: &str) -> String {
    match annotation.chars().nth(MAX_VERBATIM_CHARS) {
        None => annotation.to_owned(),
        Some(_) => format!("sha256:{}", hex::encode(Sha256::digest(annotation))),
    }
}

/// Truncates a time to whole seconds, as Kubernetes writes it: a written value must read back as the same value, or
/// every comparison with the stored status would differ.
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_of_the_annotation_is_kept_as_its_hash() {
        for text in ["", "2026-11-01T00:00:00Z", &"é".repeat(256)] {
            assert_eq!(handled_value(text), text);
        }
        let hashed = handled_value(&"a".repeat(257));
        // printf 'a%.0s' $(seq 257) | sha256sum
        assert_eq!(hashed, "sha256:e8d95cc2b4bc198c54b40bd214df958afb65f5e73d2c2eafe0593cf5c635c1f0");
        assert_eq!(handled_value(&hashed), hashed, "what status tells is compared as well");
        assert_ne!(handled_value(&"a".repeat(258)), hashed);
    }
}
