//! `sexton guard`: runs a backup with the cleaner kept off the local database.
//!
//! The old backup programs give up at once where somebody holds the lock as they start. Under guard nobody of ours
//! does: the gate beside the database is shut before the command starts and as long as it runs, and also if the
//! guard itself is killed, since the command inherits it.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{Sender, channel};

use clap::Args;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::{Exit, output};
use crate::advice;
use crate::cumulus;
use crate::error::{Error, Result};
use crate::threads;

/// Below this, programs choose numbers of their own.
const INHERITED_FD: i32 = 200;

#[derive(Debug, Args)]
pub struct GuardArgs {
    /// The local database, or the folder that holds localdb.sqlite
    localdb: PathBuf,

    /// The backup, with its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command under guard. The exit code is that of the command, or as shells say it, 128 and the signal that ended
/// it.
pub fn run(args: &GuardArgs) -> ExitCode {
    let status = match guarded(args) {
        Ok(status) => status,
        Err(error) => {
            output::say(&format!("sexton: {}", advice::told(&error)));
            return ExitCode::from(Exit::of(&error).code());
        }
    };
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed.code()))
}

fn guarded(args: &GuardArgs) -> Result<ExitStatus> {
    // clap has seen to it that there is one.
    let Some((program, arguments)) = args.command.split_first() else { return Err(Error::Stopped) };
    let guard = cumulus::Guard::shut(&args.localdb)?;
    if let Some(fault) = guard.fault() {
        output::say(&format!("sexton: this guard may not keep the cleaner off {}: {fault}", args.localdb.display()));
    }
    let failed = |e: io::Error| Error::Config(format!("cannot run {}: {e}", program.display()));
    // Closed with this process; a copy goes on into the command.
    let inherited = fcntl_dupfd_cloexec(guard.file(), INHERITED_FD).map_err(|e| failed(e.into()))?;
    fcntl_setfd(&inherited, FdFlags::empty()).map_err(|e| failed(e.into()))?;
    let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2]).map_err(failed)?;
    // Before the command: while there is no thread to pass signals on, there is no command that could miss one.
    let to = pass_on(signals)?;
    let mut child = Command::new(program).args(arguments).spawn().map_err(failed)?;
    // Without a receiver nobody passes signals on, which is no reason to end the command.
    let _ = to.send(Pid::from_child(&child));
    child.wait().map_err(failed)
}

/// Passes signals on to the command, as soon as its process is known. What is typed at a terminal reaches it without that.
fn pass_on(mut signals: Signals) -> Result<Sender<Pid>> {
    let typed = rustix::termios::isatty(io::stdin());
    let (tell, told) = channel();
    let listen = move || {
        let Ok(pid) = told.recv() else { return };
        for signal in signals.forever() {
            if typed && matches!(signal, SIGINT | SIGQUIT) {
                continue;
            }
            if let Some(signal) = Signal::from_named_raw(signal) {
                // A command that has ended needs no signal.
                let _ = kill_process(pid, signal);
            }
        }
    };
    threads::start("signals", listen)?;
    Ok(tell)
}
