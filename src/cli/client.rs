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
    /// [`Error::Daemon`] if it does not answer, or refuses.
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
            return Ok(value);
        }
        let said = value["error"].as_str().unwrap_or("it gives no reason");
        let hint = if answer.status().as_u16() == 401 && self.token.is_none() {
            format!(" (the token could not be read: {})", self.no_token)
        } else {
            String::new()
        };
        Err(Error::Daemon(format!("the daemon says: {said}{hint}")))
    }
}

/// An address as people write it: `nas:7377` is `http://nas:7377`.
fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

fn read_token(path: &Path) -> std::result::Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// The card of the daemon that is meant.
fn card(reach: &Reach) -> Result<Card> {
    let state = match &reach.config {
        Some(path) => {
            let state = Config::load(path)?.state.map_or_else(places::state, Ok)?;
            Some(state.canonicalize().unwrap_or(state))
        }
        None => None,
    };
    let mut cards = Card::all(state.as_deref());
    cards.retain(|card| state.as_ref().is_none_or(|state| *state == card.state));
    match (cards.len(), state) {
        (1, _) => Ok(cards.remove(0)),
        (0, Some(state)) => Err(Error::Daemon(format!("no daemon runs for the state {}", state.display()))),
        (0, None) => {
            Err(Error::Daemon("no daemon runs; start one with `sexton run`, or name it with --url".to_owned()))
        }
        _ => {
            let known: Vec<String> = cards.iter().map(|card| format!("{} (process {})", card.url, card.pid)).collect();
            Err(Error::Daemon(format!("several daemons run: {}; choose one with --url or --config", known.join(", "))))
        }
    }
}
