//! The seats of connections: how many there are, who has to go when all are taken, and what waits to be read.
//!
//! Everything here lives on the one thread that serves. A seat is taken away at once; its connection notices when it is
//! polled next, for which it is woken.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use actix_web::web::Bytes;
use tokio::time::Instant;

/// Connections at once; beyond that the one that has been idle for longest goes.
pub const SEATS_MOST: usize = 512;
/// Bytes of finished answers that wait for their readers, together; beyond that the same.
pub const WAITING_BYTES_MOST: usize = 8 << 20;

/// All seats that are taken.
#[derive(Default)]
pub struct Seats {
    taken: RefCell<Vec<Rc<Seat>>>,
    stopping: Cell<bool>,
}

/// What is known of one connection.
pub struct Seat {
    /// When it last sent or took a byte.
    active: Cell<Instant>,
    /// Whether it was taken away.
    lost: Cell<bool>,
    /// Whether the answer to the last request was handed to actix-http as a whole.
    answered: Cell<bool>,
    /// Who waits for that, or for the loss.
    reader: RefCell<Option<Waker>>,
    /// What of an answer is still to be handed over.
    waiting: RefCell<Bytes>,
}

impl Seats {
    /// Takes a seat, if need be that of the connection which has been idle for longest.
    pub fn take(&self) -> Rc<Seat> {
        while self.taken.borrow().len() >= SEATS_MOST && self.make_room() {}
        let seat = Rc::new(Seat {
            active: Cell::new(Instant::now()),
            lost: Cell::default(),
            answered: Cell::default(),
            reader: RefCell::default(),
            waiting: RefCell::default(),
        });
        self.taken.borrow_mut().push(seat.clone());
        seat
    }

    /// Gives a seat back.
    pub fn leave(&self, seat: &Rc<Seat>) {
        self.taken.borrow_mut().retain(|other| !Rc::ptr_eq(other, seat));
    }

    /// How many are taken.
    #[cfg(test)]
    fn taken(&self) -> usize {
        self.taken.borrow().len()
    }

    /// From now on no connection begins another request.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.taken.borrow().iter().for_each(|seat| seat.wake());
    }

    /// Whether that was said.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Ends the connection that has been idle for longest; `false` if there is none.
    pub fn make_room(&self) -> bool {
        self.end_idlest(|_| true)
    }

    /// Keeps what is to be handed over to this connection. Where too much waits altogether, other readers lose theirs.
    pub fn hold(&self, seat: &Rc<Seat>, answer: Bytes) {
        *seat.waiting.borrow_mut() = answer;
        while self.taken.borrow().iter().map(|seat| seat.waiting.borrow().len()).sum::<usize>() > WAITING_BYTES_MOST
            && self.end_idlest(|other| !Rc::ptr_eq(other, seat) && !other.waiting.borrow().is_empty())
        {}
    }

    fn end_idlest(&self, of: impl Fn(&Rc<Seat>) -> bool) -> bool {
        let mut seats = self.taken.borrow_mut();
        let among = seats.iter().enumerate().filter(|(_, seat)| of(seat));
        let Some((idlest, _)) = among.min_by_key(|(_, seat)| seat.active.get()) else { return false };
        let seat = seats.swap_remove(idlest);
        seat.lost.set(true);
        *seat.waiting.borrow_mut() = Bytes::new();
        seat.wake();
        true
    }
}

impl Seat {
    /// Notes that it has sent or taken something.
    pub fn is_active(&self) {
        self.active.set(Instant::now());
    }

    /// Whether it was taken away.
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Notes that the last request is answered, as far as actix-http is concerned.
    pub fn answer_ended(&self) {
        self.answered.set(true);
        *self.waiting.borrow_mut() = Bytes::new();
        self.wake();
    }

    /// Whether the last request is answered.
    pub fn is_answered(&self) -> bool {
        self.answered.get()
    }

    /// From now on it is the next request that is to be answered.
    pub fn next_request(&self) {
        self.answered.set(false);
    }

    /// Wakes this one when something of the above has changed.
    pub fn wait(&self, waker: &Waker) {
        *self.reader.borrow_mut() = Some(waker.clone());
    }

    /// Has the connection looked at.
    pub fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    /// The next bytes of what is held, up to so many; none at its end.
    pub fn piece(&self, most: usize) -> Bytes {
        let mut waiting = self.waiting.borrow_mut();
        let now = waiting.len().min(most);
        waiting.split_to(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn later() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_seats_are_taken_the_longest_idle_goes() {
        let seats = Seats::default();
        let mut taken = Vec::new();
        for _ in 0..SEATS_MOST {
            taken.push(seats.take());
            later().await;
        }
        taken[0].is_active();
        later().await;
        let newest = seats.take();
        let lost: Vec<usize> = (0..SEATS_MOST).filter(|at| taken[*at].is_lost()).collect();
        assert_eq!((lost, seats.taken(), newest.is_lost()), (vec![1], SEATS_MOST, false));
        seats.leave(&taken[1]);
        assert_eq!(seats.taken(), SEATS_MOST, "what was taken away is not given back twice");
        seats.leave(&newest);
        assert_eq!(seats.taken(), SEATS_MOST - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_wait_are_bounded_together() {
        let seats = Seats::default();
        let large = Bytes::from(vec![0; WAITING_BYTES_MOST / 2]);
        let (stuck, idle, reading) = (seats.take(), seats.take(), seats.take());
        seats.hold(&stuck, large.clone());
        later().await;
        seats.hold(&reading, large.clone());
        later().await;
        reading.is_active();
        let newest = seats.take();
        assert!(!stuck.is_lost());
        seats.hold(&newest, large.slice(1..));
        // Who has nothing that waits would make no room by going.
        assert_eq!([&stuck, &idle, &reading, &newest].map(|seat| seat.is_lost()), [true, false, false, false]);
        assert_eq!(stuck.piece(100), Bytes::new());
        assert_eq!(reading.piece(100).len(), 100);
        // One alone may be as large as it is.
        seats.hold(&newest, Bytes::from(vec![0; 3 * WAITING_BYTES_MOST]));
        assert_eq!([&idle, &reading, &newest].map(|seat| seat.is_lost()), [false, true, false]);
    }
}
