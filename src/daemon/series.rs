//! How the budget was kept over the last hour: bounded, in memory.
//!
//! Owns samples taken every 10 s. Reads no clock and asks nobody: it is handed a status.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{OTHERS, Status};

/// Time between two samples.
pub const STEP: Duration = Duration::from_secs(10);
/// How many samples are kept: an hour.
pub const SAMPLES_KEPT: usize = 360;
/// How many make up the last minute.
const RECENT: usize = 6;
/// Clients told apart in one sample; the smallest beyond that are summed up as `others`.
const CLIENTS_MOST: usize = 24;

/// The budget in one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Sample")]
pub struct BudgetSample {
    /// The end of the step, in seconds since 1970.
    pub at: f64,
    /// What was allowed, in percent of one core.
    pub requested: f64,
    /// What was used in the step, in percent of one core.
    pub measured: f64,
    /// Each client's part of `measured`; those that used nothing are left out.
    pub clients: BTreeMap<String, f64>,
}

/// The last hour.
#[derive(Debug, Default)]
pub struct Series {
    samples: VecDeque<BudgetSample>,
    last: Option<CostSample>,
}

/// What the clients had cost at a moment.
#[derive(Debug)]
struct CostSample {
    at: Duration,
    costs: BTreeMap<String, f64>,
}

impl Series {
    /// Takes a sample: a status, and the moment by the monotonic clock and by the wall clock.
    pub fn take(&mut self, status: &Status, now: Duration, unix_secs: f64) -> Option<BudgetSample> {
        let costs: BTreeMap<String, f64> =
            status.budget.clients.iter().map(|client| (client.name.clone(), client.cost_secs)).collect();
        let before = self.last.replace(CostSample { at: now, costs })?;
        let elapsed = now.saturating_sub(before.at).as_secs_f64();
        if elapsed <= 0.0 {
            return None;
        }
        let after = &self.last.as_ref()?.costs;
        // Those that are no longer told apart: what they had cost by then, the others did not use in this step.
        let gone: f64 = before.costs.iter().filter(|(name, _)| !after.contains_key(*name)).map(|(_, cost)| cost).sum();
        let part = |(name, cost): (&String, &f64)| {
            let moved = if name == OTHERS { gone } else { 0.0 };
            // What is out is counted up to the moment and may cost less in the end.
            let used = (cost - before.costs.get(name).unwrap_or(&0.0) - moved).max(0.0);
            (name.clone(), round(100.0 * used / elapsed))
        };
        let clients = largest(after.iter().map(part).filter(|(_, percent)| *percent > 0.0).collect());
        let measured = round(clients.values().sum());
        let sample = BudgetSample { at: unix_secs, requested: status.budget.requested_percentage, measured, clients };
        if self.samples.len() >= SAMPLES_KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample.clone());
        Some(sample)
    }

    /// All samples, the oldest first.
    pub fn samples(&self) -> Vec<BudgetSample> {
        self.samples.iter().cloned().collect()
    }

    /// What was used over the last minute, in percent of one core; `None` before the first sample.
    pub fn last_minute(&self) -> Option<f64> {
        mean(self.samples.iter().rev().take(RECENT).map(|sample| sample.measured))
    }

    /// What was used over the last hour.
    pub fn last_hour(&self) -> Option<f64> {
        mean(self.samples.iter().map(|sample| sample.measured))
    }

    /// What a client used over the last minute.
    pub fn client(&self, name: &str) -> Option<f64> {
        mean(self.samples.iter().rev().take(RECENT).map(|sample| sample.clients.get(name).copied().unwrap_or(0.0)))
    }
}

fn largest(clients: BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    if clients.len() <= CLIENTS_MOST {
        return clients;
    }
    let mut sorted: Vec<(String, f64)> = clients.into_iter().collect();
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
    let others: f64 = sorted.drain(CLIENTS_MOST..).map(|(_, percent)| percent).sum();
    let mut kept: BTreeMap<String, f64> = sorted.into_iter().collect();
    *kept.entry(OTHERS.to_owned()).or_default() += others;
    kept
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// To a thousandth of a percent: nobody sees more, and the JSON stays short.
fn round(percent: f64) -> f64 {
    (percent * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Board, ClientStatus};

    /// A status in which clients have cost so many seconds.
    fn status(costs: &[(&str, f64)]) -> Status {
        let mut status = Board::unused().status();
        for (name, cost_secs) in costs {
            let name = (*name).to_owned();
            status.budget.clients.push(ClientStatus { name, cost_secs: *cost_secs, ..ClientStatus::default() });
        }
        status
    }

    #[test]
    fn a_sample_says_what_each_client_used_in_its_step() {
        let mut series = Series::default();
        assert_eq!(series.take(&status(&[("a", 5.0)]), Duration::from_secs(100), 1.0), None);
        let sample = series.take(&status(&[("a", 6.0), ("b", 0.5)]), Duration::from_secs(110), 2.0).unwrap();
        assert_eq!((sample.at, sample.requested, sample.measured), (2.0, 10.0, 15.0));
        assert_eq!(sample.clients, BTreeMap::from([("a".to_owned(), 10.0), ("b".to_owned(), 5.0)]));
        assert_eq!((series.last_minute(), series.client("b")), (Some(15.0), Some(5.0)));
        // What was out may have cost less in the end.
        series.take(&status(&[("a", 5.9)]), Duration::from_secs(120), 3.0);
        assert_eq!(series.last_hour(), Some(7.5));
    }

    #[test]
    fn a_client_that_is_counted_among_the_others_has_used_only_what_it_used() {
        let mut series = Series::default();
        series.take(&status(&[("a", 500.0), ("b", 1.0)]), Duration::from_secs(100), 1.0);
        let sample = series.take(&status(&[("b", 2.0), (OTHERS, 500.5)]), Duration::from_secs(110), 2.0).unwrap();
        assert_eq!(sample.clients, BTreeMap::from([("b".to_owned(), 10.0), (OTHERS.to_owned(), 5.0)]));
    }

    #[test]
    fn an_hour_is_kept_and_clients_are_bounded() {
        let mut series = Series::default();
        let names: Vec<String> = (0..100).map(|i| format!("c{i:02}")).collect();
        for step in 0..SAMPLES_KEPT as u64 + 50 {
            let costs: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), step as f64 / 1000.0)).collect();
            series.take(&status(&costs), STEP * step as u32, step as f64);
        }
        let samples = series.samples();
        assert_eq!((samples.len(), samples[0].at), (SAMPLES_KEPT, 50.0));
        assert_eq!(samples[0].clients.len(), CLIENTS_MOST + 1);
        assert!((samples[0].clients["others"] - 0.76).abs() < 1e-6, "{:?}", samples[0].clients["others"]);
        assert!((samples[0].measured - 1.0).abs() < 1e-6);
    }
}
