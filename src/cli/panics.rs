//! What a user sees where a part of Sexton breaks: one line, and a report in a file for whoever mends it.
//!
//! A panic ends what it happened in, and the engine says what that means for the rest. Nobody is shown a backtrace.

use std::backtrace::Backtrace;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use directories::ProjectDirs;
use tracing::error;

use super::{Exit, output};
use crate::error::panic_message;
use crate::own_files::{MissingFolder, OwnFile};

/// Reports of one process; what breaks after that is told in its line alone.
const REPORTS_MOST: u32 = 8;

/// Reports of this process so far.
static REPORTS: AtomicU32 = AtomicU32::new(0);

/// From now on every panic, on whichever thread, is told in one line.
pub fn take_over() {
    set_hook(Box::new(|panic| tell(&line(panic))));
}

/// Runs the program; its main thread's own panic is a failure like any other.
pub fn contained(run: impl FnOnce() -> ExitCode) -> ExitCode {
    // Nothing of what has panicked is used afterwards.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| ExitCode::from(Exit::Failed.code()))
}

fn tell(line: &str) {
    // Before the configuration says how to log, there is no log.
    match tracing::dispatcher::has_been_set() {
        true => error!("{line}"),
        false => output::say(&format!("sexton: {line}")),
    }
}

fn line(panic: &PanicHookInfo<'_>) -> String {
    let what = panic_message(panic.payload());
    let what: String = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let place = panic.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
    let thread = std::thread::current().name().unwrap_or("without a name").to_owned();
    let broke = format!("a part of sexton broke, on the thread {thread}: {what}{place}");
    if REPORTS.fetch_add(1, Ordering::Relaxed) >= REPORTS_MOST {
        return format!("{broke}; the first {REPORTS_MOST} of this process have reports");
    }
    match report(&broke) {
        Ok(path) => format!("{broke}; please send the report {} to its developers", path.display()),
        Err(error) => format!("{broke}; no report could be written: {error}"),
    }
}

/// Writes a report, for its owner alone, in the state folder of the user or of the service.
fn report(broke: &str) -> io::Result<PathBuf> {
    let folder = std::env::var_os("STATE_DIRECTORY")
        .and_then(|folders| std::env::split_paths(&folders).next())
        .or_else(|| {
            ProjectDirs::from("", "", "sexton").map(|dirs| dirs.state_dir().unwrap_or(dirs.data_dir()).to_owned())
        })
        .ok_or_else(|| io::Error::other("you have no home folder"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let path = folder.join(format!("report-{now}-{}.txt", std::process::id()));
    let mut text = format!("sexton {}\n{broke}\n", env!("CARGO_PKG_VERSION"));
    // Writing to a string does not fail.
    let _ = writeln!(text, "{}", Backtrace::force_capture());
    let file = OwnFile::named(&path, MissingFolder::Make)?;
    file.create_new()?.write_all(text.as_bytes())?;
    Ok(file.path())
}
