//! Rate-limited logging: the same cause is said once, then counted, and said again with the count when some time has passed.

use std::collections::HashMap;
use std::time::Duration;

/// How often one cause is said at most.
pub const SAID_EVERY: Duration = Duration::from_secs(300);
/// How many causes are remembered; beyond that the one said longest ago is forgotten.
const CAUSES_MOST: usize = 256;

#[derive(Debug, Clone, Copy)]
struct Cause {
    said: Duration,
    held_back: u64,
}

/// Who decides what is said.
#[derive(Debug, Default)]
pub struct Quiet {
    causes: HashMap<String, Cause>,
}

impl Quiet {
    /// Whether this is to be said now (a moment of a monotonic clock), and then how many of the same cause were held back
    /// since it was said last.
    pub fn say(&mut self, cause: &str, now: Duration) -> Option<u64> {
        if let Some(known) = self.causes.get_mut(cause) {
            if now.saturating_sub(known.said) < SAID_EVERY {
                known.held_back = known.held_back.saturating_add(1);
                return None;
            }
            let held_back = known.held_back;
            *known = Cause { said: now, held_back: 0 };
            return Some(held_back);
        }
        if self.causes.len() >= CAUSES_MOST {
            let oldest = self.causes.iter().min_by_key(|(_, cause)| cause.said).map(|(name, _)| name.clone());
            oldest.map(|name| self.causes.remove(&name));
        }
        self.causes.insert(cause.to_owned(), Cause { said: now, held_back: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once_and_then_with_what_was_held_back() {
        let mut quiet = Quiet::default();
        let at = |secs| Duration::from_secs(secs);
        assert_eq!(quiet.say("a", at(0)), Some(0));
        assert_eq!((quiet.say("a", at(1)), quiet.say("a", at(299))), (None, None));
        assert_eq!(quiet.say("b", at(2)), Some(0));
        assert_eq!(quiet.say("a", at(300)), Some(2));
        assert_eq!(quiet.say("a", at(301)), None);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut quiet = Quiet::default();
        for i in 0..10 * CAUSES_MOST as u64 {
            quiet.say(&i.to_string(), Duration::from_secs(i));
        }
        assert_eq!(quiet.causes.len(), CAUSES_MOST);
    }
}
