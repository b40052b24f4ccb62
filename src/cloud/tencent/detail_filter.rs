//! Filters a response of DescribeBackupDetail. It may contain DecryptKey, which decrypts the backup, and KmsKeyId:
//! every member that is not listed here is skipped while the bytes are parsed, so that no value contains it afterwards.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::cloud::json::has_content;

const ALLOWED_MEMBERS: [&str; 13] = [
    "Response",
    "RequestId",
    "Error",
    "Code",
    "code",
    "codeDesc",
    "BackupId",
    "Locked",
    "Remark",
    "InstanceType",
    "MemSize",
    "ShardNum",
    "ReplicasNum",
];
/// Members with free text of the cloud, which could repeat what is skipped. Only whether there is any text is kept.
const FREE_TEXT_MEMBERS: [&str; 2] = ["Message", "message"];

/// A JSON value without lists, whose objects contain only the listed members.
#[derive(Default)]
pub struct FilteredJson(pub Value);

impl<'de> Deserialize<'de> for FilteredJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if FREE_TEXT_MEMBERS.contains(&name.as_str()) {
                let words = has_content(&members.next_value::<Value>()?);
                kept.insert(name, words.into());
            } else if ALLOWED_MEMBERS.contains(&name.as_str()) {
                kept.insert(name, members.next_value::<FilteredJson>()?.0);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keeps_what_is_wanted_at_every_depth() {
        let body = json!({"Response": {
            "RequestId": "r", "DecryptKey": "k", "KmsKeyId": {"Remark": "k"}, "Remark": {"DecryptKey": "k", "Code": 1.5},
            "Locked": ["k"], "MemSize": 7, "ShardNum": -1, "Error": {"Code": "c", "Message": "k", "More": "k"},
        }, "message": "", "code": null, "Other": "k"});
        let FilteredJson(found) = serde_json::from_value(body).unwrap();
        let expected = json!({"Response": {
            "RequestId": "r", "Remark": {"Code": 1.5}, "Locked": null, "MemSize": 7, "ShardNum": -1,
            "Error": {"Code": "c", "Message": true},
        }, "message": false, "code": null});
        assert_eq!(found, expected);
    }
}
