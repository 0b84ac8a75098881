//! The hub: whoever reads server-sent events gets each one, or is told how many it was too slow for.
//!
//! Every reader has a bounded queue of its own; none ever holds up the daemon or another reader.

use std::sync::Mutex;

use actix_web::web::Bytes;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::lock::lock;

/// Readers at once; more are refused.
pub const READERS_MOST: usize = 32;
/// Events that wait for a reader at most.
const QUEUE: usize = 64;
/// A reader that has missed so many in one go has gone to sleep: its place is for others, and it may come back.
const MISSED_MOST: u64 = 256;

/// Event `missed`: this reader was too slow for so many events and should load everything again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MissedEvent {
    /// How many.
    pub events: u64,
}

/// All readers.
#[derive(Default)]
pub struct Hub(Mutex<Vec<Reader>>);

struct Reader {
    queue: Sender<Bytes>,
    missed: u64,
    /// Whether it may change things, which its status says.
    may_change: bool,
}

/// An event as it goes over the wire.
pub fn event(name: &str, body: &impl Serialize) -> Bytes {
    // Everything sent is a plain struct of numbers, strings and lists, which always serializes, and has no line breaks.
    let body = serde_json::to_string(body).unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {body}\n\n"))
}

impl Hub {
    /// Adds a reader, which gets these events first; `None` if there are too many.
    pub fn join(&self, may_change: bool, first: impl IntoIterator<Item = Bytes>) -> Option<Receiver<Bytes>> {
        let mut readers = lock(&self.0);
        readers.retain(|reader| !reader.queue.is_closed());
        if readers.len() >= READERS_MOST {
            return None;
        }
        let (queue, events) = channel(QUEUE);
        first.into_iter().take(QUEUE).for_each(|bytes| drop(queue.try_send(bytes)));
        readers.push(Reader { queue, missed: 0, may_change });
        Some(events)
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        let mut readers = lock(&self.0);
        readers.retain(|reader| !reader.queue.is_closed());
        readers.len()
    }

    /// Sends to all.
    pub fn send(&self, bytes: &Bytes) {
        lock(&self.0).retain_mut(|reader| reader.send(bytes));
    }

    /// Sends what depends on whether the reader may change things.
    pub fn send_to_each(&self, make: impl Fn(bool) -> Bytes) {
        let (mut anybody, mut page) = (None, None);
        lock(&self.0).retain_mut(|reader| {
            let made = if reader.may_change { &mut page } else { &mut anybody };
            let bytes = made.get_or_insert_with(|| make(reader.may_change)).clone();
            reader.send(&bytes)
        });
    }

    /// Ends all streams after what is queued.
    pub fn close(&self) {
        lock(&self.0).clear();
    }
}

impl Reader {
    /// Whether it is still there.
    fn send(&mut self, bytes: &Bytes) -> bool {
        // With room for this one and for what was missed.
        if self.missed > 0 && self.queue.capacity() >= 2 {
            let missed = event("missed", &MissedEvent { events: self.missed });
            self.missed = 0;
            if self.queue.try_send(missed).is_err() {
                return false;
            }
        }
        if self.missed > 0 {
            self.missed += 1;
            return self.missed <= MISSED_MOST && !self.queue.is_closed();
        }
        match self.queue.try_send(bytes.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed += 1;
                true
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_is_told_what_it_missed_and_holds_up_nobody() {
        let hub = Hub::default();
        let (mut slow, mut quick) = (hub.join(false, []).unwrap(), hub.join(false, [Bytes::from("first")]).unwrap());
        assert_eq!(quick.try_recv().unwrap(), "first");
        for i in 0..QUEUE + 10 {
            hub.send(&Bytes::from(i.to_string()));
            assert_eq!(quick.try_recv().unwrap(), i.to_string().as_bytes());
        }
        let queued: Vec<Bytes> = std::iter::from_fn(|| slow.try_recv().ok()).collect();
        assert_eq!((queued.len(), &queued[0][..]), (QUEUE, &b"0"[..]));
        hub.send(&Bytes::from("next"));
        assert_eq!(slow.try_recv().unwrap(), "event: missed\ndata: {\"events\":10}\n\n");
        assert_eq!(slow.try_recv().unwrap(), "next");
    }

    #[test]
    fn a_reader_that_takes_nothing_any_more_loses_its_place() {
        let hub = Hub::default();
        let mut asleep = hub.join(false, []).unwrap();
        for _ in 0..QUEUE as u64 + MISSED_MOST {
            hub.send(&Bytes::from("x"));
        }
        assert_eq!(hub.readers(), 1);
        hub.send(&Bytes::from("x"));
        assert_eq!(hub.readers(), 0);
        // What it was sent it may still read, and then the stream ends.
        let queued = std::iter::from_fn(|| asleep.try_recv().ok()).count();
        assert_eq!((queued, asleep.is_closed()), (QUEUE, true));
    }

    #[test]
    fn readers_are_bounded_and_those_that_have_gone_make_room() {
        let hub = Hub::default();
        let mut readers: Vec<_> = (0..READERS_MOST).map(|_| hub.join(false, []).unwrap()).collect();
        assert!(hub.join(false, []).is_none());
        readers.pop();
        assert!(hub.join(false, []).is_some());
    }
}
