//! A random walk through all calls, compared step by step with a model that knows nothing but the trait's documentation.

use proptest::prelude::*;

use super::{Backend, begun, note, notes, progress, with_notes};
use crate::error::Error;
use crate::job::NoteKind;
use crate::policy::cycle::CycleKey;
use crate::state::{Claim, PrefixRow};

const RING: usize = 4;

#[derive(Debug, Clone)]
enum Operation {
    Begin,
    Claim(u32),
    /// Claims by how long ago they were given, each with whether it is the last one, and notes of each.
    Commit(Vec<(usize, bool)>, usize),
    Release(Vec<usize>),
    Deliver,
    Reopen,
}

fn step() -> impl Strategy<Value = Operation> {
    let picks = || prop::collection::vec((0usize..6, prop::bool::weighted(0.4)), 1..4);
    prop_oneof![
        1 => Just(Operation::Begin),
        6 => (0u32..4).prop_map(Operation::Claim),
        8 => (picks(), 0usize..3).prop_map(|(picks, notes)| Operation::Commit(picks, notes)),
        2 => prop::collection::vec(0usize..6, 1..3).prop_map(Operation::Release),
        1 => Just(Operation::Deliver),
        1 => Just(Operation::Reopen),
    ]
}

/// What the trait's documentation says about one cycle.
#[derive(Debug, Clone, Default)]
struct Model {
    text: [Option<String>; RING],
    done: [bool; RING],
    notes: [u64; RING],
    /// The fence of the claim in force.
    held: [Option<u64>; RING],
    delivered: bool,
}

struct ContractWalk<B> {
    backend: B,
    model: Option<(CycleKey, Model)>,
    given: Vec<(CycleKey, Claim)>,
    highest: [u64; RING],
}

impl<B: Backend> ContractWalk<B> {
    fn pick(&self, ago: usize) -> Option<(CycleKey, Claim)> {
        self.given.len().checked_sub(1 + ago).map(|at| self.given[at].clone())
    }

    fn step(&mut self, number: usize, step: Operation) {
        match step {
            Operation::Begin => {
                let key = begun(self.backend.store(), RING);
                assert_eq!(key.number, self.model.as_ref().map_or(0, |(old, _)| old.number + 1));
                self.model = Some((key, Model::default()));
                self.highest = [0; RING];
            }
            Operation::Claim(most) => self.claim(most),
            Operation::Commit(picks, notes) => self.commit(number, &picks, notes),
            Operation::Release(picks) => {
                for (key, claim) in picks.iter().filter_map(|ago| self.pick(*ago)).collect::<Vec<_>>() {
                    self.backend.store().release(&key, &[(claim.prefix, claim.fence)]).unwrap();
                    match &mut self.model {
                        Some((current, m)) if *current == key && m.held[claim.prefix as usize] == Some(claim.fence) => {
                            m.held[claim.prefix as usize] = None;
                        }
                        _ => {}
                    }
                }
            }
            Operation::Deliver => {
                let Some((key, m)) = &mut self.model else { return };
                let finished = m.done == [true; RING];
                assert_eq!(self.backend.store().deliver(key).is_ok(), finished);
                m.delivered |= finished;
            }
            Operation::Reopen => {
                self.backend.reopen();
                if let Some((_, m)) = &mut self.model {
                    m.held = [None; RING];
                }
            }
        }
    }

    fn claim(&mut self, most: u32) {
        let Some((key, m)) = &mut self.model else { return };
        let claims = self.backend.store().claim(key, most).unwrap();
        let free = (0..RING).filter(|p| !m.done[*p] && m.held[*p].is_none());
        assert_eq!(
            claims.iter().map(|c| c.prefix as usize).collect::<Vec<_>>(),
            free.take(most as usize).collect::<Vec<_>>()
        );
        for claim in claims {
            let p = claim.prefix as usize;
            assert!(claim.fence > self.highest[p]);
            assert_eq!(claim.cursor, m.text[p].clone().map(String::into_bytes));
            self.highest[p] = claim.fence;
            m.held[p] = Some(claim.fence);
            self.given.push((key.clone(), claim));
        }
    }

    fn commit(&mut self, number: usize, picks: &[(usize, bool)], notes: usize) {
        let Some((key, _)) = picks.first().and_then(|(ago, _)| self.pick(*ago)) else { return };
        let mut after = self.model.clone().filter(|(current, _)| *current == key).map(|(_, m)| m);
        let mut all = Vec::new();
        for (which, (ago, done)) in picks.iter().enumerate() {
            let Some((_, claim)) = self.pick(*ago).filter(|(of, _)| *of == key) else { continue };
            let p = claim.prefix as usize;
            let text = format!("{number}.{which}");
            let saved = after.as_ref().map_or(0, |m| m.notes[p]);
            let rows = (0..notes as u64).map(|n| note(saved + n, NoteKind::Finding)).collect();
            all.push(with_notes(progress(&claim, &text, *done), rows));
            after = after.filter(|m| m.held[p] == Some(claim.fence));
            if let Some(m) = &mut after {
                m.text[p] = Some(text);
                m.done[p] = *done;
                m.notes[p] += notes as u64;
                m.held[p] = m.held[p].filter(|_| !done);
            }
        }
        match (self.backend.store().commit(&key, &all, 9.0), after) {
            (Ok(standing), Some(m)) => {
                assert_eq!(standing.left as usize, m.done.iter().filter(|d| !**d).count());
                self.model = Some((key, m));
            }
            (Err(Error::StaleClaim { .. }), None) => {}
            (got, expected) => panic!("{got:?} where the model has {expected:?}"),
        }
    }

    /// Compares everything that can be seen.
    fn compare(&mut self) {
        let latest = self.backend.store().reader().latest("c").unwrap();
        let Some((key, m)) = &self.model else { return assert_eq!(latest, None) };
        let latest = latest.unwrap();
        assert_eq!((latest.key(), latest.delivered), (key.clone(), m.delivered));
        assert_eq!(latest.done, (0..RING as u32).filter(|p| m.done[*p as usize]).collect::<Vec<_>>());
        assert_eq!(latest.finished, (m.done == [true; RING]).then_some(9.0));
        for (row, p) in self.backend.store().reader().prefixes(key, 0).unwrap().into_iter().zip(0..) {
            let text = m.text[p].clone().map(String::into_bytes);
            assert_eq!(row, PrefixRow { prefix: p as u32, done: m.done[p], cursor: text.clone(), tally: text });
        }
        let notes = notes(self.backend.store(), key, NoteKind::Finding, u64::MAX).unwrap();
        let expected = (0..RING).flat_map(|p| (0..m.notes[p]).map(move |n| (p as u32, n)));
        assert_eq!(notes.iter().map(|(p, n)| (*p, n.number)).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
}

pub(super) fn random_walk_agrees_with_the_model<B: Backend>() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 1..60))| {
        let mut walk = ContractWalk { backend: B::fresh(), model: None, given: Vec::new(), highest: [0; RING] };
        for (number, step) in steps.into_iter().enumerate() {
            walk.step(number, step);
            walk.compare();
        }
    });
}
