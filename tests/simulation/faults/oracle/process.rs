//! What one process has been told, by the API server and by the cloud.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;
use tokio::time::Instant;

use super::objects::{Policy, Setting};
use crate::harness::journal::{Answer, Call, How, Told};

/// Its plural and its name.
pub type AccountKey = (String, String);

#[derive(Default)]
pub struct Process {
    /// As its watches have it, by name.
    watched: BTreeMap<String, (Policy, Instant)>,
    /// As a list that is not complete yet has told them.
    listed: BTreeMap<String, (Policy, Instant)>,
    /// As its own writes and reads were answered, by UID.
    answered: HashMap<String, (Policy, Instant)>,
    /// When each generation of each UID was first told.
    pub known_since: HashMap<(String, i64), Instant>,
    accounts: BTreeMap<AccountKey, Value>,
    listed_accounts: BTreeMap<AccountKey, Value>,
    /// When an account was last there.
    accounts_until: HashMap<AccountKey, Instant>,
    /// Calls under way, and when they were sent.
    pub calls: HashMap<usize, (Call, Instant)>,
    pub looks: Vec<Look>,
    pub modifies: Vec<Modify>,
    /// Of which the cloud has said that they cannot have a policy.
    pub unsupported: HashSet<String>,
}

/// A Describe that was answered.
pub struct Look {
    pub instance: String,
    pub sent: Instant,
    pub answered: Instant,
    /// `None`: it failed.
    pub seen: Option<Setting>,
    /// It failed, for there is no such instance.
    pub is_missing: bool,
}

/// A Modify that was sent.
pub struct Modify {
    pub instance: String,
    pub to: Setting,
    pub token: String,
    pub sent: Instant,
    /// Of the policies that may have sent it.
    pub senders: Vec<(String, i64)>,
    pub accepted: Option<Instant>,
}

impl Process {
    /// Takes in what it is told; returns the policy, if it is one.
    pub fn told(&mut self, told: &Told, at: Instant) -> Option<Policy> {
        match told.resource.as_str() {
            "crossregionbackuppolicies" => self.told_policy(told, at),
            "cloudaccounts" | "clustercloudaccounts" => {
                self.told_account(told, at);
                None
            }
            _ => None,
        }
    }

    fn told_policy(&mut self, told: &Told, at: Instant) -> Option<Policy> {
        match told.how {
            How::Anew => self.listed.clear(),
            How::Complete => self.watched = std::mem::take(&mut self.listed),
            _ => {}
        }
        if told.object.is_empty() {
            return None;
        }
        let policy = Policy::read(&told.object);
        self.known_since.entry(policy.version_of_spec()).or_insert(at);
        let known = (policy.clone(), at);
        match told.how {
            How::Deleted => drop(self.watched.remove(&policy.name)),
            How::Answered => drop(self.answered.insert(policy.uid.clone(), known)),
            How::Listed => drop(self.listed.insert(policy.name.clone(), known)),
            _ => drop(self.watched.insert(policy.name.clone(), known)),
        }
        Some(policy)
    }

    fn told_account(&mut self, told: &Told, at: Instant) {
        let is_other = |key: &AccountKey| key.0 != told.resource;
        match told.how {
            How::Anew => self.listed_accounts.retain(|key, _| is_other(key)),
            How::Complete => {
                let listed = self.listed_accounts.extract_if(.., |key, _| !is_other(key)).collect();
                let before: BTreeMap<_, _> = self.accounts.extract_if(.., |key, _| !is_other(key)).collect();
                let gone = before.into_keys().filter(|key| !BTreeMap::contains_key(&listed, key));
                self.accounts_until.extend(gone.map(|key| (key, at)));
                self.accounts.extend(listed);
            }
            _ => {}
        }
        if told.object.is_empty() {
            return;
        }
        let account: Value = serde_json::from_slice(&told.object).unwrap();
        let name = account["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (told.resource.clone(), name);
        match told.how {
            How::Deleted => {
                self.accounts.remove(&key);
                self.accounts_until.insert(key, at);
            }
            How::Listed => drop(self.listed_accounts.insert(key, account)),
            How::Watched => drop(self.accounts.insert(key, account)),
            _ => {}
        }
    }

    /// The policies as it knows them, and since when: the newer of what the watch brought and what it was answered itself.
    pub fn policies(&self) -> impl Iterator<Item = &(Policy, Instant)> {
        self.watched.values().map(|watched| match self.answered.get(&watched.0.uid) {
            Some(answered) if answered.0.version > watched.0.version => answered,
            _ => watched,
        })
    }

    /// Whether a policy may modify through its account.
    pub fn is_open(&self, policy: &Policy) -> bool {
        let key = policy.account();
        match self.accounts.get(&key) {
            Some(account) => !is_shut(account),
            // Deletions go on for a while with the credentials of an account that is gone.
            None => policy.deleted && self.accounts_until.contains_key(&key),
        }
    }

    /// Whether its account lets nobody modify anything.
    pub fn is_shut(&self, policy: &Policy) -> bool {
        self.accounts.get(&policy.account()).is_some_and(is_shut)
    }

    /// The policy that manages the instance instead, as it has been known for long enough to be heeded.
    pub fn rival(&self, own: &Policy, known_before: Instant) -> Option<&Policy> {
        // A look that failed ranks its policy last, and only its own next one takes that back.
        let doubtful = self.looks.iter().any(|look| look.instance == own.instance() && look.seen.is_none());
        let others = self.policies().filter(|(other, since)| other.uid != own.uid && *since <= known_before);
        let mut others = others.map(|(other, _)| other);
        others.find(|other| {
            let competes = other.manages() && other.is_proven() && other.instance() == own.instance();
            competes && other.ranks_before(own) && !doubtful
        })
    }

    pub fn looks_at<'a>(&'a self, instance: &'a str) -> impl DoubleEndedIterator<Item = &'a Look> {
        self.looks.iter().filter(move |look| look.instance == instance)
    }

    /// A look that was sent then is answered.
    pub fn looked(&mut self, call: &Call, sent: Instant, answered: Instant, answer: &Answer) {
        let instance = call.instance().to_owned();
        let seen = Setting::answered(answer);
        let is_missing = answer.status == 404;
        self.told_unsupported(call, answer);
        self.looks.push(Look { instance, sent, answered, seen, is_missing });
    }

    pub fn modified(&mut self, call: &Call, answer: &Answer, at: Instant) {
        self.told_unsupported(call, answer);
        let token = call.body["ClientToken"].as_str().unwrap_or_default();
        let modify = self.modifies.iter_mut().find(|modify| modify.token == token);
        let Some(modify) = modify else { return };
        if answer.is_good() {
            modify.accepted = Some(at);
        } else if answer.code().as_deref() == Some("InstanceNotExist") {
            // It tells as much as a look does.
            let (instance, sent) = (modify.instance.clone(), modify.sent);
            self.looks.push(Look { instance, sent, answered: at, seen: None, is_missing: true });
        }
    }

    fn told_unsupported(&mut self, call: &Call, answer: &Answer) {
        if answer.code().as_deref() == Some("InvalidOperator") {
            self.unsupported.insert(call.instance().to_owned());
        }
    }
}

fn is_shut(account: &Value) -> bool {
    account["spec"]["suspend"] == true || account["spec"]["permissions"]["manage"] == false
}
