//! Values that are kept for long and read seldom.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What specs and statuses have in common: a policy with a single backup, as it is written. What occurs here costs three bytes
/// each time.
const WORDS: &[u8] = include_bytes!("words.json");

/// A value as JSON, compressed (LZ4, one block). Copies share the bytes.
///
/// JSON, because the types leave out fields that are empty, which only formats that name their fields can read back.
/// A policy's status takes, in bytes:
///
/// | backups | JSON | MessagePack, LZ4 | Deflate | LZ4 | LZ4 with `WORDS` |
/// | --- | --- | --- | --- | --- | --- |
/// | 10 | 4,671 | 1,362 | 1,035 | 1,499 | 880 |
/// | 14 | 6,051 | 1,592 | 1,205 | 1,762 | 1,142 |
#[derive(Debug)]
pub struct Packed<T> {
    bytes: Arc<[u8]>,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Packed<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), of: PhantomData }
    }
}

/// Whether the values are the same, as far as they can be written at all.
impl<T> PartialEq for Packed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Packed<T> {
    /// Whether these are the very same bytes, and not only equal ones.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    /// # Panics
    /// The type has a map whose keys are no texts, or refuses to be written.
    pub fn of(value: &T) -> Self {
        let json = serde_json::to_vec(value).expect("what a status is made of is written as JSON");
        let bytes = lz4_flex::block::compress_prepend_size_with_dict(&json, WORDS).into();
        Self { bytes, of: PhantomData }
    }

    /// # Panics
    /// The type reads back something else than it writes.
    pub fn unpack(&self) -> T {
        let json = lz4_flex::block::decompress_size_prepended_with_dict(&self.bytes, WORDS);
        let value = json.ok().and_then(|json| serde_json::from_slice(&json).ok());
        value.expect("what was packed here is unpacked here")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::CrossRegionBackupPolicy;
    use crate::api::policy::{BoxedStatus, CrossRegionBackupPolicyStatus};

    fn words() -> CrossRegionBackupPolicy {
        serde_json::from_slice(WORDS).unwrap()
    }

    /// With backups whose ids, times and sizes have nothing in common.
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
            assert_eq!(Packed::of(&status).unpack(), status);
        }
        let empty = Packed::of(&String::new());
        assert_eq!(empty.unpack(), "");
        assert!(empty.is(&empty.clone()) && !empty.is(&Packed::of(&String::new())));
    }

    #[test]
    fn a_status_of_ten_backups_takes_about_a_kilobyte_and_a_spec_next_to_nothing() {
        let packed = Packed::of(&status(10));
        assert!(packed.bytes.len() < 1200, "{}", packed.bytes.len());
        let mut spec = words().spec;
        (spec.account_ref.name, spec.instance_id) = ("staging".to_owned(), "redis-xk2v90qjd81hzt".to_owned());
        let packed = Packed::of(&spec);
        assert!(packed.bytes.len() < 80, "{}", packed.bytes.len());
    }

    #[test]
    fn the_words_are_a_policy_as_it_is_written() {
        let written = serde_json::to_vec(&words()).unwrap();
        assert_eq!(String::from_utf8_lossy(WORDS), String::from_utf8_lossy(&written));
    }
}
