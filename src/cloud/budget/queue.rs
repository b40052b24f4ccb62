//! Fair queue of waiting calls: round-robin over namespaces, then over the resources of a namespace, FIFO within a
//! resource. Push, pop and remove take logarithmic time in the number of waiters.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::Arc;

use crate::cloud::{CallContext, Priority};

pub struct Queue<W> {
    namespaces: RoundRobin<NamespaceQueue<W>>,
    last_ticket: u64,
}

/// Position of a waiter in a [`Queue`].
pub struct QueuePosition {
    pub priority: Priority,
    namespace: Arc<str>,
    resource: Arc<str>,
    ticket: u64,
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { namespaces: RoundRobin::default(), last_ticket: 0 }
    }
}

impl<W> Queue<W> {
    /// Appends a waiter behind the other waiters of its resource.
    pub fn push(&mut self, call_context: &CallContext, waiter: W) -> QueuePosition {
        self.last_ticket += 1;
        let (namespace, resource) = (call_context.namespace().clone(), call_context.resource().clone());
        let resources = self.namespaces.member(&namespace).of(call_context.priority());
        resources.member(&resource).push(self.last_ticket, waiter);
        QueuePosition { priority: call_context.priority(), namespace, resource, ticket: self.last_ticket }
    }

    /// Removes and returns the next waiter.
    pub fn pop(&mut self) -> Option<W> {
        self.namespaces.pop()
    }

