//! A web server over files named by their SHA-256, which takes care of them itself: it scrubs them with the core's scrub, expires old
//! ones, tidies up after interrupted uploads and keeps its own figures, all under one budget. It needs no room of Sexton.
//!
//! `cargo run --example blob_server -- FOLDER [PORT]`, then
//! `curl -T file http://127.0.0.1:PORT/blobs` and `curl http://127.0.0.1:PORT/status`.

mod checks;
mod expire;
pub mod store;
mod tidy;

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, Responder, get, post, put, web};
use serde_json::json;
use sexton::engine::{Engine, EngineHandle, GovernorHandle};
use sexton::job::scrub::Scrub;
use sexton::model::{Event, EventReceiver, event_channel};
use sexton::settings::{BudgetSettings, CrawlSettings, MaintenanceSettings, Settings};
use sexton::slice::Stage;
use sha2::{Digest, Sha256};

use checks::BlobChecker;
use expire::ExpireBlobs;
use store::{BlobStore, is_blob};
use tidy::TidyUploads;

/// The largest blob that is taken.
const BLOB_BYTES_MOST: usize = 64 << 20;

/// Blobs older than this are deleted: 90 days. No more than a tenth of all in one cycle, unless somebody confirms it.
const BLOB_AGE_SECS: f64 = 90.0 * 86_400.0;
const DELETED_MOST: f64 = 0.10;

/// A stop waits for the running bucket and the last commit, which take moments.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);

/// What the server holds.
struct Server {
    folder: PathBuf,
    store: BlobStore,
    engine: EngineHandle,
    /// What the blobs take, in bytes, as it was counted last.
    bytes_used: Arc<AtomicU64>,
    /// How many damaged blobs the scrub has told of.
    damaged: Arc<AtomicU64>,
}

/// Serves a folder until the server is stopped, by a signal or by its handle, and ends the engine after it.
pub async fn serve(
    folder: &Path,
    port: u16,
    started: impl FnOnce(SocketAddr, ServerHandle),
) -> Result<(), Box<dyn Error>> {
    for inside in ["blobs", "uploads"] {
        fs::create_dir_all(folder.join(inside))?;
    }
    let store = BlobStore::new(folder.join("blobs").canonicalize()?);
    let (subscriber, events) = event_channel(4096);
    // To show something at once. A real server has better things to do when it has just started.
    let crawl = |name: &str| CrawlSettings { slow_start: Duration::ZERO, ..CrawlSettings::new(name) };
    let tidy = MaintenanceSettings { slow_start: Duration::ZERO, ..MaintenanceSettings::new("tidy") };
    let engine = Engine::builder(Settings::default())
        .crawl(crawl("verify"), store.clone(), Scrub::new(BlobChecker))
        .crawl(crawl("expire"), store.clone(), ExpireBlobs { age_secs: BLOB_AGE_SECS, most: DELETED_MOST })
        .maintenance(tidy, TidyUploads(folder.join("uploads")))
        .on_event(subscriber)
        .start()?;
    let (bytes_used, damaged) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = [
        actix_rt::spawn(measure(engine.governor().clone(), folder.join("blobs"), bytes_used.clone())),
        actix_rt::spawn(listen(events, damaged.clone())),
    ];
    let server =
        web::Data::new(Server { folder: folder.to_owned(), store, engine: engine.clone(), bytes_used, damaged });
    let served = run_server(port, server, started).await;
    // Whatever ended the server, progress is saved.
    let stopped = engine.shutdown(SHUTDOWN_DEADLINE).await;
    for task in tasks {
        task.await?;
    }
    served?;
    Ok(stopped?)
}

async fn run_server(
    port: u16,
    server: web::Data<Server>,
    started: impl FnOnce(SocketAddr, ServerHandle),
) -> io::Result<()> {
    let app = move || {
        let limit = web::PayloadConfig::new(BLOB_BYTES_MOST);
        let services = (get_blob, put_blob, status, pause, resume, set_budget);
        App::new().app_data(server.clone()).app_data(limit).service(services)
    };
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", port))?;
    let address = server.addrs()[0];
    let server = server.run();
    started(address, server.handle());
    server.await
}

