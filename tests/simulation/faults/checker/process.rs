//! Objects and responses that one process has received from the API server and from the cloud.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use tokio::time::Instant;

use super::objects::{Policy, Setting};
use crate::harness::history::{Call, CloudResponse, Received, ReceivedFrom};

/// Plural and name.
pub type AccountKey = (String, String);

#[derive(Default)]
pub struct Process {
    /// Policies by name, as its watch reports them.
    watched: BTreeMap<String, (Policy, Instant)>,
    /// Policies of a list that is not complete yet.
    listed: BTreeMap<String, (Policy, Instant)>,
    /// Policies by UID, from the responses to its own reads and writes.
    answered: HashMap<String, (Policy, Instant)>,
    /// Time at which each generation of each UID was first received.
    pub known_since: HashMap<(String, i64), Instant>,
    accounts: BTreeMap<AccountKey, Value>,
    listed_accounts: BTreeMap<AccountKey, Value>,
    /// Time at which an account was last present.
    accounts_until: HashMap<AccountKey, Instant>,
    /// Calls in flight, and the times at which they were sent.
    pub calls: HashMap<usize, (Call, Instant)>,
    pub describes: Vec<Describe>,
    pub modifies: Vec<Modify>,
    /// Instances that cannot have a policy, as reported by the cloud.
    pub unsupported: HashSet<String>,
}

/// An answered describe of a policy.
pub struct Describe {
    pub instance: String,
    pub sent: Instant,
    pub answered: Instant,
    /// `None`: the call failed.
    pub seen: Option<Setting>,
    /// The call failed because there is no such instance.
    pub is_missing: bool,
}

/// A Modify that was sent.
pub struct Modify {
    pub instance: String,
    pub to: Setting,
    pub token: String,
    pub sent: Instant,
    /// UIDs and generations of the policies that may have sent it.
    pub senders: Vec<(String, i64)>,
    pub accepted: Option<Instant>,
}

impl Process {
    /// Applies a received object; returns it if it is a policy.
    pub fn received(&mut self, received: &Received, at: Instant) -> Option<Policy> {
        match received.resource.as_str() {
            "crossregionbackuppolicies" => self.apply_policy(received, at),
            "cloudaccounts" | "clustercloudaccounts" => {
                self.apply_account(received, at);
                None
            }
            _ => None,
        }
    }

    fn apply_policy(&mut self, received: &Received, at: Instant) -> Option<Policy> {
        match received.how {
            ReceivedFrom::ListStarted => self.listed.clear(),
            ReceivedFrom::ListCompleted => self.watched = std::mem::take(&mut self.listed),
            _ => {}
        }
        if received.object.is_empty() {
            return None;
        }
        let policy = Policy::read(&received.object);
        self.known_since.entry(policy.spec_key()).or_insert(at);
        let known = (policy.clone(), at);
        match received.how {
            ReceivedFrom::Deleted => drop(self.watched.remove(&policy.name)),
            ReceivedFrom::Answered => drop(self.answered.insert(policy.uid.clone(), known)),
            ReceivedFrom::Listed => drop(self.listed.insert(policy.name.clone(), known)),
            _ => drop(self.watched.insert(policy.name.clone(), known)),
        }
        Some(policy)
    }

