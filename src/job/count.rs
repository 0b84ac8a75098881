//! The job `count`: counts the buckets of each prefix, opens none.
//!
//! Every name in a prefix is a bucket to it, strays too; the walk says beside it how
//! many are none.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{CycleView, Fold, Job, PrefixWalk, Stopped, Tally, Unreadable};
use crate::store::Store;

/// Counts buckets. Works on any store.
#[derive(Debug, Clone, Copy, Default)]
pub struct Count;

/// The tally of [`Count`]: nothing, since the walk itself counts the buckets of each prefix.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoTally {}

impl Tally for NoTally {
    fn merge(&mut self, _later: NoTally) {}
}

impl<S: Store> Job<S> for Count {
    type Tally = NoTally;
    type Part = ();

    fn name(&self) -> &str {
        "count"
    }

    /// Not called: whole prefixes are counted.
    fn process_bucket(&self, _bucket: &mut S::Bucket<'_>, _fold: &mut Fold<'_, NoTally>) -> Result<(), Unreadable> {
        Ok(())
    }

    fn process_prefix(&self, walk: &mut PrefixWalk<'_, S, Self>) -> Result<(), Stopped> {
        walk.count_rest();
        Ok(())
    }

    /// `prefixes`: how many buckets each prefix has, for those that have any. `objects` is `null`: none was looked for.
    fn report(&self, cycle: &CycleView<'_, NoTally>) -> Map<String, Value> {
        let counted = cycle.prefixes.iter().filter(|(_, buckets)| *buckets > 0);
        let prefixes: Map<String, Value> = counted.map(|(prefix, buckets)| (prefix.clone(), json!(buckets))).collect();
        Map::from_iter([("prefixes".to_owned(), Value::Object(prefixes)), ("objects".to_owned(), Value::Null)])
    }
}
