//! What the feature `testing` gives, used as the author of a state, a store or a job does. Simulated time is what all of
//! `simulated` runs by.

use std::time::Duration;

use sexton::job::testing::{Stops, walk};
use sexton::state::StateStore;
use sexton::state::contract::{Backend, tests};

use crate::simulated::world::{EPOCH, SimClock, SimJob, SimStore};
use crate::simulated::world_state::SimState;

impl Backend for SimState {
    fn fresh() -> Self {
        SimState::sound()
    }

    fn store(&mut self) -> &mut dyn StateStore {
        self
    }

    fn reopen(&mut self) {
        SimState::reopen(self);
    }
}

#[test]
fn a_state_of_ones_own_holds_the_contract() {
    let tests = tests::<SimState>();
    assert!(tests.len() > 30, "{}", tests.len());
    for (name, test) in tests {
        println!("{name}");
        test();
    }
}

#[test]
fn a_job_of_ones_own_comes_to_the_same_wherever_it_is_stopped() {
    let clock = SimClock::new();
    let (store, unit) = (SimStore::new(&clock, 5, 8), Duration::from_millis(1));
    let visited = |stops| {
        let job = SimJob::new(&clock, move |_| unit);
        let walked = walk(&store, &job, EPOCH, stops);
        let buckets = job.visited.lock().unwrap().len();
        (walked.tally.0, walked.counts.buckets, walked.prefixes, walked.saved, buckets)
    };
    let whole = visited(Stops::Never);
    assert_eq!((whole.0, whole.1, whole.2.len(), whole.4), (40, 40, 5, 40));
    assert_eq!(visited(Stops::Every(3)), whole);
}
