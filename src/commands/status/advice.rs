//! Advice for each condition reason: docs/runbook.md in short.

use crate::domain::condition::Reason;

/// Returns the advice for a condition's reason; `None` if there is nothing to do.
pub fn advice(reason: Reason, stalled: bool) -> Option<&'static str> {
    Some(match reason {
        Reason::InSync
        | Reason::Observed
        | Reason::WithinObjective
        | Reason::Listed
        | Reason::CredentialsVerified => return None,
        Reason::AccountNotFound => {
            "Create the account that spec.accountRef names (a CloudAccount in the same namespace), or correct the name."
        }
        Reason::AccountNotAllowed => {
            "Ask who owns the ClusterCloudAccount to allow this namespace, and to let it manage; the namespace may have lost a label. An \
             operator that watches some namespaces only serves no ClusterCloudAccount."
        }
        Reason::AccountNotReady => {
            "Look at the account: it was never verified. `kubectl get cacct -o wide` or `kubectl get ccacct -o wide` has its reason."
        }
        Reason::BackupsUnknown => {
            "Copies may well be made, but nobody could read them. The key often lacks redis:DescribeCrossRegionBackups: grant it. Otherwise \
             the operator's log has the failure."
        }
        Reason::CloudUnavailable => {
            "Wait: it passes by itself. Where it lasts, look at the provider's own status page, at DNS, at the proxy and at network policies; \
             where it is one instance alone, ask the cloud's support with the code in the message."
        }
        Reason::Conflict => {
            "Another policy manages this instance. Find both by `kubectl get crbp -A`, then delete one, or set its managementPolicy to Observe."
        }
        Reason::Contested => {
            "Something changes it back each time: another cluster's operator, a Terraform run, a script, a person. The cloud's audit log \
             tells whose key it was. Stop that, or leave the instance to it with managementPolicy: Observe."
        }
        Reason::CredentialsMissing => {
            "Put the key that the message names into the Secret; with workload identity, look why the token file is missing. Where External \
             Secrets or Vault make the Secret, look at them."
        }
        Reason::CredentialsRejected => {
            "Look in the cloud whether the key was rotated, disabled or deleted, and put a valid one into the Secret: it is taken at once. \
             With a role: whether it is still there, and trusts who asks."
        }
        Reason::BudgetTooSmall => {
            "Raise the account's spec.requestBudget within the cloud's limit, or lengthen the intervals of its resources."
        }
        Reason::DriftDetected => {
            "Nothing corrects it, since the policy observes, or the operator runs with --read-only. Change the cloud or the spec, or set \
             managementPolicy to Manage."
        }
        Reason::EndpointNotAllowed => {
            "Correct the account's spec.endpoint, or have the operator allow it with --allowed-endpoint: the host is none of its provider's, or \
             its address is not public."
        }
        Reason::EndpointUnreachable => {
            "Look at the account's spec.endpoint and stsEndpoint where they are set; else at DNS, the proxy and network policies."
        }
        Reason::InstanceNotFound => {
            "Compare spec.instanceId, spec.region and the account with the cloud's console. The first two cannot be changed: make a new \
             policy, and delete this one."
        }
        Reason::InstanceNotReady => {
            "Wait: the instance is being scaled, restarted or moved. Where it takes hours, look at it in the cloud's console."
        }
        Reason::InvalidRequest => {
            "Correct what the message names. After an upgrade or a downgrade, apply the manifest again."
        }
        Reason::Listing => "Wait: the first listing is under way.",
        Reason::Modifying if stalled => {
            "The change was accepted and is still not to be seen: ask the cloud's support, with the request id of the last change."
        }
        Reason::Modifying => "Wait some minutes: the change was accepted, and is not visible yet.",
        Reason::NoBackupYet => {
            "Wait for the first copy where the policy is new. Else look at the instance's own backup plan in the cloud's console: what is not \
             backed up is not copied. Copies to an earlier target do not count."
        }
        Reason::NotSupported => {
            "This instance can have no cross-region backup: delete the policy, and protect the data in another way."
        }
        Reason::ObjectiveExceeded => {
            "Look at the newest attempt above: where it failed, or takes hours, ask the cloud why. Where there is none, look at the instance's \
             own backup plan in the console. Where copies come regularly, only later: lengthen the objective or back up more often."
        }
        Reason::PermissionDenied => {
            "Grant the key's user in the cloud the action that the message names; it is noticed within the interval, or when a look is asked for."
        }
        Reason::RegionNotAvailable => {
            "Choose one of the regions that the message lists as spec.crossBackupRegion."
        }
        Reason::Suspended => {
            "Set spec.suspend to false, of this policy or of its account. `kubectl get crbp -o yaml --show-managed-fields` tells who set it."
        }
        Reason::Throttled => {
            "It passes by itself, slowly. Others use the same limit: lower the account's spec.requestBudget.requestsPerSecond, or lengthen \
             resyncInterval."
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_section_in_the_runbook_and_agrees_with_it() {
        let runbook =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md")).unwrap();
        for reason in Reason::ALL {
            let title = format!("\n### {}\n", reason.as_str());
            let (_, section) =
                runbook.split_once(&title).unwrap_or_else(|| panic!("no section {}", reason.as_str()));
            let says_nothing = section.trim_start().starts_with("Nothing to do.");
            assert_eq!(advice(*reason, false).is_none(), says_nothing, "{}", reason.as_str());
        }
    }
}