    /// Removes a waiter; `None` if it was popped before.
    pub fn remove(&mut self, position: &QueuePosition) -> Option<W> {
        self.namespaces.within(&position.namespace, |namespace| {
            namespace.of(position.priority).within(&position.resource, |line| line.remove(position.ticket))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }

    /// Returns the number of namespaces with waiters.
    pub fn namespaces(&self) -> usize {
        self.namespaces.members.len()
    }

    /// Returns the namespace with waiters, if it is the only one.
    pub fn only_namespace(&self) -> Option<&Arc<str>> {
        self.namespaces.members.keys().next().filter(|_| self.namespaces() == 1)
    }
}

/// Queue that a [`RoundRobin`] serves round-robin.
trait SubQueue: Default {
    type Waiter;
    fn is_empty(&self) -> bool;
    fn pop(&mut self) -> Option<Self::Waiter>;
}

/// FIFO of the waiting calls of one resource, by ticket number. Most resources have one, which needs no allocation: the
/// first node of a map has room for eleven.
struct ResourceQueue<W> {
    /// `None` if no call waits.
    first: Option<(u64, W)>,
    others: BTreeMap<u64, W>,
}

impl<W> Default for ResourceQueue<W> {
    fn default() -> Self {
        Self { first: None, others: BTreeMap::new() }
    }
}

impl<W> ResourceQueue<W> {
    fn push(&mut self, ticket: u64, waiter: W) {
        if self.first.is_none() {
            self.first = Some((ticket, waiter));
        } else {
            self.others.insert(ticket, waiter);
        }
    }

    fn remove(&mut self, ticket: u64) -> Option<W> {
        if self.first.as_ref().is_some_and(|(first, _)| *first == ticket) {
            self.pop()
        } else {
            self.others.remove(&ticket)
        }
    }
}

impl<W> SubQueue for ResourceQueue<W> {
    type Waiter = W;

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn pop(&mut self) -> Option<W> {
        let next = self.others.pop_first();
        mem::replace(&mut self.first, next).map(|(_, waiter)| waiter)
    }
}

/// Waiters of one namespace. Calls of reconciles in progress go first, so that new reconciles wait until those have
/// finished: a reconcile makes few calls. Pages of shared listings alternate with the remaining calls, however many
/// wait: each page saves other calls.
struct NamespaceQueue<W> {
    in_progress: RoundRobin<ResourceQueue<W>>,
    listings: RoundRobin<ResourceQueue<W>>,
    others: RoundRobin<ResourceQueue<W>>,
    /// Whether the last waiter popped from `listings` or `others` was a listing's.
    last_was_listing: bool,
}

impl<W> Default for NamespaceQueue<W> {
    fn default() -> Self {
        Self {
            in_progress: RoundRobin::default(),
            listings: RoundRobin::default(),
            others: RoundRobin::default(),
            last_was_listing: false,
        }
    }
}

impl<W> NamespaceQueue<W> {
    fn of(&mut self, priority: Priority) -> &mut RoundRobin<ResourceQueue<W>> {
        match priority {
            Priority::InProgress => &mut self.in_progress,
            Priority::Listing => &mut self.listings,
            Priority::FollowUp { .. } | Priority::Change | Priority::Poll => &mut self.others,
        }
    }
}

impl<W> SubQueue for NamespaceQueue<W> {
    type Waiter = W;

    fn is_empty(&self) -> bool {
        self.in_progress.is_empty() && self.listings.is_empty() && self.others.is_empty()
    }

    fn pop(&mut self) -> Option<W> {
        if let Some(in_progress) = self.in_progress.pop() {
            return Some(in_progress);
        }
        self.last_was_listing =
            !self.listings.is_empty() && (!self.last_was_listing || self.others.is_empty());
        if self.last_was_listing { self.listings.pop() } else { self.others.pop() }
    }
}

/// Round-robin over named members, none of which is empty. A new member joins at the end; a served one moves to the
/// end.
struct RoundRobin<M> {
    /// Each with its key in `order`.
    members: HashMap<Arc<str>, (u64, M)>,
    order: BTreeMap<u64, Arc<str>>,
    last_position: u64,
}

impl<M> Default for RoundRobin<M> {
    fn default() -> Self {
        Self { members: HashMap::new(), order: BTreeMap::new(), last_position: 0 }
    }
}

impl<M: SubQueue> RoundRobin<M> {
    /// Returns the member of this name, created if absent. The caller must leave it non-empty.
    fn member(&mut self, name: &Arc<str>) -> &mut M {
        let (_, member) = self.members.entry(name.clone()).or_insert_with(|| {
            self.last_position += 1;
            self.order.insert(self.last_position, name.clone());
            (self.last_position, M::default())
        });
        member
    }

    /// Applies `take` to the member of this name, if there is one, and removes the member if that empties it.
    fn within<T>(&mut self, name: &str, take: impl FnOnce(&mut M) -> Option<T>) -> Option<T> {
        let (position, member) = self.members.get_mut(name)?;
        let taken = take(member);
        if member.is_empty() {
            self.order.remove(position);
            self.members.remove(name);
        }
        taken
    }
}

impl<M: SubQueue> SubQueue for RoundRobin<M> {
    type Waiter = M::Waiter;

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn pop(&mut self) -> Option<M::Waiter> {
        let (_, name) = self.order.pop_first()?;
        let (position, member) = self.members.get_mut(&name)?;
        let waiter = member.pop();
        if member.is_empty() {
            self.members.remove(&name);
        } else {
            self.last_position += 1;
            *position = self.last_position;
            self.order.insert(self.last_position, name);
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tens of thousands of resources may wait, each with one map entry and one entry in the round-robin order.
    #[test]
    fn who_waits_takes_little_room() {
        assert_eq!(size_of::<QueuePosition>(), 48);
        assert_eq!(size_of::<(Arc<str>, (u64, ResourceQueue<Box<dyn FnOnce() + Send>>))>(), 72);
    }

    /// Reference model: a served member moves to the end, and an empty one is removed. Each namespace has two lists of
    /// resources: those in progress, and the others.
    #[derive(Default)]
    struct Plain(Named<[Named<Vec<u64>>; 2]>);

    type Named<T> = Vec<(usize, T)>;

    fn find<T: Default>(all: &mut Named<T>, name: usize) -> &mut T {
        let at = all.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            all.push((name, T::default()));
            all.len() - 1
        });
        &mut all[at].1
    }

    impl Plain {
        fn push(&mut self, (namespace, resource): (usize, usize), in_progress: bool, ticket: u64) {
            find(&mut find(&mut self.0, namespace)[usize::from(!in_progress)], resource).push(ticket);
        }

        fn pop(&mut self) -> Option<u64> {
            let (namespace, mut ranks) = (!self.0.is_empty()).then(|| self.0.remove(0))?;
            let resources = ranks.iter_mut().find(|resources| !resources.is_empty())?;
            let (resource, mut line) = resources.remove(0);
            let ticket = line.remove(0);
            if !line.is_empty() {
                resources.push((resource, line));
            }
            if ranks.iter().any(|resources| !resources.is_empty()) {
                self.0.push((namespace, ranks));
            }
            Some(ticket)
        }

        fn remove(&mut self, ticket: u64) {
            for resources in self.0.iter_mut().flat_map(|(_, ranks)| ranks) {
                resources.iter_mut().for_each(|(_, line)| line.retain(|t| *t != ticket));
                resources.retain(|(_, line)| !line.is_empty());
            }
            self.0.retain(|(_, ranks)| ranks.iter().any(|resources| !resources.is_empty()));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize, usize, bool),
        Pop,
        /// Removes the waiter pushed this many before the last one, whether it still waits or not.
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4usize, 0..3usize, any::<bool>()).prop_map(|(n, r, in_progress)| Step::Push(n, r, in_progress)),
            1 => Just(Step::Pop),
            1 => (0..12usize).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn turns_are_those_of_the_plain_rule_whoever_comes_and_goes(steps in prop::collection::vec(step(), 0..200)) {
            let callers: Vec<Vec<_>> = (0..4)
                .map(|n| (0..3).map(|r| CallContext::new(&format!("n{n}"), &format!("r{r}"))).collect())
                .collect();
            let (mut queue, mut plain, mut came) = (Queue::default(), Plain::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(n, r, in_progress) => {
                        let ticket = came.len() as u64 + 1;
                        let call_context = callers[n][r].clone().with_priority(if in_progress { Priority::InProgress } else { Priority::Change });
                        came.push(queue.push(&call_context, ticket));
                        plain.push((n, r), in_progress, ticket);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop(), plain.pop()),
                    Step::Remove(back) => if let Some(at) = came.len().checked_sub(back + 1) {
                        let ticket = at as u64 + 1;
                        let left = queue.remove(&came[at]);
                        prop_assert!(left.is_none_or(|waiter| waiter == ticket));
                        plain.remove(ticket);
                    },
                }
            }
            while let Some(ticket) = plain.pop() {
                prop_assert_eq!(queue.pop(), Some(ticket));
            }
            prop_assert_eq!(queue.pop(), None);
            prop_assert!(queue.namespaces.is_empty() && queue.namespaces.order.is_empty());
        }
    }
}
