//! What is done next: decided by the seed alone, whatever becomes of it, so that a run can be had again.

use std::collections::VecDeque;
use std::time::Duration;

use cloud_simulator::Policy;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::trouble::{self, Trouble};

pub const TARGETS: [&str; 2] = ["cn-shanghai", "cn-guangzhou"];
/// The ClusterCloudAccount.
pub const SHARED: &str = "shared";
/// The longest pause between two steps.
const PAUSE_MS: u64 = 400;
/// Between two blows: a standby waits up to 15 s for the Lease of a leader that was killed, and some shall be in time to work.
const BLOWS: std::ops::Range<u64> = 8_000..16_000;

/// What Ready says where the shared account does not allow the namespace.
pub const NOT_ALLOWED: (&str, &str) = ("AccountNotAllowed", "False");

/// A reference to the account that is shared, or to the namespace's own.
pub fn account(shared: bool) -> Value {
    let (kind, name) = if shared { ("ClusterCloudAccount", SHARED) } else { ("CloudAccount", "prod") };
    json!({"kind": kind, "name": name})
}

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub active: bool,
    pub target: &'static str,
    pub suspend: bool,
    pub observe: bool,
    pub disable: bool,
    /// It uses the ClusterCloudAccount.
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

    /// Whether the cloud holds what is wanted: without `active` the target does not count.
    pub fn is_held(&self, policy: &Policy) -> bool {
        policy.active == self.active && (!self.active || policy.region == self.target)
    }

    /// The reason of Ready once there is nothing left to do, and its status.
    pub fn verdict(&self, held: &Policy, allowed: bool) -> (&'static str, &'static str) {
        match (self.suspend, self.observe, self.is_held(held)) {
            (true, ..) => ("Suspended", "Unknown"),
            _ if self.shared && !allowed => NOT_ALLOWED,
            (false, true, true) => ("Observed", "True"),
            (false, true, false) => ("DriftDetected", "False"),
            // Also where the cloud differs: a look that has not come yet is no verdict.
            (false, false, _) => ("InSync", "True"),
        }
    }

    /// Whether the operator looks at its instance, where the shared account allows it or not.
    pub fn looks(&self, allowed: bool) -> bool {
        !self.suspend && (!self.shared || allowed)
    }

    pub fn manages(&self, allowed: bool) -> bool {
        self.looks(allowed) && !self.observe
    }
}

/// Which of the two replicas.
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
    /// The copy of this number of an instance comes, or the newest one, which has it, goes.
    Copied(usize, usize),
    Expired(usize, usize),
    /// The shared account allows the namespace, or does so no more.
    Allow(bool),
    /// The account's key is replaced; the old one stays good for a while, or not.
    Rotate {
        overlap: bool,
    },
    Trouble(Trouble),
    Blow(Blow),
}

impl Step {
    /// How long nothing else is done meanwhile.
    pub fn takes(&self) -> Duration {
        match self {
            Self::Blow(Blow::ApiServer(length)) => *length,
            _ => Duration::ZERO,
        }
    }

    /// Its line in the table of what was done.
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
    /// What is declared for each instance, if anything.
    pub wanted: Vec<Option<Wanted>>,
    /// How many backups of each instance the cloud holds.
    pub backups: Vec<usize>,
    /// Whether the shared account allows the namespace.
    pub allowed: bool,
    /// The instances without a policy, the one that lost it first in front: its resource is gone by the time it gets a new one.
    bare: VecDeque<usize>,
    troubles: Deck<Trouble>,
    blows: Deck<Blow>,
    until_blow: Duration,
}

impl Decider {
    /// Most instances have a policy at first.
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

    /// The next step and the pause before it.
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
        // Half of them are always there.
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

    /// An instance that has a policy.
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
        // Shorter than the leader's own term, and longer than the Lease.
        Blow::Freeze(Who::Leader, seconds(4)),
        Blow::Freeze(Who::Leader, seconds(20)),
        Blow::Terminate(Who::Standby),
        Blow::Kill(Who::Standby),
        Blow::Freeze(Who::Standby, seconds(6)),
        Blow::ApiServer(Duration::ZERO),
        Blow::ApiServer(seconds(12)),
    ]
}

/// All cards in some order, then all in another: even a short run sees each.
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
