//! DescribeCrossRegionBackupPolicy, ModifyCrossRegionBackupPolicy and DescribeAvailableCrossRegion.

use serde_json::{Value, json};

use super::super::error;
use super::super::replay::ModifyParams;
use super::Call;
use crate::error::ApiError;
use crate::model::InactiveShape;

const CLIENT_TOKEN_LENGTH: usize = 127;

impl Call<'_> {
    pub(super) fn describe_policy(&mut self) -> Result<Value, ApiError> {
        let spec = &self.instance(self.params.required_text("InstanceId")?)?.spec;
        let policy = &spec.policy;
        let mut result = json!({ "InstanceId": spec.instance_id, "Active": policy.active });
        let shown = match spec.inactive_shape {
            _ if policy.active => Some((policy.region.as_str(), policy.ttl)),
            InactiveShape::Last => Some((policy.region.as_str(), policy.ttl)),
            InactiveShape::Empty => Some(("", 0)),
            InactiveShape::Absent => None,
        };
        if let Some((region, ttl)) = shown {
            result["CrossBackupRegion"] = json!(region);
            result["TTL"] = json!(ttl);
        }
        for (name, value) in &spec.policy_overrides {
            result[name] = value.clone();
        }
        Ok(self.with_quirk(result))
    }

    pub(super) fn modify_policy(&mut self) -> Result<Value, ApiError> {
        let instance_id = self.params.required_text("InstanceId")?;
        let active = self.params.boolean("Active")?.ok_or_else(|| error::missing_parameter("Active"))?;
        let target = self.params.text("CrossBackupRegion")?;
        let token = self.params.text("ClientToken")?;
        if token.is_some_and(|token| token.len() > CLIENT_TOKEN_LENGTH || !token.is_ascii()) {
            return Err(error::param("ClientToken must be at most 127 ASCII characters."));
        }
        if active && target.is_none() {
            return Err(error::missing_parameter("CrossBackupRegion"));
        }
        let asked = ModifyParams {
            region: self.region.to_owned(),
            instance_id: instance_id.to_owned(),
            active,
            target: target.map(str::to_owned),
        };
        if let Some(outcome) = token.and_then(|token| self.replays.find(self.account, token, &asked)) {
            self.ledger.modify_replayed();
            return outcome.map(|()| Value::Null);
        }
        let outcome = self.apply_policy(instance_id, active, target);
        if let Some(token) = token {
            self.replays.remember(self.account, token, asked, outcome.clone());
        }
        outcome.map(|()| Value::Null)
    }

    fn apply_policy(
        &mut self,
        instance_id: &str,
        active: bool,
        target: Option<&str>,
    ) -> Result<(), ApiError> {
        let spec = &self.instance(instance_id)?.spec;
        if spec.class == "Standalone" {
            let message = "The operation is not supported for Standalone instances.";
            return Err(error::redis("InvalidOperator", message));
        }
        if spec.status != "Running" {
            let message = format!("The instance {instance_id} is {}; it must be Running.", spec.status);
            return Err(error::redis("InstanceStatusNotMatch", message));
        }
        if let Some(target) = target.filter(|_| active)
            && !spec.available_regions.iter().any(|region| region == target)
        {
            let message = format!("The region {target} is not available for cross-region backup.");
            return Err(error::redis("InvalidRegion", message));
        }
        self.world.modify(instance_id, active, target, self.now);
        self.ledger.modify_applied(instance_id);
        Ok(())
    }

    pub(super) fn describe_available_regions(&mut self) -> Result<Value, ApiError> {
        let spec = &self.instance(self.params.required_text("InstanceId")?)?.spec;
        Ok(self.with_quirk(json!({ "TargetRegionIds": spec.available_regions })))
    }
}
