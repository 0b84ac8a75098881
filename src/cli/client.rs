//! Finds a running daemon and talks to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::config::Config;
use crate::daemon::places::{self, Card};
use crate::error::{Error, Result};

/// A daemon that answers at all answers within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How to reach the daemon.
#[derive(Debug, Args)]
pub struct Reach {
    /// The daemon of this configuration [default: the one that runs]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,

    /// The daemon at this address
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// The file with the daemon's token [default: the one beside its state]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A connection to a daemon.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
    /// Why there is no token.
    no_token: String,
    /// The process, where it is known.
    pid: Option<u32>,
}

impl Client {
    /// Finds the daemon.
    ///
    /// # Errors
    /// [`Error::Daemon`] says clearly if none runs, or which do.
    pub fn find(reach: &Reach) -> Result<Client> {
        let config = ureq::Agent::config_builder();
        // A proxy of the environment is for other hosts.
        let config = config.timeout_global(Some(ANSWER_WITHIN)).http_status_as_error(false).proxy(None);
        let agent: ureq::Agent = config.build().into();
        let (url, token_file, pid) = match &reach.url {
            Some(url) => (with_scheme(url.trim_end_matches('/')), reach.token_file.clone(), None),
            None => {
                let card = card(reach)?;
                (card.url, reach.token_file.clone().or(Some(card.token_file)), Some(card.pid))
            }
        };
        let (token, no_token) = match token_file.as_deref().map(read_token) {
            Some(Ok(token)) => (Some(token), String::new()),
            Some(Err(why)) => (None, why),
            None => (None, "no --token-file was given".to_owned()),
        };
        Ok(Client { agent, url, token, no_token, pid })
    }

    /// Reads.
    ///
    /// # Errors
    /// [`Error::Daemon`] if it does not answer, or refuses; [`Error::Config`] if what is asked for is wrong or not there.
    pub fn get(&self, path: &str) -> Result<Value> {
        let request = self.agent.get(self.at(path));
        self.answer(self.authorized(request).call())
    }

    /// Tells it something.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        let request = self.authorized(self.agent.post(self.at(path)));
        self.answer(match body {
            Some(body) => request.header("Content-Type", "application/json").send(body.to_string()),
            None => request.send_empty(),
        })
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.authorized(self.agent.put(self.at(path)));
        self.answer(request.header("Content-Type", "application/json").send(body.to_string()))
    }

    /// Takes a setting back.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&self, path: &str) -> Result<Value> {
        let request = self.agent.delete(self.at(path));
        self.answer(self.authorized(request).call())
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn answer(&self, answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let whose = self.pid.map_or(String::new(), |pid| format!(" (process {pid})"));
        let failed = |why: &dyn std::fmt::Display| {
            Error::Daemon(format!("the daemon at {}{whose} does not answer: {why}", self.url))
        };
        let mut answer = answer.map_err(|e| failed(&e))?;
        let text = answer.body_mut().read_to_string().map_err(|e| failed(&e))?;
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        if answer.status().is_success() {
            // Any server may say yes to whatever it is asked.
            let other = || Error::Daemon(format!("what answers at {}{whose} is no daemon of Sexton", self.url));
            return if value.is_object() { Ok(value) } else { Err(other()) };
        }
        let said = value["error"].as_str().unwrap_or("it gives no reason");
        let hint = if answer.status().as_u16() == 401 && self.token.is_none() {
            format!(" (there is no token to send: {})", self.no_token)
        } else {
            String::new()
        };
        let said = format!("the daemon says: {said}{hint}");
        // What was asked for is wrong, or is about something that is not there: no daemon would do it.
        let is_wrong = matches!(answer.status().as_u16(), 400 | 404);
        Err(if is_wrong { Error::Config(said) } else { Error::Daemon(said) })
    }
}

/// An address as people write it: `nas:7377` is `http://nas:7377`.
fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

fn read_token(path: &Path) -> std::result::Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let token = text.trim();
    // As it goes into a header; what is no token at all is not sent anywhere.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} does not hold a token", path.display()));
    }
    Ok(token.to_owned())
}

/// The card of the daemon that is meant.
fn card(reach: &Reach) -> Result<Card> {
    match &reach.config {
        Some(path) => match state_of(path) {
            Ok(state) => {
                let cards = Card::all(std::slice::from_ref(&state));
                let none = format!("no daemon runs for the state {}", state.display());
                only(cards.into_iter().filter(|card| card.state == state), none)
            }
            Err(refused) => started_with(path, refused),
        },
        None => {
            let (states, unread) = usual_states();
            let none = "no daemon runs; start one with `sexton run`, or name it with --url or --config";
            let why = unread.map_or(String::new(), |why| format!(" (the usual configuration cannot be read: {why})"));
            only(Card::all(&states).into_iter(), format!("{none}{why}"))
        }
    }
}

/// The state file of the configuration that is used when none is named, if there is one; and why it cannot be read.
fn usual_states() -> (Vec<PathBuf>, Option<Error>) {
    match places::config().map(|path| state_of(&path)) {
        Ok(Ok(state)) => (vec![state], None),
        Ok(Err(why)) => (Vec::new(), Some(why)),
        Err(_) => (Vec::new(), None),
    }
}

/// The state file of a configuration.
fn state_of(config: &Path) -> Result<PathBuf> {
    let state = Config::load(config)?.state.map_or_else(places::state, Ok)?;
    Ok(places::resolved(&state))
}

/// The daemon that was started with a file which cannot be read any more: its status says why it refuses that.
fn started_with(path: &Path, refused: Error) -> Result<Card> {
    // Where its state is, nobody can say but the file; beside it is a good guess.
    let known = places::resolved(path);
    let (mut states, _) = usual_states();
    states.push(places::beside(&known, "-state"));
    let cards = Card::all(&states);
    let Ok(card) = only(cards.into_iter().filter(|card| card.config.as_ref() == Some(&known)), String::new()) else {
        return Err(refused);
    };
    super::output::say(&format!("sexton: {refused}"));
    super::output::say(&format!("sexton: this is the daemon that was started with that file, process {}", card.pid));
    Ok(card)
}

/// The one daemon of those that may be meant.
fn only(cards: impl Iterator<Item = Card>, none: String) -> Result<Card> {
    let mut cards: Vec<Card> = cards.collect();
    if cards.len() < 2 {
        return cards.pop().ok_or(Error::Daemon(none));
    }
    let known: Vec<String> = cards.iter().map(|card| format!("{} (process {})", card.url, card.pid)).collect();
    Err(Error::Daemon(format!("several daemons run: {}; choose one with --url or --config", known.join(", "))))
}
