//! The daemon's start where it cannot begin yet: for want of room on the state's disk, or of threads. It waits, says so to
//! systemd and the log, and answers whoever asks on its address.
//!
//! Owns the socket until the daemon serves. Starts no thread of its own, since that may be what is missing.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::web;
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{info, warn};

use super::access::Hosts;
use super::api::waiting;
use super::notify;
use super::signals::Signal;
use crate::config::DaemonConfig;
use crate::error::{Error, Result};
use crate::policy::backoff::Backoff;

/// Waits at the start.
pub struct Entrance {
    address: SocketAddr,
    hosts: web::Data<Hosts>,
    told: UnboundedReceiver<Signal>,
    /// Once something was waited for, or all is ready.
    listener: Option<TcpListener>,
}

impl Entrance {
    /// Makes one, which is told to end by these signals.
    pub fn new(daemon: &DaemonConfig, told: UnboundedReceiver<Signal>) -> Entrance {
        let hosts = web::Data::new(Hosts::new(daemon.listen, daemon.allowed_hosts.clone()));
        Entrance { address: daemon.listen, hosts, told, listener: None }
    }

    /// Does what may have to be waited for; `None` if the daemon was told to end before that.
    ///
    /// # Errors
    /// What does not pass by itself.
    pub fn when_possible<T>(&mut self, mut attempt: impl FnMut() -> Result<T>) -> Result<Option<T>> {
        let mut backoff = Backoff::default();
        loop {
            let error = match attempt() {
                Err(error @ (Error::StateFull { .. } | Error::NoThread { .. })) => error,
                done => return done.map(Some),
            };
            if !backoff.is_waiting() {
                warn!(%error, "waiting for that, then it begins");
            }
            let wait = backoff.failed();
            notify::not_yet(&format!("waiting: {error}"), wait);
            match self.wait(wait, &error) {
                Some(Signal::Stop(why)) => {
                    info!(why, "ended before it has begun");
                    return Ok(None);
                }
                Some(Signal::Reload) => warn!("nothing is read again before it has begun"),
                None => {}
            }
        }
    }

    /// Waits so long, or until it is told something, and answers meanwhile.
    fn wait(&mut self, wait: Duration, error: &Error) -> Option<Signal> {
        if self.listener.is_none() {
            // Where somebody else has the address, that is an error when all else is ready.
            self.listener = bind(self.address).ok();
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                warn!(%error, "nobody is told that it waits");
                std::thread::sleep(wait);
                return self.told.try_recv().ok();
            }
        };
        let listener = self.listener.as_ref().and_then(|listener| listener.try_clone().ok());
        let (told, hosts, why) = (&mut self.told, self.hosts.clone(), error.to_string());
        let answering = async move {
            if let Some(listener) = listener
                && let Err(error) = waiting::answer(listener, hosts, why).await
            {
                warn!(%error, "nobody is told that it waits");
            }
            std::future::pending::<()>().await;
        };
        let either = async {
            tokio::select! {
                signal = told.recv() => signal,
                () = tokio::time::sleep(wait) => None,
                () = answering => None,
            }
        };
        tokio::task::LocalSet::new().block_on(&runtime, either)
    }

    /// The socket to serve on, and its address.
    ///
    /// # Errors
    /// [`Error::Config`] with advice if it cannot be had.
    pub fn listen(&mut self) -> Result<(TcpListener, SocketAddr)> {
        let listener = match self.listener.take() {
            Some(listener) => listener,
            None => bind(self.address).map_err(|e| refused(self.address, &e))?,
        };
        // One for those who ask while the token is waited for.
        self.listener = listener.try_clone().ok();
        let address = listener.local_addr().map_err(|e| refused(self.address, &e))?;
        Ok((listener, address))
    }

    /// Ends the waiting, and gives the signals back.
    pub fn passed(self) -> UnboundedReceiver<Signal> {
        self.told
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn refused(address: SocketAddr, error: &std::io::Error) -> Error {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => "another program does; give this one another port",
        ErrorKind::AddrNotAvailable => "this machine has no such address; give another one",
        ErrorKind::PermissionDenied => "ports below 1024 are for root; give another one",
        _ => "give another address",
    };
    Error::Config(format!("cannot listen on {address}: {error}; {advice}: http: (listen: \"127.0.0.1:7378\")"))
}
