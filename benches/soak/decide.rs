//! Chooses the next step of the run from the seed alone, never from the outcome of earlier steps, so that a seed
//! reproduces its run.

use std::collections::VecDeque;
use std::time::Duration;

use cloud_simulator::Policy;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::trouble::{self, Trouble};

pub const TARGETS: [&str; 2] = ["cn-shanghai", "cn-guangzhou"];
/// Name of the ClusterCloudAccount.
pub const SHARED: &str = "shared";
/// Upper bound of the pause between two steps, in ms.
const PAUSE_MS: u64 = 400;
/// Time between two process or API server failures, in ms: a standby waits up to 15 s for the Lease of a killed leader, and some
/// standbys shall take over before the next failure.
const BLOWS: std::ops::Range<u64> = 8_000..16_000;

/// Reason and status of Ready where the shared account does not allow the namespace.
pub const NOT_ALLOWED: (&str, &str) = ("AccountNotAllowed", "False");

/// Returns an `accountRef` to the shared account, or to the namespace's own.
pub fn account(shared: bool) -> Value {
    let (kind, name) = if shared { ("ClusterCloudAccount", SHARED) } else { ("CloudAccount", "prod") };
    json!({"kind": kind, "name": name})
}

/// The declared spec of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub active: bool,
    pub target: &'static str,
    pub suspend: bool,
    pub observe: bool,
    pub disable: bool,
    /// Whether the policy uses the ClusterCloudAccount.
    pub shared: bool,
}

impl Wanted {
    pub fn spec(&self) -> Value {
        json!({
            "active": self.active,
            "crossBackupRegion": self.target,
            "suspend": self.suspend,
            "managementPolicy": if self.observe { "Observe" } else { "Manage" },
            "deletionPolicy": if self.disable { "Disable" } else { "Retain" },
            "accountRef": account(self.shared),
        })
    }

    /// Whether the cloud's policy matches the spec; the target counts only with `active`.
    pub fn is_held(&self, policy: &Policy) -> bool {
        policy.active == self.active && (!self.active || policy.region == self.target)
    }

    /// Returns the reason and status of Ready that a converged policy reports.
    pub fn verdict(&self, held: &Policy, allowed: bool) -> (&'static str, &'static str) {
        match (self.suspend, self.observe, self.is_held(held)) {
            (true, ..) => ("Suspended", "Unknown"),
            _ if self.shared && !allowed => NOT_ALLOWED,
            (false, true, true) => ("Observed", "True"),
            (false, true, false) => ("DriftDetected", "False"),
            // Also where the cloud differs: before its next poll the operator cannot know.
            (false, false, _) => ("InSync", "True"),
        }
    }

    /// Whether the operator polls the instance; `allowed`: whether the shared account allows the namespace.
    pub fn looks(&self, allowed: bool) -> bool {
        !self.suspend && (!self.shared || allowed)
    }

    pub fn manages(&self, allowed: bool) -> bool {
        self.looks(allowed) && !self.observe
    }
}

/// One of the two replicas.
#[derive(Clone, Copy, Debug)]
pub enum Who {
    Leader,
    Standby,
}

#[derive(Clone, Copy, Debug)]
pub enum Blow {
    Terminate(Who),
    Kill(Who),
    Freeze(Who, Duration),
    ApiServer(Duration),
}

pub enum Step {
    Create(usize, Wanted),
    Change(usize, &'static str, Wanted),
    Delete(usize),
    Drift(usize, Policy),
    /// The backup with the second number is added to the instance with the first.
    Copied(usize, usize),
    /// The newest backup of the instance, which has the second number, is removed.
    Expired(usize, usize),
    /// The shared account's allowedNamespaces starts or stops to include the namespace.
    Allow(bool),
    /// The account's access key is replaced; with `overlap`, the old one stays valid for a while.
    Rotate {
        overlap: bool,
    },
    Trouble(Trouble),
    Blow(Blow),
}

impl Step {
    /// Returns how long the step blocks the next one.
    pub fn takes(&self) -> Duration {
        match self {
            Self::Blow(Blow::ApiServer(length)) => *length,
            _ => Duration::ZERO,
        }
    }

