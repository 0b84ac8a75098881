//! Signals: SIGHUP reads the configuration again, the first SIGTERM or SIGINT ends in good order, the second at once.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::threads;

/// A process that was told twice exits with this code, as after Ctrl-C.
const AT_ONCE: i32 = 130;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The configuration is to be read again.
    Reload,
    /// The end.
    Stop(&'static str),
}

/// Takes the signals over, and passes them on.
///
/// # Errors
/// [`Error::Config`] if that is refused.
pub fn listen(tell: mpsc::UnboundedSender<Signal>) -> Result<()> {
    let failed = |e: std::io::Error| Error::Config(format!("cannot take over signals: {e}"));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(failed)?;
    let listen = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
            let meaning = if signal == SIGHUP { Signal::Reload } else { Signal::Stop(name) };
            if matches!(meaning, Signal::Stop(_)) && std::mem::replace(&mut stopping, true) {
                std::process::exit(AT_ONCE);
            }
            if tell.send(meaning).is_err() {
                return;
            }
        }
    };
    threads::start("signals", listen).map(drop)
}
