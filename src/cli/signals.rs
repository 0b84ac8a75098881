//! Signals: the first Ctrl-C (or SIGTERM) stops after the running bucket, the second at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};

use super::Exit;
use crate::error::{Error, Result};
use crate::threads;

/// Lets a limit on the size of files show as a failed write, which is waited for like a full disk, not as a killed
/// process. Call it before the first write.
///
/// # Errors
/// If the signal cannot be taken over.
pub fn survive_file_size_limit() -> Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop).map_err(failed)
}

/// Ends the process without a word, as other programs end, when nobody reads what it prints any more. For commands that
/// print and do no work of their own.
///
/// # Errors
/// If the signal cannot be taken over.
pub fn end_with_the_reader() -> Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(SIGPIPE, always).map(drop).map_err(failed)
}

/// Ends the process at the first SIGINT or SIGTERM, as long as what is given back is true: for a wait in which nothing is in
/// hand.
///
/// # Errors
/// If the signals cannot be taken over.
pub fn end_at_a_signal() -> Result<Arc<AtomicBool>> {
    let waiting = Arc::new(AtomicBool::new(true));
    for signal in [SIGINT, SIGTERM] {
        let status = Exit::Interrupted.code().into();
        signal_hook::flag::register_conditional_shutdown(signal, status, waiting.clone()).map_err(failed)?;
    }
    Ok(waiting)
}

fn failed(e: io::Error) -> Error {
    Error::Config(format!("cannot take over signals: {e}"))
}

/// Signals that wait to be answered.
pub struct Interrupts(Signals);

impl Interrupts {
    /// Takes SIGINT and SIGTERM over. From here on they no longer end the process: what comes before
    /// [`answer`](Self::answer) is called waits for it.
    ///
    /// # Errors
    /// If the signals cannot be taken over.
    pub fn take_over() -> Result<Interrupts> {
        Signals::new([SIGINT, SIGTERM]).map(Interrupts).map_err(failed)
    }

    /// Calls `stop` at the first signal and ends the process at the second.
    ///
    /// # Errors
    /// If the thread that listens cannot be started.
    pub fn answer(mut self, stop: impl FnOnce() + Send + 'static) -> Result<Listening> {
        let (mut stop, listening) = (Some(stop), Listening(self.0.handle()));
        let listen = move || {
            for _ in self.0.forever() {
                match stop.take() {
                    Some(stop) => stop(),
                    None => std::process::exit(Exit::Interrupted.code().into()),
                }
            }
        };
        threads::start("signals", listen)?;
        Ok(listening)
    }
}

/// Somebody listens to signals.
pub struct Listening(Handle);

impl Listening {
    /// Listens no more: for what has ended with an error and may be tried again.
    pub fn end(self) {
        self.0.close();
    }
}
