//! A web server with the engine inside: crawls a store in its own process, shares one budget with a task of the server's
//! own, and shows at /status how it goes.
//!
//! `cargo run --example embed -- [--port PORT] [STORE]`, then `curl http://127.0.0.1:PORT/status`. Without a store it
//! makes one. Ctrl-C stops the server, then the engine, which saves its progress.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use actix::prelude::*;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, Responder, get, web};
use sexton::engine::{Engine, EngineHandle, GovernorHandle};
use sexton::job::Count;
use sexton::model::Event;
use sexton::settings::{BudgetSettings, CrawlSettings, Settings};
use sexton::slice::Stage;
use sexton::state::SqliteStore;
use sexton::tahoe::sample::SampleStore;
use sexton::tahoe::{Leases, TahoeStore};

/// A stop waits for the running bucket and the last commit, which take moments.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);

/// What the server is to do.
pub struct Options {
    /// Where it listens on 127.0.0.1; 0 takes any free port.
    pub port: u16,
    /// The folder that holds `shares/`.
    pub store: PathBuf,
    /// Where the crawls' progress is kept.
    pub state: PathBuf,
}

/// Serves until the server is stopped, by a signal or by its handle, and ends the engine after it.
pub async fn serve(options: Options, started: impl FnOnce(SocketAddr, ServerHandle)) -> Result<(), Box<dyn Error>> {
    let engine = start_engine(&options)?;
    let task = actix_rt::spawn(scrub(engine.governor().clone()));
    let served = run_server(options.port, engine.clone(), started).await;
    // Whatever ended the server, progress is saved.
    let stopped = engine.shutdown(SHUTDOWN_DEADLINE).await;
    task.await?;
    served?;
    Ok(stopped?)
}

/// Starts the engine inside the actix system of this thread.
fn start_engine(options: &Options) -> sexton::Result<EngineHandle> {
    // 10 % of a core, in slices of 20 ms: requests to this process never wait long.
    let budget = BudgetSettings { rate: 0.10, slice: Duration::from_millis(20), ..BudgetSettings::default() };
    // To show something at once. A real server has better things to do when it has just started.
    let crawl = |name: &str| CrawlSettings { slow_start: Duration::ZERO, ..CrawlSettings::new(name) };
    Engine::builder(Settings { budget, ..Settings::default() })
        .state(SqliteStore::open(&options.state)?)
        .crawl(crawl("count"), TahoeStore::open(&options.store)?, Count)
        .crawl(crawl("leases"), TahoeStore::open(&options.store)?, Leases::default())
        .on_event(Log.start().recipient())
        .start()
}

async fn run_server(
    port: u16,
    engine: EngineHandle,
    started: impl FnOnce(SocketAddr, ServerHandle),
) -> std::io::Result<()> {
    let app = move || App::new().app_data(web::Data::new(engine.clone())).service(status);
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", port))?;
    let address = server.addrs()[0];
    let server = server.run();
    started(address, server.handle());
    server.await
}

/// What the engine shows of itself. It asks no actor, so it answers however busy they are.
#[get("/status")]
async fn status(engine: web::Data<EngineHandle>) -> impl Responder {
    web::Json(engine.status())
}

/// The server's own background work, under the same budget: it waits for a slice, works until that is over, and waits
/// again. Ends when the engine does.
async fn scrub(governor: GovernorHandle) {
    while let Ok(slice) = governor.slice("scrub").await {
        // On a blocking thread, for it would hold up the server. The slice goes along, and is settled when dropped.
        let work = actix_rt::task::spawn_blocking(move || {
            slice.charge(Stage::Fold, || {
                while !slice.is_over() {
                    checksum_of_a_page();
                }
            });
        });
        if work.await.is_err() {
            return;
        }
    }
}

/// One unit of work, much shorter than a slice.
fn checksum_of_a_page() -> u64 {
    let mut hasher = DefaultHasher::new();
    [7_u8; 4096].hash(&mut hasher);
    hasher.finish()
}

/// Tells on stderr what an operator wants to know.
struct Log;

impl Actor for Log {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // What does not fit is missed; the walk never waits for a listener.
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<Event> for Log {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        match event {
            Event::CycleStarted { crawl, cycle, resumed } => {
                eprintln!("{crawl}: cycle {cycle} {}", if resumed { "goes on" } else { "begins" });
            }
            Event::CycleFinished(report) => {
                eprintln!("{}: cycle {} done, {} buckets", report.key.crawl, report.key.number, report.counts.buckets);
            }
            Event::Error { crawl, path, error } => eprintln!("{crawl}: {path}: {error}"),
            Event::Waiting { crawl, error } => eprintln!("{crawl} waits: {error}"),
            Event::CrawlFailed { crawl, error } => eprintln!("{crawl} has failed: {error}"),
            _ => {}
        }
    }
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut port, mut store) = (8080, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--port" => port = args.next().ok_or("--port needs a number")?.parse()?,
            _ => store = Some(PathBuf::from(arg)),
        }
    }
    let own = std::env::temp_dir().join("sexton-embed");
    let store = match store {
        Some(store) => store,
        None => {
            SampleStore { buckets: 5000, ..SampleStore::default() }.write(&own, |_| ())?;
            own.clone()
        }
    };
    // Its folder is made for its owner alone.
    let options = Options { port, store, state: own.join("state/embed.sqlite") };
    serve(options, |address, _| println!("http://{address}/status")).await
}