/// The server's own background work, under the same budget: it waits for a slice, measures a folder, and waits again. Ends when the
/// engine does.
async fn measure(governor: GovernorHandle, blobs: PathBuf, bytes_used: Arc<AtomicU64>) {
    let (mut folders, mut sum) = (Vec::new(), 0);
    while let Ok(slice) = governor.slice("measure").await {
        let (next, blobs) = (folders.pop(), blobs.clone());
        // On a blocking thread, for it would hold up the server. The slice goes along, and is settled when dropped.
        let work = move || {
            slice.charge(Stage::Fold, || {
                let is_root = next.is_none();
                let entries = fs::read_dir(next.unwrap_or(blobs)).into_iter().flatten().flatten();
                let (mut bytes, mut folders) = (0, Vec::new());
                for entry in entries {
                    match entry.metadata() {
                        Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                        Ok(metadata) => bytes += metadata.len(),
                        Err(_) => {}
                    }
                }
                (is_root, bytes, folders)
            })
        };
        let Ok((is_root, bytes, found)) = actix_rt::task::spawn_blocking(work).await else { return };
        sum = if is_root { 0 } else { sum + bytes };
        folders.extend(found);
        if folders.is_empty() {
            bytes_used.store(sum, Ordering::Relaxed);
            actix_rt::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Tells on stderr what an operator wants to know, and counts damaged blobs.
async fn listen(mut events: EventReceiver, damaged: Arc<AtomicU64>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Finding { finding, .. } => {
                damaged.fetch_add(1, Ordering::Relaxed);
                eprintln!("damaged: {}: {}", finding.bucket, finding.reason);
            }
            Event::CycleFinished(report) => eprintln!("{}: cycle {} done", report.key.crawl, report.key.number),
            Event::Rehearsed { crawl, cycle } => eprintln!("{crawl}: cycle {cycle} would delete too much, and waits"),
            Event::Error { path, error, .. } => eprintln!("{path}: {error}"),
            _ => {}
        }
    }
}

/// Takes a blob and answers with its name. A blob gets its name when it is whole.
#[put("/blobs")]
async fn put_blob(server: web::Data<Server>, body: web::Bytes) -> io::Result<impl Responder> {
    let stored = web::block(move || -> io::Result<String> {
        let name = hex(&Sha256::digest(&body));
        let (place, upload) = (server.store.place(&name), server.folder.join("uploads").join(&name));
        fs::write(&upload, &body)?;
        fs::create_dir_all(place.parent().unwrap_or(&server.folder))?;
        fs::rename(upload, place)?;
        Ok(name)
    });
    Ok(HttpResponse::Created().body(stored.await.map_err(io::Error::other)??))
}

#[get("/blobs/{name}")]
async fn get_blob(server: web::Data<Server>, name: web::Path<String>) -> io::Result<impl Responder> {
    if !is_blob(name.as_bytes()) {
        return Ok(HttpResponse::NotFound().finish());
    }
    let read = web::block(move || fs::read(server.store.place(&name)));
    Ok(match read.await.map_err(io::Error::other)? {
        Ok(blob) => HttpResponse::Ok().content_type("application/octet-stream").body(blob),
        Err(e) if e.kind() == io::ErrorKind::NotFound => HttpResponse::NotFound().finish(),
        Err(e) => return Err(e),
    })
}

/// What the engine shows of itself, and the server's own figures. It asks no actor, so it answers however busy they are.
#[get("/status")]
async fn status(server: web::Data<Server>) -> impl Responder {
    let reports = ["verify", "expire"].map(|crawl| {
        let report = server.engine.last_report(crawl);
        (crawl.to_owned(), report.map(|report| report.to_json(&server.engine.status().budget)).into())
    });
    let tidied = server.engine.last_maintenance("tidy").and_then(|report| report.body::<tidy::Removed>());
    web::Json(json!({
        "engine": server.engine.status(),
        "reports": serde_json::Map::from_iter(reports),
        "bytes_used": server.bytes_used.load(Ordering::Relaxed),
        "damaged": server.damaged.load(Ordering::Relaxed),
        "uploads_removed": tidied.map(|removed| removed.0),
    }))
}

#[post("/pause")]
async fn pause(server: web::Data<Server>) -> impl Responder {
    server.engine.pause().await;
    HttpResponse::NoContent()
}

#[post("/resume")]
async fn resume(server: web::Data<Server>) -> impl Responder {
    server.engine.resume().await;
    HttpResponse::NoContent()
}

/// Sets the budget, in percent of a core: all that is done in the background together takes no more.
#[put("/budget/{percent}")]
async fn set_budget(server: web::Data<Server>, percent: web::Path<f64>) -> impl Responder {
    let budget = BudgetSettings { rate: *percent / 100.0, ..server.engine.budget() };
    match server.engine.set_budget(budget) {
        Ok(()) => HttpResponse::NoContent().finish(),
        Err(e) => HttpResponse::BadRequest().body(e.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().ok_or("usage: blob_server FOLDER [PORT]")?;
    let port = arguments.next().and_then(|port| port.to_str()?.parse().ok()).unwrap_or(0);
    serve(folder.as_ref(), port, |address, _| eprintln!("serving http://{address}/")).await
}
