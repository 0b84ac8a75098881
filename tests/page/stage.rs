//! The page on a stage: its own files, and the examples of the API in place of a daemon, so that every state can be shown.
//!
//! It answers as the examples say, with the daemon's own policy against foreign content, and writes down what is asked of it.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The answers, by the names of their examples; a test changes them before the page is opened.
#[derive(Debug, Clone)]
pub struct Play {
    pub status: Value,
    pub crawl: Value,
    pub budget: Value,
    pub findings: Value,
    pub plan: Value,
    /// Whether this page may not even look.
    pub locked: bool,
    /// Whether the stream of events has nothing more to say after its first word.
    pub silent: bool,
}

impl Play {
    /// As the examples are.
    pub fn as_written() -> Play {
        let example = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/api").join(name);
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        Play {
            status: example("status.json"),
            crawl: example("crawl.json"),
            budget: example("budget.json"),
            findings: settled(example("findings.json")),
            plan: example("plan.json"),
            locked: false,
            silent: false,
        }
    }

    /// Adds a finding after the others.
    pub fn find(&mut self, finding: Value) {
        let list = self.findings["findings"].as_array_mut().unwrap();
        let mut whole = list[0].clone();
        whole["number"] = json!(list.len() + 1);
        for (key, value) in finding.as_object().unwrap() {
            whole[key] = value.clone();
        }
        list.push(whole);
        self.findings = settled(self.findings.take());
    }

    fn answer(&self, path: &str) -> Option<Value> {
        let crawl = path.strip_prefix("/api/crawls/").map(|name| {
            let all = self.status["crawls"].as_array().unwrap();
            let own = all.iter().find(|c| c["name"] == name).unwrap_or(&all[0]).clone();
            let mut detail = self.crawl.clone();
            detail["crawl"] = own;
            detail
        });
        match path {
            "/api/status" => Some(self.status.clone()),
            "/api/budget" => Some(self.budget.clone()),
            "/api/findings" => Some(self.findings.clone()),
            path if path.starts_with("/api/cleanings/") => Some(self.plan.clone()),
            _ => crawl,
        }
    }
}

/// The last number is that of the last finding, also in the status.
fn settled(mut findings: Value) -> Value {
    let count = findings["findings"].as_array().unwrap().len();
    findings["last"] = json!(count);
    findings
}

/// A change that was asked for: method, path, body.
pub type Change = (String, String, String);

/// A server with the page.
pub struct Stage {
    pub url: String,
    changes: Arc<Mutex<Vec<Change>>>,
    server: ServerHandle,
}

impl Stage {
    /// Serves the page with these answers on a free port.
    pub fn open(mut play: Play) -> Stage {
        play.status["last_finding"] = play.findings["last"].clone();
        let changes = Arc::new(Mutex::new(Vec::new()));
        let (play, seen) = (Arc::new(play), changes.clone());
        let (send, started) = mpsc::channel::<(SocketAddr, ServerHandle)>();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let server = HttpServer::new(move || {
                    let (play, seen) = (play.clone(), seen.clone());
                    App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                        let answer = answer(&play, &seen, &request, &body);
                        async move { answer }
                    }))
                })
                .workers(1)
                .disable_signals()
                .shutdown_timeout(0)
                .bind(("127.0.0.1", 0))
                .unwrap();
                let address = server.addrs()[0];
                let server = server.run();
                send.send((address, server.handle())).unwrap();
                server.await.unwrap();
            });
        });
        let (address, server) = started.recv_timeout(Duration::from_secs(60)).unwrap();
        Stage { url: format!("http://{address}/"), changes, server }
    }

    /// What was asked to be changed so far.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap().clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Stopping begins with the call; nobody needs its end.
        drop(self.server.stop(false));
    }
}

fn answer(play: &Play, seen: &Mutex<Vec<Change>>, request: &HttpRequest, body: &web::Bytes) -> HttpResponse {
    let path = request.path();
    if request.method() != "GET" {
        let body = String::from_utf8_lossy(body).into_owned();
        seen.lock().unwrap().push((request.method().to_string(), path.to_owned(), body));
        return HttpResponse::Conflict().json(json!({"error": "this is a stage"}));
    }
    if play.locked && path.starts_with("/api/") {
        return HttpResponse::Unauthorized()
            .json(json!({"error": "reading needs the token, see `sexton status --open`"}));
    }
    if path == "/api/events" {
        let first = format!("retry: 2000\n\nevent: status\ndata: {}\n\n", play.status);
        let looks = actix_web::rt::time::interval(Duration::from_secs(1));
        let stream = Stream { word: first, said: false, looks, silent: play.silent };
        return HttpResponse::Ok().content_type("text/event-stream").body(stream);
    }
    if let Some(json) = play.answer(path) {
        return HttpResponse::Ok().json(json);
    }
    let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
    let kind = match Path::new(name).extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => return HttpResponse::NotFound().json(json!({"error": "no such thing"})),
    };
    match std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/daemon/page").join(name)) {
        Ok(content) => {
            let policy = ("content-security-policy", POLICY);
            HttpResponse::Ok().content_type(kind).insert_header(policy).body(content)
        }
        Err(_) => HttpResponse::NotFound().json(json!({"error": "no such file"})),
    }
}

/// A stream that says one thing each second, as a daemon does, or once; it stays open.
struct Stream {
    word: String,
    said: bool,
    looks: actix_web::rt::time::Interval,
    silent: bool,
}

impl MessageBody for Stream {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<actix_web::web::Bytes, Self::Error>>> {
        if self.said && self.silent {
            return Poll::Pending;
        }
        std::task::ready!(self.looks.poll_tick(context));
        self.said = true;
        Poll::Ready(Some(Ok(self.word.clone().into())))
    }
}
