//! Finds a running daemon and talks to it.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Config;
use crate::daemon::api::shapes::ErrorBody;
use crate::daemon::api::waiting::Waiting;
use crate::daemon::places::{self, Card, FoundCard};
use crate::error::{Error, Result};
use crate::own_files::{self, OwnFile};
use crate::store;

/// A daemon that answers at all answers within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// One that waits at its start answers at once, but for a moment now and then.
const WAITING_WITHIN: Duration = Duration::from_secs(5);
/// A larger token file is none.
const TOKEN_MOST_BYTES: u64 = 1024;

/// How to reach the daemon.
#[derive(Debug, Args)]
pub struct DaemonAddress {
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
pub struct DaemonClient {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
    /// Why there is no token.
    no_token: String,
    /// The process, where it is known.
    pid: Option<u32>,
}

impl DaemonClient {
    /// Finds the daemon.
    ///
    /// # Errors
    /// [`Error::Daemon`] says clearly if none runs, or which do.
    pub fn find(reach: &DaemonAddress) -> Result<DaemonClient> {
        let config = ureq::Agent::config_builder();
        // A proxy of the environment is for other hosts.
        let config = config.timeout_global(Some(ANSWER_WITHIN)).http_status_as_error(false).proxy(None);
        // The daemon redirects nobody, and the token is not to go elsewhere.
        let config = config.max_redirects(0);
        let agent: ureq::Agent = config.build().into();
        let given = reach.token_file.as_deref().map(given_token);
        let (url, token, pid) = match &reach.url {
            // Whoever names both wants the one to go to the other.
            Some(url) => {
                let none = Err("no --token-file was given".to_owned());
                (with_scheme(url.trim_end_matches('/')), given.unwrap_or(none), None)
            }
            None => {
                let found = card(reach).map_err(|none| waits_at_its_start(&agent, reach).unwrap_or(none));
                let (FoundCard { card, owner }, configured) = found?;
                let token = match may_have_token(&card.url, configured) {
                    true => given.unwrap_or_else(|| daemon_token(&card.token_file, owner)),
                    false => Err(format!(
                        "{} is neither this machine's own address nor the one in the configuration: name it with --url, and \
                         the token with --token-file",
                        card.url
                    )),
                };
                (card.url, token, Some(card.pid))
            }
        };
        let (token, no_token) = match token {
            Ok(token) => (Some(token), String::new()),
            Err(why) => (None, why),
        };
        Ok(DaemonClient { agent, url, token, no_token, pid })
    }

    /// Reads.
    ///
    /// # Errors
    /// [`Error::Daemon`] if it does not answer, or refuses; [`Error::Config`] if what is asked for is wrong or not there.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(&self.get_text(path)?)
    }

