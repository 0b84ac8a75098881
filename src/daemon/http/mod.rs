//! The HTTP server beneath the API: a thread of its own, its connections, and their bounds.
//!
//! Whoever may connect may send whatever he likes and read nothing. So each connection is given one request at a time
//! ([`connection`]), an answer is handed over in small pieces ([`answer`]), and there are only so many seats and so many bytes
//! that wait for readers ([`seats`]). Knows nothing of what is asked or answered.

mod answer;
mod connection;
mod framing;
mod seats;

use std::net::TcpListener;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use actix_http::{HttpService, Request};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tracing::{debug, warn};

use crate::error::{Error, Result};
use crate::threads;
pub use answer::{Answer, Answering};
use connection::Connection;
use seats::{Seat, Seats};

/// How long a connection may take to send the head of its first request.
const REQUEST_WITHIN: Duration = Duration::from_secs(10);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// How long a connection may take to go after its last answer.
const GONE_WITHIN: Duration = Duration::from_secs(1);
/// How long requests in flight may take when the daemon ends.
const END_WITHIN: Duration = Duration::from_secs(2);
/// When the system gives no connection, it is asked again after so long.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A server at work.
pub struct Server {
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
    thread: JoinHandle<()>,
}

impl Server {
    /// Takes no more connections, lets requests in flight end, and ends.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // Its thread has also ended if it says nothing any more.
        let _ = self.ended.wait_for(|ended| *ended).await;
        if self.thread.join().is_err() {
            warn!("the HTTP server broke");
        }
    }
}

/// The seat that a request's connection has, and where it is one of.
#[derive(Clone)]
pub struct TakenSeat {
    pub seat: Rc<Seat>,
    pub seats: Rc<Seats>,
}

/// Serves what `app` makes on a socket that listens already, on one thread of its own.
///
/// # Errors
/// [`Error::Config`] if the thread cannot be started.
pub fn serve<App, Made, Body>(listener: TcpListener, app: impl FnOnce() -> App + Send + 'static) -> Result<Server>
where
    App: IntoServiceFactory<Made, Request>,
    Made: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Body>, Error = actix_web::Error>,
    Made: 'static,
    Made::InitError: std::fmt::Debug,
    Body: MessageBody + 'static,
{
    let failed = |e: std::io::Error| Error::Config(format!("cannot serve: {e}"));
    listener.set_nonblocking(true).map_err(failed)?;
    let (stop, stopping) = watch::channel(false);
    let (tell_end, ended) = watch::channel(false);
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, accept(listener, app(), stopping)));
        if let Err(error) = served {
            warn!(%error, "the HTTP server has ended");
        }
        tell_end.send_replace(true);
    };
    let thread = threads::start("sexton-http", serve)?;
    Ok(Server { stop, ended, thread })
}

/// Takes connections until it is told to stop, or is dropped.
///
/// # Errors
/// If the socket cannot be waited for.
pub async fn accept<Made, Body>(
    listener: TcpListener,
    app: impl IntoServiceFactory<Made, Request>,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<()>
where
    Made: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Body>, Error = actix_web::Error>,
    Made: 'static,
    Made::InitError: std::fmt::Debug,
    Body: MessageBody + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let seats = Rc::new(Seats::default());
    let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
    let all = seats.clone();
    let service = HttpService::build()
        .client_request_timeout(REQUEST_WITHIN)
        .client_disconnect_timeout(GONE_WITHIN)
        .keep_alive(KEEP_ALIVE)
        .h1_write_buffer_size(answer::PIECE_BYTES)
        .on_connect_ext(move |connection: &Connection, data| {
            data.insert(TakenSeat { seat: connection.seat().clone(), seats: all.clone() });
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let unfit = |()| std::io::Error::other("the service cannot be made");
    let service = service.new_service(()).await.map_err(unfit)?;
    let mut connections = JoinSet::new();
    while !*stopping.borrow_and_update() {
        let stream: TcpStream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of open files, as a rule.
                    debug!(%error, "no connection");
                    seats.make_room();
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            },
            Some(_) = connections.join_next() => continue,
            _ = stopping.changed() => continue,
        };
        // An answer goes in small pieces, none of which waits for the last one to arrive.
        let _ = stream.set_nodelay(true);
        let peer = stream.peer_addr().ok();
        connections.spawn_local(service.call((Connection::new(stream, seats.clone()), peer)));
    }
    drop(listener);
    seats.stop();
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(END_WITHIN, all).await;
    Ok(())
}