    fn apply_account(&mut self, received: &Received, at: Instant) {
        let is_other = |key: &AccountKey| key.0 != received.resource;
        match received.how {
            ReceivedFrom::ListStarted => self.listed_accounts.retain(|key, _| is_other(key)),
            ReceivedFrom::ListCompleted => {
                let listed = self.listed_accounts.extract_if(.., |key, _| !is_other(key)).collect();
                let before: BTreeMap<_, _> = self.accounts.extract_if(.., |key, _| !is_other(key)).collect();
                let gone = before.into_keys().filter(|key| !BTreeMap::contains_key(&listed, key));
                self.accounts_until.extend(gone.map(|key| (key, at)));
                self.accounts.extend(listed);
            }
            _ => {}
        }
        if received.object.is_empty() {
            return;
        }
        let account: Value = serde_json::from_slice(&received.object).unwrap();
        let name = account["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (received.resource.clone(), name);
        match received.how {
            ReceivedFrom::Deleted => {
                self.accounts.remove(&key);
                self.accounts_until.insert(key, at);
            }
            ReceivedFrom::Listed => drop(self.listed_accounts.insert(key, account)),
            ReceivedFrom::Watched => drop(self.accounts.insert(key, account)),
            _ => {}
        }
    }

    /// Returns the policies as the process knows them, and since when: the newer of the watch's object and a response
    /// to the process.
    pub fn policies(&self) -> impl Iterator<Item = &(Policy, Instant)> {
        self.watched.values().map(|watched| match self.answered.get(&watched.0.uid) {
            Some(answered) if answered.0.version > watched.0.version => answered,
            _ => watched,
        })
    }

    /// Returns whether a policy may modify through its account.
    pub fn is_open(&self, policy: &Policy) -> bool {
        let key = policy.account();
        match self.accounts.get(&key) {
            Some(account) => !is_shut(account),
            // Deletions may use the credentials of a deleted account for a while.
            None => policy.deleted && self.accounts_until.contains_key(&key),
        }
    }

    /// Returns whether the account is suspended or permits no Modify.
    pub fn is_shut(&self, policy: &Policy) -> bool {
        self.accounts.get(&policy.account()).is_some_and(is_shut)
    }

    /// Returns the competing policy that manages the instance instead, if it has been known since `known_before`.
    pub fn competing_policy(&self, own: &Policy, known_before: Instant) -> Option<&Policy> {
        // A failed describe ranks its policy last, and only its own next describe takes that back.
        let doubtful =
            self.describes.iter().any(|look| look.instance == own.instance() && look.seen.is_none());
        let others = self.policies().filter(|(other, since)| other.uid != own.uid && *since <= known_before);
        let mut others = others.map(|(other, _)| other);
        others.find(|other| {
            let competes = other.manages() && other.is_proven() && other.instance() == own.instance();
            competes && other.ranks_before(own) && !doubtful
        })
    }

    pub fn describes_of<'a>(&'a self, instance: &'a str) -> impl DoubleEndedIterator<Item = &'a Describe> {
        self.describes.iter().filter(move |look| look.instance == instance)
    }

    /// Records the response to a describe that was sent at `sent`.
    pub fn described(&mut self, call: &Call, sent: Instant, answered: Instant, answer: &CloudResponse) {
        let instance = call.instance().to_owned();
        let seen = Setting::answered(answer);
        let is_missing = answer.status == 404;
        self.note_unsupported(call, answer);
        self.describes.push(Describe { instance, sent, answered, seen, is_missing });
    }

    pub fn modified(&mut self, call: &Call, answer: &CloudResponse, at: Instant) {
        self.note_unsupported(call, answer);
        let token = call.body["ClientToken"].as_str().unwrap_or_default();
        let modify = self.modifies.iter_mut().find(|modify| modify.token == token);
        let Some(modify) = modify else { return };
        if answer.is_good() {
            modify.accepted = Some(at);
        } else if answer.code().as_deref() == Some("InstanceNotExist") {
            // It is as conclusive as a describe.
            let (instance, sent) = (modify.instance.clone(), modify.sent);
            self.describes.push(Describe { instance, sent, answered: at, seen: None, is_missing: true });
        }
    }

    fn note_unsupported(&mut self, call: &Call, answer: &CloudResponse) {
        if answer.code().as_deref() == Some("InvalidOperator") {
            self.unsupported.insert(call.instance().to_owned());
        }
    }
}

fn is_shut(account: &Value) -> bool {
    account["spec"]["suspend"] == true || account["spec"]["permissions"]["manage"] == false
}
