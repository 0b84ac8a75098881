//! `/healthz`: whether the daemon is well, in one line, for health checks that can send nothing but a path.
//!
//! It tells nothing about the stores, since it is answered without a token: what was found in them is for status and metrics.

use std::time::Duration;

use actix_web::{HttpResponse, web};

use super::picture::Picture;
use crate::daemon::shared::Shared;
use crate::model::TaskState;

/// The supervisor looks once a second; one that has not done so for this long hangs.
const LOOKS_WITHIN: Duration = Duration::from_secs(60);

/// 200 or 503.
pub async fn health(daemon: web::Data<Shared>) -> HttpResponse {
    let picture = Picture::take(&daemon);
    let status = picture.status(false);
    let crawls = status.crawls.iter().map(|crawl| crawl.status.state);
    let states = crawls.chain(status.cleanings.iter().map(|cleaning| cleaning.status.state));
    let failed = states.filter(|state| *state == TaskState::Failed).count();
    answer(fault(status.stopping, daemon.since_look(), failed))
}

/// The answer: what is wrong, or that nothing is.
pub fn answer(fault: Option<String>) -> HttpResponse {
    let (mut answer, line) = match fault {
        None => (HttpResponse::Ok(), "ok".to_owned()),
        Some(fault) => (HttpResponse::ServiceUnavailable(), fault),
    };
    answer.content_type("text/plain; charset=utf-8").body(line + "\n")
}

fn fault(stopping: bool, since_look: Duration, failed: usize) -> Option<String> {
    if stopping {
        return Some("the daemon is going down".to_owned());
    }
    if since_look > LOOKS_WITHIN {
        return Some(format!("the daemon has not looked after its work for {} s", since_look.as_secs()));
    }
    match failed {
        0 => None,
        1 => Some("1 crawl or cleaning has failed: see the status".to_owned()),
        more => Some(format!("{more} crawls or cleanings have failed: see the status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_it_from_being_well_is_told_the_worst_first() {
        let at = Duration::from_secs;
        assert_eq!(fault(false, at(2), 0), None);
        for (stopping, since, failed, said) in [
            (true, at(90), 1, "going down"),
            (false, at(90), 1, "has not looked after its work for 90 s"),
            (false, at(2), 1, "1 crawl or cleaning has failed"),
            (false, at(2), 3, "3 crawls or cleanings have failed"),
        ] {
            let fault = fault(stopping, since, failed).unwrap();
            assert!(fault.contains(said), "{fault}");
        }
    }
}
