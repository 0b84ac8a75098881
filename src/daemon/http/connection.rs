//! A connection as actix-http sees it: one request at a time, and an end for whoever takes nothing.
//!
//! actix-http reads 128 KiB ahead and decodes all requests in it at once, some kilobytes each, before it answers the first.
//! Here the next request is not read before the last one is answered and its answer has gone to the system.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::web::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::framing::Framing;
use super::seats::{Seat, Seats};

/// A connection that takes nothing of what is there for it is closed after so long.
const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// What is read of a connection beyond the request that is at work.
const AHEAD_BYTES: usize = 4096;

pub struct Connection<Io = TcpStream> {
    io: Io,
    seats: Rc<Seats>,
    seat: Rc<Seat>,
    framing: Framing,
    /// What was read and not handed over yet.
    ahead: BytesMut,
    /// Whether the other side has sent its last byte.
    ended: bool,
    /// Runs while something waits to be taken.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Connection<Io> {
    /// Takes a seat for a connection.
    pub fn new(io: Io, seats: Rc<Seats>) -> Connection<Io> {
        let seat = seats.take();
        Connection { io, seats, seat, framing: Framing::default(), ahead: BytesMut::new(), ended: false, blocked: None }
    }

    pub fn seat(&self) -> &Rc<Seat> {
        &self.seat
    }

    fn is_still_there(&self) -> Result<()> {
        if self.seat.is_lost() { Err(Error::new(ErrorKind::ConnectionAborted, "its place was needed")) } else { Ok(()) }
    }

    /// Reads what has come, as far as there is room.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut bytes = [0; AHEAD_BYTES];
        let room = AHEAD_BYTES.saturating_sub(self.ahead.len());
        let mut buffer = ReadBuf::new(&mut bytes[..room]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
        self.ended = buffer.filled().is_empty();
        self.ahead.extend_from_slice(buffer.filled());
        if !self.ended {
            self.seat.is_active();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        this.is_still_there()?;
        this.seat.wait(cx.waker());
        // actix-http reads first whenever it is polled, so what it had to write before is written unless that is blocked.
        if this.framing.is_at_end() && this.seat.is_answered() && this.blocked.is_none() {
            this.framing = Framing::default();
            this.seat.next_request();
        }
        // Nothing read means the end.
        if this.seats.is_stopping() && this.framing.is_at_start() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let most = this.ahead.len().min(out.remaining());
            let now = this.framing.accept(&this.ahead[..most]);
            if now > 0 {
                out.put_slice(&this.ahead[..now]);
                this.ahead.advance(now);
                return Poll::Ready(Ok(()));
            }
            if this.framing.is_unclear() || (this.ended && this.ahead.is_empty()) {
                return Poll::Ready(Ok(()));
            }
            // What comes next waits for the answer; that the other side goes is noticed meanwhile.
            if this.ended || this.ahead.len() >= AHEAD_BYTES || out.remaining() == 0 {
                return Poll::Pending;
            }
            ready!(this.read_ahead(cx))?;
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let this = self.get_mut();
        this.is_still_there()?;
        match Pin::new(&mut this.io).poll_write(cx, bytes) {
            Poll::Pending => {
                let until = this.blocked.get_or_insert_with(|| Box::pin(tokio::time::sleep(TAKES_WITHIN)));
                ready!(until.as_mut().poll(cx));
                Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "it takes nothing")))
            }
            done => {
                this.seat.is_active();
                if this.blocked.take().is_some() {
                    this.seat.wake();
                }
                done
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

impl<Io> Drop for Connection<Io> {
    fn drop(&mut self) {
        self.seats.leave(&self.seat);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    const FIRST: &[u8] = b"PUT /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    const SECOND: &[u8] = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A connection, and the other side; so many bytes are under way at most.
    fn connected(most: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (io, client) = duplex(most);
        (Connection::new(io, Rc::default()), client)
    }

    /// What is read before there is nothing for a second.
    async fn read(connection: &mut Connection<DuplexStream>) -> Vec<u8> {
        let (mut all, mut bytes) = (Vec::new(), [0; 1000]);
        while let Ok(read) = tokio::time::timeout(Duration::from_secs(1), connection.read(&mut bytes)).await {
            match read.unwrap() {
                0 => break,
                read => all.extend(&bytes[..read]),
            }
        }
        all
    }

    #[tokio::test]
    async fn a_request_is_not_read_before_the_last_one_is_answered() {
        let (mut connection, mut client) = connected(10_000);
        client.write_all(&[FIRST, SECOND].concat()).await.unwrap();
        assert_eq!(read(&mut connection).await, FIRST);
        let seat = connection.seat().clone();
        tokio::spawn(async move { client.write_all(SECOND).await.map(|()| client) });
        seat.answer_ended();
        assert_eq!(read(&mut connection).await, SECOND);
        seat.answer_ended();
        assert_eq!(read(&mut connection).await, SECOND);
    }

    /// Time is simulated: it goes on when nothing else does.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_nothing_is_ended_and_one_that_takes_something_is_not() {
        let (mut connection, mut client) = connected(100);
        let begun = Instant::now();
        let taken = async {
            for _ in 0..3 {
                tokio::time::sleep(TAKES_WITHIN - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 50]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(connection.write_all(&[0; 1000]), taken);
        assert_eq!(written.unwrap_err().kind(), ErrorKind::TimedOut);
        // Three pauses, none of which was too long, and then one that was.
        assert_eq!(begun.elapsed().as_secs(), 4 * TAKES_WITHIN.as_secs() - 3);
    }

    #[tokio::test]
    async fn whose_seat_was_needed_reads_and_writes_nothing_more() {
        let (mut connection, _client) = connected(10_000);
        connection.seats.clone().make_room();
        assert_eq!(connection.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
        assert_eq!(connection.write(&[0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
    }
}
