//! Where events go: to actors, and through channels to programs without any. Nobody who emits an event ever waits for those
//! who listen.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use tokio::sync::mpsc;

use super::Event;
use crate::lock::lock;

/// Whoever listens to events: an actor, or a [channel](event_channel).
pub struct EventSubscriber(Target);

enum Target {
    Actor(Recipient<Event>),
    Channel { events: mpsc::Sender<Event>, missed: Arc<AtomicU64> },
}

impl From<Recipient<Event>> for EventSubscriber {
    /// An actor whose mailbox is full misses events.
    fn from(actor: Recipient<Event>) -> Self {
        EventSubscriber(Target::Actor(actor))
    }
}

/// Makes a channel that holds at most `capacity` events (at least 1). Works with any executor, and without one.
///
/// ```no_run
/// use sexton::engine::{Cycles, Engine};
/// use sexton::job::Count;
/// use sexton::model::{Event, event_channel};
/// use sexton::settings::{CrawlSettings, Settings};
///
/// # fn example(store: impl sexton::store::Store) -> sexton::Result<()> {
/// let (subscriber, mut events) = event_channel(4096);
/// Engine::builder(Settings::default())
///     .crawl(CrawlSettings::new("count"), store, Count)
///     .cycles(Cycles::Once)
///     .on_event(subscriber)
///     .spawn()?;
/// while let Some(event) = events.recv_blocking() {
///     if let Event::CycleFinished(report) = event {
///         println!("{} buckets", report.counts.buckets);
///     }
/// }
/// println!("{} events were missed", events.missed());
/// # Ok(())
/// # }
/// ```
pub fn event_channel(capacity: usize) -> (EventSubscriber, EventReceiver) {
    let (sender, events) = mpsc::channel(capacity.max(1));
    let missed = Arc::new(AtomicU64::new(0));
    let subscriber = EventSubscriber(Target::Channel { events: sender, missed: missed.clone() });
    (subscriber, EventReceiver { events, missed })
}

/// The end of a [channel](event_channel) from which events are read.
#[derive(Debug)]
pub struct EventReceiver {
    events: mpsc::Receiver<Event>,
    missed: Arc<AtomicU64>,
}

impl EventReceiver {
    /// Waits for the next event; `None` when the engine's work has ended and all events were read.
    pub async fn recv(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// As [`recv`](Self::recv), but blocks the calling thread.
    ///
    /// # Panics
    /// Inside an async task.
    pub fn recv_blocking(&mut self) -> Option<Event> {
        self.events.blocking_recv()
    }

    /// The next event, if there is one already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// How many events were dropped so far because the channel was full.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl EventSubscriber {
    /// Hands an event over, or drops it where there is no room. Tells whether the subscriber is still there.
    fn tell(&self, event: Event) -> bool {
        match &self.0 {
            Target::Actor(actor) => !matches!(actor.try_send(event), Err(SendError::Closed(_))),
            Target::Channel { events, missed } => match events.try_send(event) {
                Err(mpsc::error::TrySendError::Full(_)) => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                told => told.is_ok(),
            },
        }
    }
}

impl std::fmt::Debug for EventSubscriber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSubscriber")
    }
}

/// All who listen to one engine.
#[derive(Default)]
pub(crate) struct Subscribers(Mutex<Vec<EventSubscriber>>);

impl Subscribers {
    pub fn add(&self, subscriber: EventSubscriber) {
        lock(&self.0).push(subscriber);
    }

    /// Sends an event, if it is one, to every subscriber; those that have gone are dropped.
    pub fn emit(&self, event: impl FnOnce() -> Option<Event>) {
        let mut subscribers = lock(&self.0);
        if subscribers.is_empty() {
            return;
        }
        let Some(event) = event() else { return };
        subscribers.retain(|subscriber| subscriber.tell(event.clone()));
    }

    /// Ends the channels, so that whoever reads from one comes to its end.
    pub fn end(&self) {
        lock(&self.0).retain(|subscriber| matches!(subscriber.0, Target::Actor(_)));
    }
}
