//! The engine inside a server: the example, run as it stands, and hosts that end before it does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use serde_json::{Value, json};
use sexton::actors::Life;
use sexton::clock::{Clock, SystemClock, Time};
use sexton::engine::{Command, Engine, EngineHandle};
use sexton::settings::{BudgetSettings, Checkpoint, Settings};
use sexton::state::{SqliteStore, StateStore};
use sexton::tahoe::leases::LeaseSettings;
use sexton::tahoe::sample::SampleStore;
use sexton::tahoe::{Leases, TahoeStore};

use crate::simulated::crawl::at_once;
use crate::simulated::world::{SimClock, SimJob, SimStore};

#[path = "../../../examples/embed.rs"]
#[allow(dead_code)]
mod embed_example;

/// One request, as simple as HTTP allows.
fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn status(address: SocketAddr) -> Value {
    let (head, body) = get(address, "/status");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn an_engine_inside_a_server_shows_its_status_shares_its_budget_and_stops_with_it() {
    let dir = tempfile::tempdir().unwrap();
    SampleStore { buckets: 2000, ..SampleStore::default() }.write(dir.path(), |_| ()).unwrap();
    let state = dir.path().join("state.sqlite");
    let options = embed_example::Options { port: 0, store: dir.path().to_owned(), state: state.clone() };
    let (started, running) = mpsc::channel::<(SocketAddr, ServerHandle)>();
    let begun = Instant::now();
    let server = std::thread::spawn(move || {
        let started = move |address, handle| started.send((address, handle)).unwrap();
        actix_web::rt::System::new().block_on(embed_example::serve(options, started)).map_err(|e| e.to_string())
    });
    let (address, handle) = running.recv().unwrap();

    let shown_when = |ready: &dyn Fn(&Value) -> bool| loop {
        let shown = status(address);
        if ready(&shown) {
            break shown;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{shown:#}");
    };
    let buckets_of = |shown: &Value, crawl: &str| shown["crawls"][crawl]["buckets"].as_u64().unwrap();
    let shown = shown_when(&|shown| buckets_of(shown, "leases") > 0);
    let leases = &shown["crawls"]["leases"];
    assert_eq!((&leases["job"], &leases["prefixes_total"]), (&json!("leases"), &json!(1024)));
    assert!(leases["state"] == "walking" && leases["cycle"] == 0, "{leases:#}");
    assert!(get(address, "/").0.starts_with("HTTP/1.1 404"));

    // Both crawls and the server's own task get on, under one budget.
    let own = |shown: &Value| {
        let clients = shown["budget"]["clients"].as_array().unwrap();
        clients.iter().find(|client| client["name"] == "scrub").map_or(0, |client| client["slices"].as_u64().unwrap())
    };
    let shown = shown_when(&|shown| buckets_of(shown, "count") > 0 && own(shown) >= 2);
    assert_the_budget_holds(&shown["budget"], begun.elapsed().as_secs_f64());

    // The server stops, the engine with it, and the state has what was shown.
    futures_executor::block_on(handle.stop(true));
    server.join().unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err());
    let state = SqliteStore::open(&state).unwrap();
    let cycle = state.reader().latest("leases").unwrap().unwrap();
    assert_eq!(cycle.number, 0);
    assert!(cycle.done.len() as u64 >= shown["crawls"]["leases"]["prefixes_done"].as_u64().unwrap());
    let rows = state.reader().prefixes(&cycle.key(), 0).unwrap();
    let saved: u64 = rows.iter().filter_map(|row| Some(buckets(row.tally.as_deref()?))).sum();
    assert!((buckets_of(&shown, "leases")..=2000).contains(&saved), "{saved}");
}

/// Actix-web stops the host's system at a signal, before the host gets to shut the engine down.
#[test]
fn a_host_that_stops_its_system_first_still_has_its_progress_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.sqlite");
    let (engine, visited) = actix_web::rt::System::new().block_on(async {
        let clock = SimClock::new();
        let job = SimJob::new(&clock, |_| Duration::from_micros(100));
        let visited = job.visited.clone();
        // Nothing is saved before the end, unless the end is in good order.
        let checkpoint = Checkpoint::Every(Duration::from_secs(3600));
        let budget = BudgetSettings { rate: 0.5, slice: Duration::from_millis(5), ..BudgetSettings::default() };
        let engine = Engine::builder(Settings { budget, checkpoint, ..Settings::default() })
            .time(clock.time())
            .state(SqliteStore::open(&path).unwrap())
            .crawl(at_once("c", 1), SimStore::new(&clock, 10, 100_000), job)
            .start()
            .unwrap();
        while visited.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        actix_web::rt::System::current().stop();
        tokio::time::sleep(Duration::from_millis(20)).await;
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
        (engine, visited)
    });
    let saved = engine.status().crawls["c"].buckets;
    assert_eq!(saved, visited.lock().unwrap().len() as u64);
    let state = SqliteStore::open(&path).unwrap();
    let cycle = state.reader().latest("c").unwrap().unwrap();
    let rows = state.reader().prefixes(&cycle.key(), 0).unwrap();
    assert_eq!(rows.iter().filter_map(|row| Some(buckets(row.tally.as_deref()?))).sum::<u64>(), saved);
}

fn buckets(tally: &[u8]) -> u64 {
    let tally: Value = serde_json::from_slice(tally).unwrap();
    tally["counts"]["buckets"].as_u64().unwrap_or(0)
}

/// What the clients have cost is what was measured, and no more than was asked for.
fn assert_the_budget_holds(budget: &Value, most_secs: f64) {
    let figure = |value: &Value, key: &str| value[key].as_f64().unwrap();
    let clients: Vec<&Value> = budget["clients"].as_array().unwrap().iter().collect();
    let percentage: f64 = clients.iter().map(|c| figure(c, "total_percentage")).sum();
    assert!((percentage - figure(budget, "measured_total_percentage")).abs() < 1e-6, "{budget:#}");
    assert_eq!(figure(budget, "requested_percentage"), 10.0);
    // A slice, and what the longest unit was longer than a slice; on a busy machine that may be much.
    let cost: f64 = clients.iter().map(|c| figure(c, "cost_secs")).sum();
    let most = 0.10 * most_secs + figure(budget, "slice_secs") + figure(budget, "longest_slice_secs");
    assert!(cost <= most, "{cost} s of {most} s were used: {budget:#}");
}

/// The machine's clock, by which it is so many seconds earlier.
struct Behind(SystemClock, f64);

impl Clock for Behind {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn unix_secs(&self) -> f64 {
        self.0.unix_secs() - self.1
    }
}

/// How it happens: the clock is set back by a day, between two runs of an engine. What is met again is news all the same, and
/// what is read back is none.
#[actix_rt::test]
async fn what_an_earlier_run_has_found_is_told_apart_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("shares/zz");
    std::fs::create_dir_all(&prefix).unwrap();
    std::fs::write(prefix.join(format!("zz{}a", "b".repeat(23))), "no bucket").unwrap();
    for (behind, expected) in [(0.0, vec![false]), (86_400.0, vec![true, false])] {
        let time = Time { clock: Arc::new(Behind(SystemClock::new(), behind)), ..Time::system(false) };
        let (store, job) = (TahoeStore::open(dir.path()).unwrap(), Leases::new(LeaseSettings::default()));
        let state = SqliteStore::open(&dir.path().join("state.sqlite")).unwrap();
        let builder = Engine::builder(Settings::default()).time(time).state(state).life(Life::UntilShutdown);
        let engine = builder.crawl(at_once("c", 1), store, job).start().unwrap();
        let told = async || {
            let limit = Instant::now() + Duration::from_secs(60);
            loop {
                if let Some(row) =
                    engine.findings(0, None, 9).rows.pop().filter(|row| Some(row.cycle) == newest(&engine))
                {
                    return row.is_earlier;
                }
                assert!(Instant::now() < limit, "nothing is told");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut seen = vec![told().await];
        if behind > 0.0 {
            engine.command("c", Command::Start).await.unwrap();
            while newest(&engine) == Some(0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            seen.push(told().await);
        }
        assert_eq!(seen, expected);
        engine.shutdown(Duration::from_secs(60)).await.unwrap();
    }
}

/// The number of the last cycle that is told of.
fn newest(engine: &EngineHandle) -> Option<u64> {
    engine.last_report("c").map(|report| report.key.number)
}
