//! What systemd is told: ready, reloading, stopping, alive (`sd_notify`). Without systemd nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;

const SHORTEST: Duration = Duration::from_millis(10);
/// What one more attempt to begin takes at most, on a slow disk.
const ANOTHER_TRY: Duration = Duration::from_secs(60);

/// How often the watchdog wants to hear of us; `None` if there is none.
pub fn watchdog() -> Option<Duration> {
    // Twice as often as it bites; less than this is no time to do anything in.
    sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| (limit / 2).max(SHORTEST))
}

/// It cannot serve yet, and tries again after so long: it is not to be taken for one that hangs.
pub fn not_yet(text: &str, wait: Duration) {
    let until_next = u32::try_from((wait + ANOTHER_TRY).as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Status(text), NotifyState::ExtendTimeoutUsec(until_next)]);
}

/// It serves.
pub fn ready(text: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(text)]);
}

/// It reads its configuration again.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// It goes down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// It is alive, and this is what it does.
pub fn alive(text: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nobody may be listening, and then nobody misses it.
    let _ = sd_notify::notify(states);
}
