//! Policies and their settings, as the checker parses them.

use bytes::Bytes;
use serde_json::Value;

use crate::harness::history::CloudResponse;
use cross_region_backup_operator::api::FINALIZER;

/// A policy object as a client received it.
#[derive(Clone, Debug)]
pub struct Policy {
    pub name: String,
    pub uid: String,
    pub version: u64,
    pub generation: i64,
    pub created: String,
    pub deleted: bool,
    pub held: bool,
    pub spec: Value,
    pub status: Value,
}

impl Policy {
    pub fn read(object: &Bytes) -> Self {
        let object: Value = serde_json::from_slice(object).unwrap();
        let meta = &object["metadata"];
        let text = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
        Self {
            name: text("name"),
            uid: text("uid"),
            version: text("resourceVersion").parse().unwrap(),
            generation: meta["generation"].as_i64().unwrap(),
            created: text("creationTimestamp"),
            deleted: !meta["deletionTimestamp"].is_null(),
            held: meta["finalizers"].as_array().is_some_and(|held| held.iter().any(|f| f == FINALIZER)),
            spec: object["spec"].clone(),
            status: object["status"].clone(),
        }
    }

    pub fn spec_key(&self) -> (String, i64) {
        (self.uid.clone(), self.generation)
    }

    pub fn instance(&self) -> &str {
        self.spec["instanceId"].as_str().unwrap_or_default()
    }

    /// Returns the plural of the account's kind, and its name.
    pub fn account(&self) -> (String, String) {
        let reference = &self.spec["accountRef"];
        let kind =
            if reference["kind"] == "ClusterCloudAccount" { "clustercloudaccounts" } else { "cloudaccounts" };
        (kind.to_owned(), reference["name"].as_str().unwrap_or_default().to_owned())
    }

    pub fn manages(&self) -> bool {
        self.spec["managementPolicy"] == "Manage"
    }

    pub fn disables(&self) -> bool {
        self.spec["deletionPolicy"] == "Disable"
    }

    pub fn is_suspended(&self) -> bool {
        self.spec["suspend"] == true
    }

    /// Returns whether status proves that the account reaches the instance: a status of another generation may be from
    /// another account.
    pub fn is_proven(&self) -> bool {
        let observed = self.status["observedGeneration"].as_i64().unwrap_or(-1);
        let is_of_this_spec =
            (self.generation - i64::from(self.deleted)..=self.generation).contains(&observed);
        is_of_this_spec && !self.status["policy"].is_null()
    }

    /// Returns whether the cloud refused its Modify.
    fn is_refused(&self) -> bool {
        !self.status["modifyRefused"].is_null()
    }

    pub fn condition(&self, kind: &str) -> Option<&Value> {
        self.status["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
    }

    /// Returns the reason of Synced.
    pub fn reason(&self) -> &str {
        self.condition("Synced").and_then(|synced| synced["reason"].as_str()).unwrap_or_default()
    }

    /// Returns whether this policy wins the claim to an instance over the other.
    pub fn ranks_before(&self, other: &Self) -> bool {
        (self.is_refused(), &self.created, &self.uid) < (other.is_refused(), &other.created, &other.uid)
    }
}

/// A policy of the cloud, reduced to the fields that a spec has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub active: bool,
    pub target: String,
}

impl Setting {
    /// Parses the cloud's fields, of a response or a Modify.
    pub fn of_call(body: &Value) -> Option<Self> {
        let target = body["CrossBackupRegion"].as_str().unwrap_or_default().to_owned();
        Some(Self { active: body["Active"].as_bool()?, target })
    }

    /// Parses a spec, or `status.policy`.
    pub fn of_object(value: &Value) -> Self {
        let target = value["crossBackupRegion"].as_str().unwrap_or_default().to_owned();
        Self { active: value["active"] == true, target }
    }

    pub fn answered(answer: &CloudResponse) -> Option<Self> {
        Self::of_call(&answer.json()["Result"]).filter(|_| answer.is_good())
    }

    /// Compares two settings; the target is ignored while they are inactive.
    pub fn equals(&self, other: &Self) -> bool {
        self.active == other.active && (!self.active || self.target == other.target)
    }

    pub fn meets(&self, spec: &Value) -> bool {
        self.equals(&Self::of_object(spec))
    }
}