    /// Returns the step's row label in the report.
    pub fn kind(&self) -> String {
        match self {
            Self::Create(..) => "creation".to_owned(),
            Self::Change(_, what, _) => format!("change of {what}"),
            Self::Delete(_) => "deletion".to_owned(),
            Self::Drift(..) => "drift".to_owned(),
            Self::Copied(..) => "a backup more".to_owned(),
            Self::Expired(..) => "a backup less".to_owned(),
            Self::Allow(true) => "the shared account allows the namespace".to_owned(),
            Self::Allow(false) => "the shared account allows it no more".to_owned(),
            Self::Rotate { overlap: true } => "rotation of the key".to_owned(),
            Self::Rotate { overlap: false } => "rotation without overlap".to_owned(),
            Self::Trouble(trouble) => format!("cloud: {}", trouble.name),
            Self::Blow(Blow::Terminate(who)) => format!("SIGTERM: {who:?}"),
            Self::Blow(Blow::Kill(who)) => format!("SIGKILL: {who:?}"),
            Self::Blow(Blow::Freeze(who, length)) => format!("SIGSTOP, {} s: {who:?}", length.as_secs()),
            Self::Blow(Blow::ApiServer(_)) => "restart of the API server".to_owned(),
        }
    }
}

pub struct Decider {
    rng: Rng,
    /// Declared spec by instance number; `None` where the instance has no policy.
    pub wanted: Vec<Option<Wanted>>,
    /// Number of backups in the cloud, by instance number.
    pub backups: Vec<usize>,
    /// Whether the shared account allows the namespace.
    pub allowed: bool,
    /// Instances without a policy, longest without one first: the deleted resource is gone before the instance gets a new one.
    bare: VecDeque<usize>,
    troubles: Deck<Trouble>,
    blows: Deck<Blow>,
    until_blow: Duration,
}

impl Decider {
    /// Gives all but a tenth of the instances a policy.
    pub fn new(seed: u64, policies: u32) -> Self {
        let mut rng = Rng::with_seed(seed);
        let policies = policies as usize;
        let bare = policies / 10;
        let wanted = (0..policies).map(|number| (number >= bare).then(|| any(&mut rng))).collect();
        Self {
            rng,
            wanted,
            backups: vec![0; policies],
            allowed: true,
            bare: (0..bare).collect(),
            troubles: Deck::new(trouble::all),
            blows: Deck::new(blows),
            until_blow: Duration::ZERO,
        }
    }

    pub fn living(&self) -> Vec<(usize, Wanted)> {
        let living = self.wanted.iter().enumerate();
        living.filter_map(|(number, wanted)| Some((number, wanted.clone()?))).collect()
    }

    /// Returns the next step and the pause before it.
    pub fn next(&mut self, with_blows: bool) -> (Duration, Step) {
        let pause = Duration::from_millis(self.rng.u64(0..PAUSE_MS));
        self.until_blow = self.until_blow.saturating_sub(pause);
        if with_blows && self.until_blow.is_zero() {
            self.until_blow = Duration::from_millis(self.rng.u64(BLOWS));
            return (pause, Step::Blow(self.blows.draw(&mut self.rng)));
        }
        let step = match self.rng.u32(0..100) {
            0..5 => self.create(),
            5..10 => self.delete(),
            10..35 => self.drift(),
            35..42 => {
                let trouble = self.troubles.draw(&mut self.rng);
                Step::Trouble(trouble.somewhere(&mut self.rng, self.wanted.len()))
            }
            42 => Step::Rotate { overlap: self.rng.bool() },
            43 => {
                self.allowed = !self.allowed;
                Step::Allow(self.allowed)
            }
            44..55 => self.copy(),
            _ => self.change(),
        };
        (pause, step)
    }

