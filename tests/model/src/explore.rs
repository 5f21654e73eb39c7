// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the models share: processes that step or are killed, the exploration of all states, and what is asked of it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use crate::{Fault, Mutation};

/// A model: processes, each of which stands at a label.
pub trait Protocol: Copy + Debug + Send + Sync + 'static {
    type State: Copy + Eq + Hash + Debug + Send + Sync + 'static;
    type Label: Copy + PartialEq + Debug + Send + Sync + 'static;
    const PROCESSES: usize;

    /// The same without a guard.
    fn without(self, guard: Mutation) -> Self;
    fn start(&self) -> Self::State;
    fn fault(state: &Self::State) -> Option<Fault>;
    /// Where process `p` stands.
    fn label(state: &Self::State, p: usize) -> Self::Label;
    fn may_step(&self, state: &Self::State, p: usize) -> bool;
    fn may_kill(&self, state: &Self::State, p: usize) -> bool;
    fn step(&self, state: &mut Self::State, p: usize);
    fn kill(&self, state: &mut Self::State, p: usize);
    /// Looks where a state leads that somebody has just come to, and notes the fault there.
    fn look_ahead(&self, state: &mut Self::State);
}

/// What happens next: a process takes a step or is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action<Label> {
    Step(u8, Label),
    Kill(u8),
}

/// A protocol as stateright sees it.
pub(crate) struct Explored<P>(P);

impl<P: Protocol> Model for Explored<P> {
    type State = P::State;
    type Action = Action<P::Label>;

    fn init_states(&self) -> Vec<P::State> {
        vec![self.0.start()]
    }

    fn actions(&self, state: &P::State, actions: &mut Vec<Self::Action>) {
        if P::fault(state).is_some() {
            return;
        }
        for p in 0..P::PROCESSES {
            if self.0.may_step(state, p) {
                actions.push(Action::Step(p as u8, P::label(state, p)));
            }
            if self.0.may_kill(state, p) {
                actions.push(Action::Kill(p as u8));
            }
        }
    }

    fn next_state(&self, state: &P::State, action: Self::Action) -> Option<P::State> {
        let mut next = *state;
        match action {
            Action::Step(p, _) => self.0.step(&mut next, p as usize),
            Action::Kill(p) => self.0.kill(&mut next, p as usize),
        }
        if P::fault(&next).is_none() {
            self.0.look_ahead(&mut next);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::properties()
    }
}

/// What an exploration found.
#[derive(Debug)]
struct Outcome {
    states: usize,
    /// The properties that don't hold, each with the steps that lead there.
    faults: Vec<(String, String)>,
}

/// Explores all states of `model`; or, `until` there is one, until the property fails.
fn explore<P: Protocol>(model: P, until: Option<Fault>) -> Outcome {
    let name = until.map(|fault| format!("{fault:?}"));
    let model = Explored(model);
    let properties = model.properties();
    let wanted =
        properties.iter().map(|property| property.name).find(|&known| Some(known) == name.as_deref());
    let end = match wanted {
        Some(wanted) => HasDiscoveries::AnyOf(BTreeSet::from([wanted])),
        None => HasDiscoveries::AnyFailures,
    };
    let checker = model.checker().threads(2).finish_when(end).spawn_bfs().join();
    let faults = checker.discoveries().into_iter().map(|(name, path)| {
        let steps: Vec<String> = path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        (name.to_owned(), steps.join(", "))
    });
    Outcome { states: checker.unique_state_count(), faults: faults.collect() }
}

/// Asserts that nothing is found in `models`, and that somebody was at each of the `labels` in them, but for those where `never`.
pub fn assert_nothing_is_found<P: Protocol>(models: &[P], labels: usize, never: &[usize]) {
    let mut all = 0;
    for &model in models {
        let from = Instant::now();
        let outcome = explore(model, None);
        println!("{model:?}: {} states in {:?}", outcome.states, from.elapsed());
        assert!(outcome.faults.is_empty(), "{model:?}: {:?}", outcome.faults);
        all += outcome.states;
    }
    println!("{all} states");
    let missed: Vec<usize> = unreached(labels).into_iter().filter(|label| !never.contains(label)).collect();
    assert!(missed.is_empty(), "nobody was ever at the labels {missed:?}");
}

/// Asserts that each guard is missed: without it the model has the fault.
pub fn assert_each_is_found<P: Protocol>(missing: &[(Mutation, Fault, P)]) {
    for &(guard, fault, model) in missing {
        let from = Instant::now();
        let outcome = explore(model.without(guard), Some(fault));
        println!("{guard:?}: {} states in {:?}", outcome.states, from.elapsed());
        let found = outcome.faults.iter().find(|(name, _)| *name == format!("{fault:?}"));
        assert!(found.is_some(), "{guard:?}: {fault:?} isn't found, but {:?}", outcome.faults);
    }
}

/// Asserts that nothing is found without `guard` either.
pub fn assert_guards_nothing<P: Protocol>(guard: Mutation, model: P) {
    let outcome = explore(model.without(guard), None);
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
}

/// One bit a label: a label that is never reached proves nothing.
static REACHED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

pub(crate) fn reach(label: usize) {
    let (word, bit) = (&REACHED[label / 64], 1 << (label % 64));
    // Relaxed, both: only looked at when all is done.
    if word.load(Ordering::Relaxed) & bit == 0 {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

/// The labels below `count` at which no process of this program ever stood.
fn unreached(count: usize) -> Vec<usize> {
    (0..count).filter(|&label| REACHED[label / 64].load(Ordering::Relaxed) >> (label % 64) & 1 == 0).collect()
}
