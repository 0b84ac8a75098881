//! A headless Chromium, as the tests of the page see it: what it shows, what it asks for, what it complains about.
//!
//! Needs Debian's chromium and chromium-driver (.ci/run installs them). Each browser has an empty profile of its own; its
//! screens are kept below `target/tmp/page-shots`.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thirtyfour::prelude::*;
use thirtyfour::{BrowserLogEntry, LoggingPrefsLogLevel, TypingData};
use tokio::runtime::Runtime;

/// Nothing that is waited for takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SWITCHES: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser on a page.
pub struct Browser {
    // First, so that the session is ended while its driver still runs.
    driver: Option<WebDriver>,
    runtime: Runtime,
    process: Child,
    folder: tempfile::TempDir,
}

impl Browser {
    /// Starts one, and opens this address.
    pub fn open(url: &str) -> Browser {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's chromium and chromium-driver are installed, see .ci/run");
        let port = port(&mut process);
        let mut wanted = DesiredCapabilities::chrome();
        for switch in SWITCHES {
            wanted.add_arg(switch).unwrap();
        }
        wanted.add_arg(&format!("--user-data-dir={}", folder.path().join("profile").display())).unwrap();
        for kind in ["browser", "performance"] {
            wanted.set_logging_prefs(kind, LoggingPrefsLogLevel::All).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = format!("http://{}", SocketAddr::from(([127, 0, 0, 1], port)));
        let driver = runtime.block_on(WebDriver::new(address, wanted)).unwrap();
        let browser = Browser { driver: Some(driver), runtime, process, folder };
        browser.size(1280, 900);
        // The browser's own first page is no part of the test.
        browser.go("about:blank");
        drop((browser.requests(), browser.complaints()));
        browser.go(url);
        browser
    }

    fn driver(&self) -> &WebDriver {
        self.driver.as_ref().expect("there is one until the end")
    }

    pub fn go(&self, url: &str) {
        self.runtime.block_on(self.driver().goto(url)).unwrap();
    }

    /// Runs a script on the page; what it returns.
    #[track_caller]
    pub fn js(&self, script: &str) -> Value {
        let done = self.runtime.block_on(self.driver().execute(script, Vec::new()));
        done.unwrap_or_else(|e| panic!("{script}: {e}")).json().clone()
    }

    /// The text that is shown of the first element with this selector; empty if it is not there, or not shown.
    pub fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({})?.innerText ?? ''", json!(selector));
        self.js(&script).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression of the page is true.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        let limit = Instant::now() + PATIENCE;
        while self.js(&format!("return Boolean({expression})")) != json!(true) {
            assert!(Instant::now() < limit, "{expression} is not so after {PATIENCE:?}\n{}", self.text("body"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the text of the element has these words in it.
    #[track_caller]
    pub fn shows(&self, selector: &str, words: &str) {
        let (selector, words) = (json!(selector), json!(words));
        self.wait(&format!("document.querySelector({selector})?.innerText.includes({words})"));
    }

    /// Clicks as a pointer does: it must be there, be shown, and nothing may lie above it.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let clicked = self.runtime.block_on(async { self.driver().find(By::Css(selector)).await?.click().await });
        clicked.unwrap_or_else(|e| panic!("{selector}: {e}"));
    }

    /// Types into the element.
    #[track_caller]
    pub fn keys(&self, selector: &str, keys: impl Into<TypingData>) {
        let keys = keys.into();
        let typed = self.runtime.block_on(async { self.driver().find(By::Css(selector)).await?.send_keys(keys).await });
        typed.unwrap_or_else(|e| panic!("{selector}: {e}"));
    }

    /// Presses a key, whatever has the focus.
    pub fn press(&self, key: Key) {
        self.runtime.block_on(self.driver().action_chain().send_keys(key).perform()).unwrap();
    }

    /// A command of Chromium's own protocol.
    pub fn tell(&self, method: &str, parameters: Value) -> Value {
        self.runtime.block_on(self.driver().cdp().send_raw(method, parameters)).unwrap()
    }

    pub fn size(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.tell("Emulation.setDeviceMetricsOverride", size);
    }

    /// What the system prefers: `light` or `dark`.
    pub fn scheme(&self, name: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": name}]});
        self.tell("Emulation.setEmulatedMedia", features);
    }

    /// By how many pixels the page is wider than its window.
    pub fn sideways(&self) -> i64 {
        let script = "return document.documentElement.scrollWidth - window.innerWidth";
        self.js(script).as_i64().unwrap().max(0)
    }

    /// Where downloads go.
    pub fn downloads(&self) -> PathBuf {
        let path = self.folder.path().join("downloads");
        std::fs::create_dir_all(&path).unwrap();
        self.tell("Browser.setDownloadBehavior", json!({"behavior": "allow", "downloadPath": path}));
        path
    }

    /// Keeps a picture of the whole page as a file of the test run.
    pub fn shot(&self, name: &str) {
        let folder = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().join("tmp/page-shots");
        std::fs::create_dir_all(&folder).unwrap();
        let height = self.js("return Math.min(document.documentElement.scrollHeight, 12000)").as_u64().unwrap();
        let width = self.js("return innerWidth").as_u64().unwrap();
        self.size(width.try_into().unwrap(), height.try_into().unwrap());
        self.runtime.block_on(self.driver().screenshot(&folder.join(format!("{name}.png")))).unwrap();
        self.size(width.try_into().unwrap(), 900);
    }

    fn log(&self, kind: &str) -> Vec<BrowserLogEntry> {
        self.runtime.block_on(self.driver().get_log(kind)).unwrap()
    }

    /// What the console holds since this was last asked.
    pub fn complaints(&self) -> Vec<String> {
        self.log("browser").into_iter().map(|entry| format!("{}: {}", entry.level, entry.message)).collect()
    }

    /// Every address that was asked for since this was last asked.
    pub fn requests(&self) -> Vec<String> {
        let sent = self.log("performance").into_iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(&entry.message).ok()?;
            let message = &event["message"];
            let url = message["params"]["request"]["url"].as_str()?;
            (message["method"] == "Network.requestWillBeSent").then(|| url.to_owned())
        });
        sent.collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            let _ = self.runtime.block_on(driver.quit());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port that chromedriver has found for itself.
fn port(process: &mut Child) -> u16 {
    let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
    let port = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok())
        .expect("chromedriver says on which port it serves");
    // Read on, so that it never waits for a reader.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    port
}
