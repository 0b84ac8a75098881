//! What the program tells people of an error: the library's text, and what to do about it with its own options and settings.

use crate::error::Error;
use crate::tahoe::ChangeRefusal;

/// The error with its advice.
pub fn told(error: &Error) -> String {
    match error {
        Error::StateForeign { .. } => {
            format!("{error}; name another one (--state, or `state` in config.ron)")
        }
        Error::StateHeld { .. } => {
            format!("{error}; wait for it to end, stop it, or name another file (--state, or `state` in config.ron)")
        }
        Error::CycleDiffers { .. } => format!("{error}; use those again, or begin anew with --fresh"),
        Error::SafetyCatch { crawl, cycle, would_delete, deleted, examined, most } => format!(
            "cycle {cycle} of {crawl} is examined and would delete {would_delete} of {examined} shares (deleted already: \
             {deleted}), and {:.1} % is the most allowed, so it waits: check the clock, the rule of expiry and whether clients \
             still renew their leases; if all is right, the same command with a larger --max-delete (`max_delete` in config.ron) \
             deletes what was examined, without examining it again",
            most * 100.0
        ),
        Error::Clock { .. } => format!("{error}, and the same command then goes on"),
        Error::Unchangeable { .. } => format!("{error}, and once that is mended the same command goes on"),
        error => match error.downcast_ref() {
            Some(ChangeRefusal::NodeSilent { .. }) => format!(
                "{error}; set the clock if it is wrong, start the node if it is stopped, or let it be stopped and delete with \
                 --offline (`delete: offline` in config.ron); if the clock is right all the same, say so with --accept-clock \
                 (`accept_clock: true` in config.ron)"
            ),
            _ => error.to_string(),
        },
    }
}
