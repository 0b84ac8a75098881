//! Who may do what: the token, the page's sessions, the one-time links, and which hosts and origins are known.
//!
//! A page elsewhere can neither read nor drive the daemon: its requests carry a foreign `Host` (also after DNS rebinding)
//! or a foreign `Origin`, and the session cookie is `SameSite=Strict`. Secrets are compared in constant time.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::errno::is_no_room;
use crate::error::{Error, Result};
use crate::lock::lock;
use crate::own_files::{self, OwnFile};

/// Sessions of pages at once; the oldest goes.
const SESSIONS_MOST: usize = 32;
/// One-time links at once; the oldest goes.
const LINKS_MOST: usize = 8;
/// How long an unused link works.
pub const LINK_LIFE: Duration = Duration::from_secs(3600);
/// A larger token file is none.
const TOKEN_MOST_BYTES: u64 = 1024;

/// The keys to the daemon.
pub struct AccessKeys {
    token: String,
    token_file: PathBuf,
    sessions: Mutex<VecDeque<String>>,
    links: Mutex<VecDeque<(String, Duration)>>,
    hosts: Hosts,
    cookie: String,
}

/// The names under which the daemon may be reached.
pub struct Hosts {
    listen: SocketAddr,
    allowed: Mutex<Vec<String>>,
}

/// Who sends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Somebody without a valid secret.
    Anybody,
    /// The page, by its session cookie.
    Page,
    /// Whoever holds the token.
    Operator,
}

impl AccessKeys {
    /// Takes the token from its file, or makes both.
    ///
    /// # Errors
    /// [`Error::Config`] if the file cannot be read or made, or is open to others.
    pub fn new(token_file: &Path, listen: SocketAddr, allowed_hosts: Vec<String>) -> Result<AccessKeys> {
        Ok(AccessKeys {
            token: token(token_file)?,
            token_file: token_file.to_owned(),
            sessions: Mutex::default(),
            links: Mutex::default(),
            hosts: Hosts::new(listen, allowed_hosts),
            // Browsers do not tell ports apart: two daemons of one host must not overwrite each other's session.
            cookie: format!("sexton_session_{}", listen.port()),
        })
    }

    /// Where the token lies.
    pub fn token_file(&self) -> &Path {
        &self.token_file
    }

    /// The name of the cookie that holds a session.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// Whether reading needs a secret too.
    pub fn reading_needs_token(&self) -> bool {
        !self.hosts.are_loopback()
    }

    /// Changes which names it may be reached under.
    pub fn allow_hosts(&self, hosts: Vec<String>) {
        *lock(&self.hosts.allowed) = hosts;
    }

    /// The names under which it may be reached.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Who it is, by the `Authorization` header and the session cookie.
    pub fn caller(&self, authorization: Option<&str>, session: Option<&str>) -> Caller {
        if authorization.and_then(bearer).is_some_and(|given| same(given, &self.token)) {
            return Caller::Operator;
        }
        match session {
            // All are compared, so that the time tells nothing.
            Some(given) if lock(&self.sessions).iter().fold(false, |found, s| found | same(given, s)) => Caller::Page,
            _ => Caller::Anybody,
        }
    }

    /// Makes the code of a one-time link. `now` is a moment of the monotonic clock.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn new_link(&self, now: Duration) -> Result<String> {
        let code = random_hex()?;
        let mut links = lock(&self.links);
        if links.len() >= LINKS_MOST {
            links.pop_front();
        }
        links.push_back((code.clone(), now + LINK_LIFE));
        Ok(code)
    }

    /// Takes a code, which works once, for a new session.
    ///
    /// # Errors
    /// If the system gives no random numbers.
    pub fn login(&self, code: &str, now: Duration) -> Result<Option<String>> {
        let mut links = lock(&self.links);
        links.retain(|(_, until)| *until > now);
        let Some(at) = links.iter().position(|(known, _)| same(known, code)) else { return Ok(None) };
        links.remove(at);
        let session = random_hex()?;
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= SESSIONS_MOST {
            sessions.pop_front();
        }
        sessions.push_back(session.clone());
        Ok(Some(session))
    }
}

impl Hosts {
    /// Those of loopback, this address, and these.
    pub fn new(listen: SocketAddr, allowed: Vec<String>) -> Hosts {
        Hosts { listen, allowed: Mutex::new(allowed) }
    }

    /// Whether only this machine can reach it.
    pub fn are_loopback(&self) -> bool {
        self.listen.ip().is_loopback()
    }

    /// Whether a `Host` header names this daemon. One that is empty or missing does if the configuration says so.
    pub fn know(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let (name, port) = split_host(&host);
        let right_port = port.is_none_or(|port| port == self.listen.port().to_string());
        let loopback = ["localhost", "127.0.0.1", "[::1]"].contains(&name);
        let ip = match self.listen.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        // A tunnel may end at another port of loopback; what is told apart is the name.
        let own = loopback || (name == ip && right_port && !self.listen.ip().is_unspecified());
        own || lock(&self.allowed).iter().any(|allowed| *allowed == host || *allowed == name)
    }

