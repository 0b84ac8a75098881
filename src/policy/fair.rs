//! Who is served next: weighted fair queueing over the clients of one governor.
//!
//! Each client has a tag: what it has cost, divided by its weight. The waiting client with the least tag goes first; what
//! it has out counts at its usual cost. A client that comes (back) starts where the queue has come to, the tag that was
//! served last, so absence earns nothing. (Start-time fair queueing: Goyal, Vin, Cheng, SIGCOMM 1996.)

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Clients beyond this number that neither wait nor have anything out are forgotten.
pub const CLIENTS_REMEMBERED: usize = 1024;

#[derive(Debug)]
struct FairClient<T> {
    weight: f64,
    tag: f64,
    out_cost: f64,
    out: u32,
    waiting: VecDeque<(u64, T)>,
}

/// A queue of requests, each of some client; `T` is what comes back when its turn has come.
#[derive(Debug)]
pub struct FairQueue<T> {
    clients: BTreeMap<Arc<str>, FairClient<T>>,
    /// The tag at which the last request was served: where a newcomer starts.
    served: f64,
    arrivals: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { clients: BTreeMap::new(), served: 0.0, arrivals: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Takes a request in. A weight that is not a positive number counts as 1; the newest weight of a client holds.
    pub fn push(&mut self, client: &Arc<str>, weight: f64, request: T) {
        let start = self.served;
        if self.clients.len() >= CLIENTS_REMEMBERED {
            self.clients.retain(|_, c| c.out > 0 || !c.waiting.is_empty());
        }
        let weight = if weight.is_finite() && weight > 0.0 { weight } else { 1.0 };
        let entry = self.clients.entry(client.clone()).or_insert_with(|| FairClient {
            weight,
            tag: start,
            out_cost: 0.0,
            out: 0,
            waiting: VecDeque::new(),
        });
        if entry.out == 0 && entry.waiting.is_empty() {
            entry.tag = entry.tag.max(start);
        }
        entry.weight = weight;
        entry.waiting.push_back((self.arrivals, request));
        self.arrivals += 1;
    }

    /// Takes out the request that is next, with its client. Equal tags go by arrival.
    pub fn pop(&mut self) -> Option<(Arc<str>, T)> {
        let next = self.clients.iter().filter_map(|(name, c)| Some((c.effective_tag(), c.waiting.front()?.0, name)));
        let (tag, _, name) = next.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
        let name = name.clone();
        let (_, request) = self.clients.get_mut(&name)?.waiting.pop_front()?;
        self.served = self.served.max(tag);
        Some((name, request))
    }

    /// Notes that the client was given something that usually costs this much.
    pub fn granted(&mut self, client: &Arc<str>, usual_cost: f64) {
        if let Some(c) = self.clients.get_mut(client) {
            c.out += 1;
            c.out_cost += usual_cost;
        }
    }

    /// Notes what it really cost; `usual_cost` as in [`granted`](Self::granted).
    pub fn settled(&mut self, client: &Arc<str>, usual_cost: f64, cost: f64) {
        if let Some(c) = self.clients.get_mut(client) {
            c.out = c.out.saturating_sub(1);
            c.out_cost = if c.out == 0 { 0.0 } else { c.out_cost - usual_cost };
            c.tag += cost / c.weight;
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.clients.values().map(|c| c.waiting.len()).sum()
    }

    /// Takes out these requests, in the order in which they came.
    pub fn take(&mut self, which: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for client in self.clients.values_mut().filter(|c| c.waiting.iter().any(|(_, request)| which(request))) {
            let (out, left) = std::mem::take(&mut client.waiting).into_iter().partition(|(_, request)| which(request));
            client.waiting = left;
            taken.extend::<VecDeque<_>>(out);
        }
        taken.sort_unstable_by_key(|(arrival, _)| *arrival);
        taken.into_iter().map(|(_, request)| request).collect()
    }
}

impl<T> FairClient<T> {
    fn effective_tag(&self) -> f64 {
        self.tag + self.out_cost / self.weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Serves `turns` unit-cost requests, all clients always waiting; gives the turns of each.
    fn serve(queue: &mut FairQueue<usize>, clients: &[(Arc<str>, f64)], turns: usize) -> Vec<usize> {
        let mut served = vec![0; clients.len()];
        for (i, (name, weight)) in clients.iter().enumerate() {
            queue.push(name, *weight, i);
        }
        for _ in 0..turns {
            let (name, i) = queue.pop().expect("all wait");
            queue.granted(&name, 1.0);
            queue.settled(&name, 1.0, 1.0);
            served[i] += 1;
            queue.push(&name, clients[i].1, i);
        }
        served
    }

    #[test]
    fn a_newcomer_neither_starves_the_others_nor_is_starved() {
        let (old, new) = ((Arc::from("old"), 1.0), (Arc::from("new"), 1.0));
        let mut queue = FairQueue::default();
        serve(&mut queue, std::slice::from_ref(&old), 1000);
        queue.take(|_| true);
        let served = serve(&mut queue, &[old, new], 100);
        assert!((49..=51).contains(&served[0]), "{served:?}");
    }

    proptest! {
        #[test]
        fn turns_are_in_proportion_to_weights(weights in prop::collection::vec(0.1f64..10.0, 1..64)) {
            let clients: Vec<(Arc<str>, f64)> = weights.iter().enumerate().map(|(i, w)| (Arc::from(format!("c{i}")), *w)).collect();
            let turns = 4000;
            let served = serve(&mut FairQueue::default(), &clients, turns);
            let sum: f64 = weights.iter().sum();
            for (n, w) in served.iter().zip(&weights) {
                // Tags never lie further apart than one turn of the lightest client; one more for where the count ends.
                let lightest = weights.iter().copied().fold(f64::MAX, f64::min);
                prop_assert!((*n as f64 - turns as f64 * w / sum).abs() <= 1.0 + w / lightest, "{served:?}");
            }
        }
    }
}
