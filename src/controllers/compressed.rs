//! Compression of values that are held for long and read rarely.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Dictionary: the common text of specs and statuses, which is a policy with a single backup, as it is written. Text
/// that occurs here takes three bytes each time.
const DICTIONARY: &[u8] = include_bytes!("words.json");

/// A value as JSON, compressed (LZ4, one block). Copies share the bytes.
///
/// JSON, because the types leave out fields that are empty, which only formats that name their fields can read back.
/// A policy's status takes, in bytes:
///
/// | backups | JSON | MessagePack, LZ4 | Deflate | LZ4 | LZ4 with `DICTIONARY` |
/// | --- | --- | --- | --- | --- | --- |
/// | 10 | 4,671 | 1,362 | 1,035 | 1,499 | 880 |
/// | 14 | 6,051 | 1,592 | 1,205 | 1,762 | 1,142 |
///
/// Packing never fails: a value that does not survive the JSON round trip is kept uncompressed. In stored objects that
/// is a time with a fraction of a second or with a year before 0, which Kubernetes' serialisation does not write in a
/// form that it can read.
#[derive(Debug)]
pub struct Compressed<T>(Repr<T>);

#[derive(Debug)]
enum Repr<T> {
    Bytes(Arc<[u8]>),
    Plain(Arc<T>),
}

impl<T> Clone for Compressed<T> {
    fn clone(&self) -> Self {
        Self(match &self.0 {
            Repr::Bytes(bytes) => Repr::Bytes(bytes.clone()),
            Repr::Plain(value) => Repr::Plain(value.clone()),
        })
    }
}

impl<T: PartialEq> PartialEq for Compressed<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Bytes(one), Repr::Bytes(other)) => one == other,
            (Repr::Plain(one), Repr::Plain(other)) => one == other,
            _ => false,
        }
    }
}

impl<T> Compressed<T> {
    /// Whether both share the same bytes, rather than equal ones.
    pub fn is(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Bytes(one), Repr::Bytes(other)) => Arc::ptr_eq(one, other),
            (Repr::Plain(one), Repr::Plain(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq> Compressed<T> {
    pub fn of(value: T) -> Self {
        let compressed = serde_json::to_vec(&value)
            .map(|json| lz4_flex::block::compress_prepend_size_with_dict(&json, DICTIONARY))
            .ok()
            .filter(|bytes| read(bytes).as_ref() == Some(&value));
        Self(match compressed {
            Some(bytes) => Repr::Bytes(bytes.into()),
            None => Repr::Plain(Arc::new(value)),
        })
    }

    pub fn decompress(&self) -> T {
        match &self.0 {
            Repr::Bytes(bytes) => read(bytes).expect("these bytes were read back when they were packed"),
            Repr::Plain(value) => T::clone(value),
        }
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let json = lz4_flex::block::decompress_size_prepended_with_dict(bytes, DICTIONARY).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;
    use crate::api::CrossRegionBackupPolicy;
    use crate::api::policy::{BoxedStatus, CrossRegionBackupPolicyStatus};

    fn words() -> CrossRegionBackupPolicy {
        serde_json::from_slice(DICTIONARY).unwrap()
    }

    /// Returns a status with backups whose ids, times and sizes have nothing in common.
    fn status(backups: u64) -> CrossRegionBackupPolicyStatus {
        let mut status = *words().status.unwrap();
        let backups: Vec<_> = (1..=backups)
            .map(|n| {
                let (day, time) = (1 + n % 28, format!("T{:02}:{:02}:{:02}Z", n * 7 % 24, n * 37 % 60, n * 23 % 60));
                json!({
                    "backupPointId": format!("cbp-{:013x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12),
                    "backupPointName": format!("automated-backup-202607{day:02}{}", time.replace(':', "")),
                    "strategy": "AutomatedBackup", "type": "Full", "status": "Available", "providerStatus": "Available",
                    "sourceRegion": "cn-guangzhou", "targetRegion": "cn-hongkong",
                    "startTime": format!("2026-07-{day:02}{time}"), "endTime": format!("2026-07-{day:02}T23:59:{day:02}Z"),
                    "sizeBytes": n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32, "ttlDays": 7,
                })
            })
            .collect();
        let items = serde_json::from_value(json!(backups)).unwrap();
        status.backups.as_mut().unwrap().items = items;
        status
    }

    #[test]
    fn a_value_comes_back_as_it_was() {
        for backups in [0, 1, 10, 100] {
            let status: BoxedStatus = Box::new(status(backups));
            let compressed = Compressed::of(status.clone());
            assert!(matches!(compressed.0, Repr::Bytes(_)));
            assert_eq!(compressed.decompress(), status);
        }
        let empty = Compressed::of(String::new());
        assert_eq!(empty.decompress(), "");
        assert!(empty.is(&empty.clone()) && !empty.is(&Compressed::of(String::new())));
    }

    #[test]
    fn a_status_of_ten_backups_takes_about_a_kilobyte_and_a_spec_next_to_nothing() {
        let compressed = length(&Compressed::of(status(10)));
        assert!(compressed < 1200, "{compressed}");
        let mut spec = words().spec;
        (spec.account_ref.name, spec.instance_id) = ("staging".to_owned(), "redis-xk2v90qjd81hzt".to_owned());
        let compressed = length(&Compressed::of(spec));
        assert!(compressed < 80, "{compressed}");
    }

    fn length<T>(compressed: &Compressed<T>) -> usize {
        match &compressed.0 {
            Repr::Bytes(bytes) => bytes.len(),
            Repr::Plain(_) => usize::MAX,
        }
    }

    #[test]
    fn what_json_does_not_give_back_is_kept_as_it_is() {
        for time in ["-000001-12-31T10:00:00Z", "2026-11-01T00:00:00.5Z", "-009999-01-02T01:59:59Z"] {
            let mut status: BoxedStatus = Box::new(status(1));
            status.protected_since = Some(Time(time.parse().unwrap()));
            let compressed = Compressed::of(status.clone());
            assert!(matches!(compressed.0, Repr::Plain(_)), "{time}");
            assert_eq!(compressed.decompress(), status);
            assert!(compressed == compressed.clone() && compressed.is(&compressed.clone()));
            let other = Compressed::of(status);
            assert!(compressed == other && !compressed.is(&other));
        }
        // JSON has no such keys.
        let key = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
        assert_eq!(Compressed::of(key.clone()).decompress(), key);
    }

    #[test]
    fn the_words_are_a_policy_as_it_is_written() {
        let written = serde_json::to_vec(&words()).unwrap();
        assert_eq!(String::from_utf8_lossy(DICTIONARY), String::from_utf8_lossy(&written));
    }
}
