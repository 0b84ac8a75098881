//! What the configuration file says to the daemon, as it is written: windows of the day, log, where it listens.

use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::{DaemonConfig, LogFormat};
use crate::error::{Error, Result};
use crate::policy::windows::{DailyWindow, Window, Windows};
use crate::spelling::Percent;
use crate::spelling::value::{Value, ValueKind};

/// The longest list of hosts.
const HOSTS_MOST: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(rename = "http", default, deny_unknown_fields)]
pub(super) struct RawHttp {
    pub listen: Option<Value<Listen>>,
    pub allowed_hosts: Vec<Value<HostName>>,
}

/// `{"22:00-06:00": "50%"}`, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct RawWindows(Vec<Window>);

impl RawWindows {
    pub fn take(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.0)
    }
}

impl<'de> Deserialize<'de> for RawWindows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(WindowsVisitor)
    }
}

struct WindowsVisitor;

impl<'de> Visitor<'de> for WindowsVisitor {
    type Value = RawWindows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("windows such as {\"22:00-06:00\": \"50%\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawWindows, A::Error> {
        let mut windows = Vec::new();
        while let Some((Value(span), Value(percent))) = map.next_entry::<Value<WindowSpan>, Value<Percent>>()? {
            windows.push(Window { span, rate: percent.cores() });
        }
        Ok(RawWindows(windows))
    }
}

#[derive(Debug)]
pub(super) struct WindowSpan;

impl ValueKind for WindowSpan {
    type Of = DailyWindow;
    const RIGHT: &'static str = "a window of the day such as \"22:00-06:00\"";

    fn text(text: &str) -> std::result::Result<DailyWindow, String> {
        text.parse()
    }

    fn number(n: f64) -> std::result::Result<DailyWindow, String> {
        Err(format!("must be {}, not the number {n}", Self::RIGHT))
    }
}

#[derive(Debug)]
pub(super) struct Listen;

impl ValueKind for Listen {
    type Of = SocketAddr;
    const RIGHT: &'static str = "an address with a port such as \"127.0.0.1:7377\"";

    fn text(text: &str) -> std::result::Result<SocketAddr, String> {
        text.parse().map_err(|_| format!("must be {}, not {text:?}", Self::RIGHT))
    }

    fn number(n: f64) -> std::result::Result<SocketAddr, String> {
        Err(format!("must be {}, not the number {n}", Self::RIGHT))
    }
}

#[derive(Debug)]
pub(super) struct HostName;

impl ValueKind for HostName {
    type Of = String;
    const RIGHT: &'static str =
        "a host such as \"nas.example.org\" or \"nas:7377\", or \"\" for requests that name none";

    fn text(text: &str) -> std::result::Result<String, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']' | '_');
        match text {
            text if text.len() <= 255 && text.chars().all(plain) => Ok(text.to_ascii_lowercase()),
            _ => Err(format!("must be {}, not {text:?}", Self::RIGHT)),
        }
    }

    fn number(n: f64) -> std::result::Result<String, String> {
        Err(format!("must be {}, not the number {n}", Self::RIGHT))
    }
}

/// What is meant.
pub(super) fn daemon(windows: Vec<Window>, log: LogFormat, http: RawHttp) -> Result<DaemonConfig> {
    let default = DaemonConfig::default();
    let wrong = |why: String| Error::Config(format!("budget windows: {why}"));
    if http.allowed_hosts.len() > HOSTS_MOST {
        return Err(Error::Config(format!("http allowed_hosts: {HOSTS_MOST} at most")));
    }
    Ok(DaemonConfig {
        windows: Windows::new(windows).map_err(wrong)?,
        log,
        listen: http.listen.map_or(default.listen, |listen| listen.0),
        allowed_hosts: http.allowed_hosts.into_iter().map(|host| host.0).collect(),
    })
}