    /// Whether an `Origin` header is that of the daemon's own page, reached under this `Host`.
    pub fn know_origin(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let from = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        from.is_some_and(|from| from == host.to_ascii_lowercase()) && self.know(host)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// `[::1]:80` is `[::1]` and `80`.
fn split_host(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// 128 random bits as hexadecimal digits.
fn random_hex() -> Result<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::Config(format!("the system gives no random numbers: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads the token, or makes one that only its owner can read.
fn token(path: &Path) -> Result<String> {
    let failed = |doing: &str, e: &dyn std::fmt::Display| {
        Error::Config(format!("cannot {doing} the token file {}: {e}", path.display()))
    };
    let place = || -> std::io::Result<_> {
        let file = OwnFile::at(path)?;
        let opened = file.open_bounded(TOKEN_MOST_BYTES)?;
        Ok((file, opened))
    };
    let (file, opened) = place().map_err(|e| failed("use", &own_files::cause(&e, path)))?;
    let Some(opened) = opened else { return make_token(&file) };
    let metadata = opened.get_ref().metadata().map_err(|e| failed("read", &e))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        let advice = "others may read it: remove it, so that a new one is made, or `chmod 600` it";
        return Err(failed("use", &advice));
    }
    let token = std::io::read_to_string(opened).map_err(|e| failed("read", &e))?.trim().to_owned();
    if token.len() < 16 {
        return Err(failed("use", &"it holds less than 16 characters: remove it, so that a new one is made"));
    }
    Ok(token)
}

fn make_token(file: &OwnFile) -> Result<String> {
    let token = random_hex()? + &random_hex()?;
    match file.replace(|_| Ok(()), |new| writeln!(new, "{token}")) {
        Ok(()) => Ok(token),
        Err(e) if is_no_room(&e) => Err(Error::StateFull { path: file.path(), cause: e.to_string() }),
        Err(e) => Err(Error::Config(format!("cannot make the token file {}: {e}", file.path().display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn access(listen: &str, allowed: &[&str]) -> (tempfile::TempDir, AccessKeys) {
        let folder = tempfile::tempdir().unwrap();
        let allowed = allowed.iter().map(|host| (*host).to_owned()).collect();
        let access = AccessKeys::new(&folder.path().join("token"), listen.parse().unwrap(), allowed).unwrap();
        (folder, access)
    }

    #[test]
    fn the_token_is_made_once_and_for_its_owner_alone() {
        let (folder, first) = access("127.0.0.1:1", &[]);
        let path = folder.path().join("token");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = AccessKeys::new(&path, "127.0.0.1:1".parse().unwrap(), vec![]).unwrap();
        assert_eq!((first.token.len(), &first.token), (64, &again.token));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = AccessKeys::new(&path, "127.0.0.1:1".parse().unwrap(), vec![]).err().unwrap().to_string();
        assert!(refused.contains("others may read it"), "{refused}");
    }

    #[test]
    fn only_known_hosts_and_the_own_origin_pass() {
        let (_folder, access) = access("192.0.2.7:7377", &["nas.example.org", "proxy:8080"]);
        for host in
            ["localhost", "LOCALHOST:7377", "127.0.0.1:9", "[::1]:7377", "192.0.2.7:7377", "nas.example.org:443"]
        {
            assert!(access.hosts().know(host), "{host}");
        }
        assert!(access.hosts().know("proxy:8080"));
        for host in
            ["", "evil.example", "proxy", "proxy:81", "192.0.2.7:80", "localhost.evil.example", "127.0.0.1.evil"]
        {
            assert!(!access.hosts().know(host), "{host}");
        }
        assert!(access.hosts().know_origin("http://localhost:7377", "localhost:7377"));
        assert!(access.hosts().know_origin("https://nas.example.org", "nas.example.org"));
        for origin in ["null", "http://localhost:9", "http://evil.example", "ftp://localhost:7377", ""] {
            assert!(!access.hosts().know_origin(origin, "localhost:7377"), "{origin}");
        }
        assert!(!access.hosts().know_origin("http://evil.example", "evil.example"));
        access.allow_hosts(vec![String::new()]);
        assert!(access.hosts().know("") && !access.hosts().know("evil.example"));
    }

    #[test]
    fn a_link_works_once_and_not_for_ever() {
        let (_folder, access) = access("127.0.0.1:1", &[]);
        let at = Duration::from_secs;
        let code = access.new_link(at(0)).unwrap();
        assert_eq!(access.login("x", at(1)).unwrap(), None);
        let session = access.login(&code, at(1)).unwrap().unwrap();
        assert_eq!(access.login(&code, at(1)).unwrap(), None);
        assert_eq!(access.caller(None, Some(&session)), Caller::Page);
        assert_eq!(access.caller(None, Some(&code)), Caller::Anybody);
        let old = access.new_link(at(0)).unwrap();
        assert_eq!(access.login(&old, LINK_LIFE).unwrap(), None);
    }

    #[test]
    fn the_token_makes_an_operator_and_nothing_else_does() {
        let (_folder, access) = access("127.0.0.1:1", &[]);
        let with = |header: &str| access.caller(Some(header), None);
        assert_eq!(with(&format!("Bearer {}", access.token)), Caller::Operator);
        assert_eq!(with(&format!("bearer  {}", access.token)), Caller::Operator);
        for wrong in ["", "Bearer", "Bearer ", "Basic x", &access.token, &format!("Bearer {}0", access.token)] {
            assert_eq!(with(wrong), Caller::Anybody, "{wrong}");
        }
    }

    #[test]
    fn sessions_and_links_are_bounded() {
        let (_folder, access) = access("127.0.0.1:1", &[]);
        for _ in 0..100 {
            let code = access.new_link(Duration::ZERO).unwrap();
            access.login(&code, Duration::ZERO).unwrap();
            access.new_link(Duration::ZERO).unwrap();
        }
        assert_eq!(lock(&access.sessions).len(), SESSIONS_MOST);
        assert!(lock(&access.links).len() <= LINKS_MOST);
    }
}
