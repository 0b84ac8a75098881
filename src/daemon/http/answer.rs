//! The body of an answer as it is handed to actix-http: in small pieces, of which the rest can be taken back.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

use super::seats::{Seat, Seats};

/// actix-http copies a piece; what it copies is what it holds for a reader that does not read.
pub const PIECE_BYTES: usize = 8 * 1024;

/// Stands for a request that is being answered. Its end, however it comes, lets the next one be read.
pub struct Answering(Rc<Seat>);

impl Answering {
    /// Begins to answer a request of this connection.
    pub fn new(seat: &Rc<Seat>) -> Answering {
        Answering(seat.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answer_ended();
    }
}

/// The body.
pub struct Answer {
    size: BodySize,
    /// A body that is made while it is read; else the seat holds it.
    streamed: Option<BoxBody>,
    answering: Answering,
}

impl Answer {
    /// Hands a body over to the connection that it is for.
    pub fn new(answering: Answering, seats: &Seats, body: BoxBody) -> Answer {
        let size = body.size();
        let streamed = match body.try_into_bytes() {
            Ok(bytes) => {
                seats.hold(&answering.0, bytes);
                None
            }
            Err(streamed) => Some(streamed),
        };
        Answer { size, streamed, answering }
    }
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        let seat = &this.answering.0;
        if seat.is_lost() {
            // The connection has been woken, and ends when it reads or writes next.
            return Poll::Pending;
        }
        match &mut this.streamed {
            Some(body) => Pin::new(body).poll_next(cx),
            None => {
                let piece = seat.piece(PIECE_BYTES);
                Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
            }
        }
    }
}
