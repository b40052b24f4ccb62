//! Cloud side of a scene: its roles, the credentials that STS issued for them, and the requests.

use anyhow::Result;
use cloud_simulator::{Effect, FaultSpec, KeySpec, KeyStatus, OidcSpec, RequestRecord, RoleSpec};

use super::scene::Scene;

impl Scene {
    pub fn role(&self, name: &str) -> String {
        if self.tencent {
            format!("qcs::cam::uin/{}:roleName/{name}", self.account_id)
        } else {
            format!("trn:iam::{}:role/{name}", self.account_id)
        }
    }

    pub fn new_role(&self, name: &str) -> RoleSpec {
        RoleSpec { account_id: self.account_id, ..RoleSpec::new(self.role(name)) }
    }

    pub fn put_role(&self, role: RoleSpec) -> Result<()> {
        Ok(self.cloud.put_role(role)?)
    }

    /// Makes the role `trusted` accept only these tokens.
    pub fn trust(&self, tokens: &[&str]) -> Result<()> {
        let provider_id = self.tencent.then(|| format!("cls-{}", self.name));
        let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
        let oidc = Some(OidcSpec { provider_id, tokens, ..OidcSpec::default() });
        self.put_role(RoleSpec { oidc, ..self.new_role("trusted") })
    }

    /// Returns the keys that STS issued, oldest first.
    pub fn issued(&self) -> Vec<KeySpec> {
        let mut keys = self.cloud.keys();
        keys.retain(|key| key.account_id == self.account_id && key.access_key_id != self.key);
        keys.sort_by_key(|key| key.expires_at);
        keys
    }

    pub fn issued_for(&self, role: &str) -> Vec<KeySpec> {
        let mut keys = self.issued();
        keys.retain(|key| key.user.starts_with(&format!("{role}/")));
        keys
    }

    /// Returns the requests that were signed with a key of the scene's account.
    pub fn signed(&self) -> Vec<RequestRecord> {
        let ids: Vec<_> =
            self.issued().into_iter().map(|key| key.access_key_id).chain([self.key.clone()]).collect();
        let mut all = self.cloud.requests();
        all.retain(|r| r.access_key_id.as_ref().is_some_and(|id| ids.contains(id)));
        all
    }

    /// Returns the number of requests of this action that the Secret's key signed.
    pub fn asked(&self, action: &str) -> usize {
        let of = |r: &&RequestRecord| {
            r.access_key_id.as_ref() == Some(&self.key) && r.action.as_deref() == Some(action)
        };
        self.cloud.requests().iter().filter(of).count()
    }

    /// Returns the requests to the Redis API.
    pub fn calls(&self) -> Vec<RequestRecord> {
        let mut all = self.signed();
        all.retain(|r| r.action.as_deref().is_some_and(|action| !action.starts_with("AssumeRole")));
        all
    }

    /// Revokes all keys that STS issued.
    pub fn revoke(&self) -> Result<()> {
        self.issued()
            .iter()
            .try_for_each(|key| self.cloud.set_key_status(&key.access_key_id, KeyStatus::Revoked))?;
        Ok(())
    }

    /// Injects this fault into each AssumeRole that the Secret's key signs.
    pub fn spoil(&self, effect: Effect) -> Result<u64> {
        Ok(self.cloud.place_fault(FaultSpec::new(effect).on_action("AssumeRole").on_key(&self.key))?)
    }

    /// Returns how many requests a fault has affected.
    pub fn spoilt(&self, fault: u64) -> u64 {
        self.cloud.faults().iter().find(|f| f.id == fault).map_or(0, |f| f.fired)
    }

    pub fn mend(&self, fault: u64) -> Result<()> {
        Ok(self.cloud.remove_fault(fault)?)
    }
}