    fn create(&mut self) -> Step {
        let Some(number) = self.bare.pop_front() else { return self.delete() };
        let wanted = any(&mut self.rng);
        self.wanted[number] = Some(wanted.clone());
        Step::Create(number, wanted)
    }

    fn delete(&mut self) -> Step {
        // About half of the instances always keep a policy.
        if self.bare.len() * 2 >= self.wanted.len() {
            return self.create();
        }
        let number = self.one();
        self.wanted[number] = None;
        self.bare.push_back(number);
        Step::Delete(number)
    }

    fn drift(&mut self) -> Step {
        let number = self.one();
        let off = self.rng.u8(0..3) == 0;
        let to = if off { Policy::default() } else { Policy::to_region(self.target()) };
        Step::Drift(number, to)
    }

    fn copy(&mut self) -> Step {
        let number = self.rng.usize(0..self.wanted.len());
        let held = &mut self.backups[number];
        if *held > 0 && self.rng.u8(0..4) == 0 {
            *held -= 1;
            return Step::Expired(number, *held);
        }
        *held += 1;
        Step::Copied(number, *held - 1)
    }

    fn change(&mut self) -> Step {
        let number = self.one();
        let target = self.target();
        let Some(mut wanted) = self.wanted[number].clone() else { return self.drift() };
        let what = match self.rng.u8(0..11) {
            0..4 => {
                wanted.target = target;
                "target"
            }
            4..6 => {
                wanted.active = !wanted.active;
                "active"
            }
            6 => {
                wanted.disable = !wanted.disable;
                "deletionPolicy"
            }
            7 => {
                wanted.observe = !wanted.observe;
                "managementPolicy"
            }
            8 => {
                wanted.shared = !wanted.shared;
                "accountRef"
            }
            _ => {
                wanted.suspend = !wanted.suspend && self.rng.bool();
                "suspend"
            }
        };
        self.wanted[number] = Some(wanted.clone());
        Step::Change(number, what, wanted)
    }

    /// Picks an instance that has a policy.
    fn one(&mut self) -> usize {
        let living: Vec<_> = (0..self.wanted.len()).filter(|n| self.wanted[*n].is_some()).collect();
        living[self.rng.usize(0..living.len())]
    }

    fn target(&mut self) -> &'static str {
        TARGETS[self.rng.usize(0..TARGETS.len())]
    }
}

fn any(rng: &mut Rng) -> Wanted {
    Wanted {
        active: rng.u8(0..5) > 0,
        target: TARGETS[rng.usize(0..TARGETS.len())],
        suspend: rng.u8(0..10) == 0,
        observe: rng.u8(0..8) == 0,
        disable: rng.bool(),
        shared: rng.u8(0..4) == 0,
    }
}

fn blows() -> Vec<Blow> {
    let seconds = Duration::from_secs;
    vec![
        Blow::Terminate(Who::Leader),
        Blow::Kill(Who::Leader),
        // The first is shorter than the leader's renew deadline, the second longer than the Lease.
        Blow::Freeze(Who::Leader, seconds(4)),
        Blow::Freeze(Who::Leader, seconds(20)),
        Blow::Terminate(Who::Standby),
        Blow::Kill(Who::Standby),
        Blow::Freeze(Who::Standby, seconds(6)),
        Blow::ApiServer(Duration::ZERO),
        Blow::ApiServer(seconds(12)),
    ]
}

/// Draws all cards in random order, then all in another order: even a short run sees each.
struct Deck<T> {
    all: fn() -> Vec<T>,
    left: Vec<T>,
}

impl<T> Deck<T> {
    fn new(all: fn() -> Vec<T>) -> Self {
        Self { all, left: Vec::new() }
    }

    fn draw(&mut self, rng: &mut Rng) -> T {
        loop {
            if let Some(card) = self.left.pop() {
                return card;
            }
            self.left = (self.all)();
            rng.shuffle(&mut self.left);
        }
    }
}