    /// Reads the answer as the daemon has written it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_text(&self, path: &str) -> Result<String> {
        let request = self.agent.get(self.at(path));
        self.answer(self.authorized(request).call())
    }

    /// Tells it something.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.authorized(self.agent.post(self.at(path)));
        self.read(&self.answer(request.send_empty())?)
    }

    /// Tells it something that has a body.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn post_body<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let request = self.authorized(self.agent.post(self.at(path)));
        self.read(&self.answer(request.header("Content-Type", "application/json").send(json(body)?))?)
    }

    /// Changes a setting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let request = self.authorized(self.agent.put(self.at(path)));
        self.read(&self.answer(request.header("Content-Type", "application/json").send(json(body)?))?)
    }

    /// Takes a setting back.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = self.agent.delete(self.at(path));
        self.read(&self.answer(self.authorized(request).call())?)
    }

    /// Reads an answer; any server may say yes to whatever it is asked.
    pub fn read<T: DeserializeOwned>(&self, text: &str) -> Result<T> {
        serde_json::from_str(text).map_err(|e| {
            let other = format!(
                "what answers at {}{} is no daemon of Sexton, or one of another version",
                self.url,
                self.whose()
            );
            Error::Daemon(format!("{other}: {e}"))
        })
    }

    fn whose(&self) -> String {
        self.pid.map_or(String::new(), |pid| format!(" (process {pid})"))
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

    fn answer(&self, answer: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String> {
        let failed = |why: &dyn std::fmt::Display| {
            Error::Daemon(format!("the daemon at {}{} does not answer: {why}", self.url, self.whose()))
        };
        let mut answer = answer.map_err(|e| failed(&e))?;
        let text = answer.body_mut().read_to_string().map_err(|e| failed(&e))?;
        if answer.status().is_success() {
            return Ok(text);
        }
        let said = serde_json::from_str(&text).map_or("it gives no reason".to_owned(), |body: ErrorBody| body.error);
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

/// A body as it is sent.
fn json(body: &impl Serialize) -> Result<String> {
    serde_json::to_string(body)
        .map_err(|e| Error::Unexpected(format!("what the daemon is to be sent cannot be written: {e}")))
}

/// An address as people write it: `nas:7377` is `http://nas:7377`.
fn with_scheme(url: &str) -> String {
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// Whether a token may go to the address on a card: to this machine, or where the configuration says.
fn may_have_token(url: &str, configured: Option<SocketAddr>) -> bool {
    let Ok(uri) = url.parse::<ureq::http::Uri>() else { return false };
    let Some(host) = uri.host().filter(|_| uri.scheme_str() == Some("http")) else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let is_configured = |ip: IpAddr| {
        configured.is_some_and(|known| known.ip() == ip && (known.port() == 0 || uri.port_u16() == Some(known.port())))
    };
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback() || is_configured(ip))
}

/// The token of a daemon, from the file that its card names: it must belong to the card's owner.
fn daemon_token(path: &Path, owner: u32) -> std::result::Result<String, String> {
    let read = OwnFile::at(path).and_then(|file| file.read_of(owner, TOKEN_MOST_BYTES));
    let bytes = read.map_err(|e| format!("{}: {}", path.display(), own_files::cause(&e, path)))?;
    token(path, &bytes.ok_or_else(|| format!("{} is not there", path.display()))?)
}

/// The token from the file that the user names, through links too.
fn given_token(path: &Path) -> std::result::Result<String, String> {
    let mut bytes = Vec::new();
    let read = store::open_regular(path).and_then(|file| file.take(TOKEN_MOST_BYTES + 1).read_to_end(&mut bytes));
    read.map_err(|e| format!("{}: {e}", path.display()))?;
    token(path, &bytes)
}

fn token(path: &Path, bytes: &[u8]) -> std::result::Result<String, String> {
    let text = String::from_utf8_lossy(bytes);
    let token = text.trim();
    // As it goes into a header; what is no token at all is not sent anywhere.
    if token.is_empty() || bytes.len() as u64 > TOKEN_MOST_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("{} does not hold a token", path.display()));
    }
    Ok(token.to_owned())
}

/// The card of the daemon that is meant, and the address in the configuration, if that is known.
fn card(reach: &DaemonAddress) -> Result<(FoundCard, Option<SocketAddr>)> {
    match &reach.config {
        Some(path) => match named_by(path) {
            Ok((state, listen)) => {
                let cards = Card::all(std::slice::from_ref(&state), &[]);
                let none = format!("no daemon runs for the state {}", state.display());
                let card = only(cards.into_iter().filter(|found| found.card.state == state), none)?;
                Ok((card, Some(listen)))
            }
            Err(refused) => Ok((started_with(path, refused)?, None)),
        },
        None => {
            let (named, unread) = usual();
            let none = "no daemon runs; start one with `sexton run`, or name it with --url or --config";
            let why = unread.map_or(String::new(), |why| format!(" (the usual configuration cannot be read: {why})"));
            let (state, listen) = named.unzip();
            let card = only(Card::all(state.as_slice(), &[]).into_iter(), format!("{none}{why}"))?;
            Ok((card, listen))
        }
    }
}

/// What the daemon of the configuration that is meant waits for: it has no card before it has begun, and answers on its
/// address all the same.
fn waits_at_its_start(agent: &ureq::Agent, reach: &DaemonAddress) -> Option<Error> {
    let named = match &reach.config {
        Some(path) => named_by(path).ok(),
        None => usual().0,
    };
    let (_, mut listen) = named?;
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let request =
        agent.get(format!("http://{listen}/api/status")).config().timeout_global(Some(WAITING_WITHIN)).build();
    let text = request.call().ok()?.body_mut().read_to_string().ok()?;
    // Only a daemon that waits answers like this, with a reason or without one.
    let waiting: Waiting = serde_json::from_str(&text).ok()?;
    Some(Error::Daemon(waiting.error))
}

/// The state file and the address of the configuration that is used when none is named, if there is one; or why it cannot
/// be read.
fn usual() -> (Option<(PathBuf, SocketAddr)>, Option<Error>) {
    match places::config().map(|path| named_by(&path)) {
        Ok(Ok(named)) => (Some(named), None),
        Ok(Err(why)) => (None, Some(why)),
        Err(_) => (None, None),
    }
}

/// The state file and the address that a configuration names.
fn named_by(config: &Path) -> Result<(PathBuf, SocketAddr)> {
    let config = Config::load(config)?;
    let state = config.state.map_or_else(places::state, Ok)?;
    Ok((places::resolved(&state), config.daemon.listen))
}

/// The daemon that was started with a file which cannot be read any more: its status says why it refuses that.
fn started_with(path: &Path, refused: Error) -> Result<FoundCard> {
    // Where its state is, nobody can say but the file; beside it is a good guess.
    let known = places::resolved(path);
    let named: Vec<PathBuf> = usual().0.into_iter().map(|(state, _)| state).collect();
    let cards = Card::all(&named, &[places::beside(&known, "-state")]);
    let meant = cards.into_iter().filter(|found| found.card.config.as_ref() == Some(&known));
    let Ok(found) = only(meant, String::new()) else { return Err(refused) };
    super::output::say(&format!("sexton: {refused}"));
    let pid = found.card.pid;
    super::output::say(&format!("sexton: this is the daemon that was started with that file, process {pid}"));
    Ok(found)
}

/// The one daemon of those that may be meant.
fn only(cards: impl Iterator<Item = FoundCard>, none: String) -> Result<FoundCard> {
    let mut cards: Vec<FoundCard> = cards.collect();
    if cards.len() < 2 {
        return cards.pop().ok_or(Error::Daemon(none));
    }
    let known: Vec<String> =
        cards.iter().map(|found| format!("{} (process {})", found.card.url, found.card.pid)).collect();
    Err(Error::Daemon(format!("several daemons run: {}; choose one with --url or --config", known.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_to_this_machine_or_where_the_configuration_says() {
        let configured = Some("192.0.2.7:7377".parse().unwrap());
        for url in ["http://127.0.0.1:1", "http://127.8.9.1:7377", "http://[::1]:7377", "http://localhost:7377"] {
            assert!(may_have_token(url, None) && may_have_token(url, configured), "{url}");
        }
        assert!(may_have_token("http://192.0.2.7:7377", configured));
        assert!(may_have_token("http://192.0.2.7:7378", Some("192.0.2.7:0".parse().unwrap())), "any port that is free");
        for url in [
            "http://192.0.2.7:7378",
            "http://192.0.2.8:7377",
            "http://127.0.0.1.evil.example:7377",
            "http://localhost.evil.example:7377",
            "http://127.0.0.1@evil.example:7377",
            "http://localhost:7377@192.0.2.8:7377",
            "https://127.0.0.1:1",
            "127.0.0.1:1",
            "",
        ] {
            assert!(!may_have_token(url, configured), "{url}");
        }
        assert!(!may_have_token("http://192.0.2.7:7377", None));
    }

    #[test]
    fn a_token_file_is_not_waited_for_and_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        given_token(&path).unwrap_err();
        daemon_token(&path, own_files::me()).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "t".repeat(2000)).unwrap();
        given_token(&path).unwrap_err();
        daemon_token(&path, own_files::me()).unwrap_err();
        std::fs::write(&path, "secret\n").unwrap();
        assert_eq!(daemon_token(&path, own_files::me()).unwrap(), "secret");
        assert!(daemon_token(&path, own_files::me() + 1).unwrap_err().contains("belongs to user"));
        // The user's own file may be a link, as secrets of containers are; a daemon's is none.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(given_token(&link).unwrap(), "secret");
        assert!(daemon_token(&link, own_files::me()).unwrap_err().contains("symbolic link"));
    }
}
