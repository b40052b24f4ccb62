//! Who waits, and whose turn it is: round-robin over namespaces, within one over its resources, within one in the order
//! of coming. Coming, going and being served take logarithmic time in the number of those who wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cloud::Caller;

pub struct Queue<W> {
    namespaces: Ring<Ring<Line<W>>>,
    last_ticket: u64,
}

/// The waiting calls of one resource, by ticket.
type Line<W> = BTreeMap<u64, W>;

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { namespaces: Ring::default(), last_ticket: 0 }
    }
}

impl<W> Queue<W> {
    /// Takes a place behind the caller's own; returns the ticket to leave it with.
    pub fn push(&mut self, caller: &Caller, waiter: W) -> u64 {
        self.last_ticket += 1;
        let resources = self.namespaces.member(caller.namespace());
        resources.member(caller.resource()).insert(self.last_ticket, waiter);
        self.last_ticket
    }

    /// Whose turn it is.
    pub fn pop(&mut self) -> Option<W> {
        self.namespaces.pop()
    }

    /// Leaves the place; `None` where its turn has been.
    pub fn remove(&mut self, caller: &Caller, ticket: u64) -> Option<W> {
        self.namespaces.within(caller.namespace(), |resources| {
            resources.within(caller.resource(), |line| line.remove(&ticket))
        })
    }
}

/// What is served by turns.
trait Served: Default {
    type Waiter;
    fn is_empty(&self) -> bool;
    fn pop(&mut self) -> Option<Self::Waiter>;
}

impl<W> Served for Line<W> {
    type Waiter = W;

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn pop(&mut self) -> Option<W> {
        self.pop_first().map(|(_, waiter)| waiter)
    }
}

/// Members that take turns. Who comes is the last to have a turn, and so is who just had one. None is empty.
struct Ring<M> {
    /// Each with its place.
    members: HashMap<Arc<str>, (u64, M)>,
    places: BTreeMap<u64, Arc<str>>,
    last_place: u64,
}

impl<M> Default for Ring<M> {
    fn default() -> Self {
        Self { members: HashMap::new(), places: BTreeMap::new(), last_place: 0 }
    }
}

impl<M: Served> Ring<M> {
    /// The member of this name, which the caller leaves not empty.
    fn member(&mut self, name: &Arc<str>) -> &mut M {
        let (_, member) = self.members.entry(name.clone()).or_insert_with(|| {
            self.last_place += 1;
            self.places.insert(self.last_place, name.clone());
            (self.last_place, M::default())
        });
        member
    }

    /// Takes something out of the member, if there is one of this name.
    fn within<T>(&mut self, name: &str, take: impl FnOnce(&mut M) -> Option<T>) -> Option<T> {
        let (place, member) = self.members.get_mut(name)?;
        let taken = take(member);
        if member.is_empty() {
            self.places.remove(place);
            self.members.remove(name);
        }
        taken
    }
}

impl<M: Served> Served for Ring<M> {
    type Waiter = M::Waiter;

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn pop(&mut self) -> Option<M::Waiter> {
        let (_, name) = self.places.pop_first()?;
        let (place, member) = self.members.get_mut(&name)?;
        let waiter = member.pop();
        if member.is_empty() {
            self.members.remove(&name);
        } else {
            self.last_place += 1;
            *place = self.last_place;
            self.places.insert(self.last_place, name);
        }
        waiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule in its plainest form: whoever had a turn goes to the end, and who has nobody left leaves.
    #[derive(Default)]
    struct Plain(Named<Named<Vec<u64>>>);

    type Named<T> = Vec<(usize, T)>;

    fn find<T: Default>(all: &mut Named<T>, name: usize) -> &mut T {
        let at = all.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            all.push((name, T::default()));
            all.len() - 1
        });
        &mut all[at].1
    }

    impl Plain {
        fn push(&mut self, (namespace, resource): (usize, usize), ticket: u64) {
            find(find(&mut self.0, namespace), resource).push(ticket);
        }

        fn pop(&mut self) -> Option<u64> {
            let (namespace, mut resources) = (!self.0.is_empty()).then(|| self.0.remove(0))?;
            let (resource, mut line) = resources.remove(0);
            let ticket = line.remove(0);
            if !line.is_empty() {
                resources.push((resource, line));
            }
            if !resources.is_empty() {
                self.0.push((namespace, resources));
            }
            Some(ticket)
        }

        fn remove(&mut self, ticket: u64) {
            for (_, resources) in &mut self.0 {
                resources.iter_mut().for_each(|(_, line)| line.retain(|t| *t != ticket));
                resources.retain(|(_, line)| !line.is_empty());
            }
            self.0.retain(|(_, resources)| !resources.is_empty());
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(usize, usize),
        Pop,
        /// Whoever came so many before the last one, whether it still waits or not.
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4usize, 0..3usize).prop_map(|(namespace, resource)| Step::Push(namespace, resource)),
            1 => Just(Step::Pop),
            1 => (0..12usize).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn turns_are_those_of_the_plain_rule_whoever_comes_and_goes(steps in prop::collection::vec(step(), 0..200)) {
            let callers: Vec<Vec<_>> = (0..4)
                .map(|n| (0..3).map(|r| Caller::new(&format!("n{n}"), &format!("r{r}"))).collect())
                .collect();
            let (mut queue, mut plain, mut came) = (Queue::default(), Plain::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Push(n, r) => {
                        let ticket = queue.push(&callers[n][r], came.len() as u64 + 1);
                        prop_assert_eq!(ticket, came.len() as u64 + 1);
                        plain.push((n, r), ticket);
                        came.push(&callers[n][r]);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop(), plain.pop()),
                    Step::Remove(back) => if let Some(at) = came.len().checked_sub(back + 1) {
                        let ticket = at as u64 + 1;
                        let left = queue.remove(came[at], ticket);
                        prop_assert!(left.is_none_or(|waiter| waiter == ticket));
                        plain.remove(ticket);
                    },
                }
            }
            while let Some(ticket) = plain.pop() {
                prop_assert_eq!(queue.pop(), Some(ticket));
            }
            prop_assert_eq!(queue.pop(), None);
            prop_assert!(queue.namespaces.is_empty() && queue.namespaces.places.is_empty());
        }
    }
}
