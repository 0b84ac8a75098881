//! Starts the daemon, waits for its end, and ends it.
//!
//! The order matters: the state is opened first, since that is what two daemons must not share; then the socket, so that a
//! port in use is said before any work begins; then the engine. A full disk is waited for, at the start as later, and so is a
//! system that has no thread to spare.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use actix::prelude::*;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::access::AccessKeys;
use super::entrance::Entrance;
use super::hub::Hub;
use super::keep::KeptChanges;
use super::metrics::Metrics;
use super::past::{self, Past};
use super::places::{self, Card};
use super::shared::{Asked, Shared, WISHES_MOST, millis};
use super::supervisor::{self, Supervisor};
use super::{api, notify, signals};
use crate::actors::Life;
use crate::clock::Time;
use crate::config::Config;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::model::Event;
use crate::priority::Working;
use crate::state::{SqliteStore, StateStore};
use crate::threads;

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct Start {
    /// The settings.
    pub config: Config,
    /// The file they came from, to be read again at SIGHUP.
    pub config_path: Option<PathBuf>,
}

/// What a daemon with nothing to do has, and a few more: those of the state, the engine, the requests, the signals.
const THREADS_AT_START: usize = 12;
/// How long the start waits for what earlier processes have left in the state.
const PAST_WAITED_FOR: Duration = Duration::from_secs(1);

/// And before it goes on with a pause: shorter than what systemd waits for a start.
const PAST_WAITED_FOR_IN_A_PAUSE: Duration = Duration::from_secs(30);
/// How long the end may take: less than systemd waits by default.
const END_WITHIN: Duration = Duration::from_secs(80);
/// Slices that wait to be counted at most; beyond that the histograms miss some.
const EVENTS_MOST: usize = 1 << 14;

/// Runs the daemon until it is told to end. `announce` is given the address of the page, with the right to change things,
/// once it serves.
///
/// # Errors
/// If it cannot start (see the module's documentation for the order), or the engine has failed.
pub fn run(start: Start, announce: impl FnOnce(&str)) -> Result<()> {
    let state_path = start.config.state.clone().map_or_else(places::state, Ok)?;
    let daemon = &start.config.daemon;
    let (tell, told) = mpsc::unbounded_channel();
    let mut entrance = Entrance::new(daemon, told);
    let Some(()) = entrance.when_possible(|| threads::try_some(THREADS_AT_START))? else { return Ok(()) };
    signals::listen(tell)?;
    let Some(state) = entrance.when_possible(|| SqliteStore::open(&state_path))? else { return Ok(()) };
    let state_path = state.path().to_owned();
    let (listener, address) = entrance.listen()?;
    let access = || AccessKeys::new(&token_file(&state_path), address, daemon.allowed_hosts.clone());
    let Some(access) = entrance.when_possible(access)? else { return Ok(()) };
    let told = entrance.passed();
    let time = Time::system(true);
    let past = Past::first_pages(&*state.reader(), &start.config);
    let engine = Engine::builder(start.config.settings.clone())
        .state(state)
        .time(time.clone())
        .upkeep(start.config.upkeep.clone())
        .life(Life::UntilShutdown)
        .spawn()?;
    let (asking, wishes) = mpsc::channel(WISHES_MOST);
    let kept = KeptChanges::read(&KeptChanges::path(&state_path));
    let is_paused = kept.paused.is_some();
    let working = Working::new(start.config.settings.priority);
    let shared = Arc::new(Shared {
        boot: boot(),
        started_unix: time.clock.unix_secs(),
        started: time.clock.now(),
        url: format!("http://{}", shown(address)),
        hub: Hub::default(),
        series: Mutex::default(),
        paces: Mutex::default(),
        view: Mutex::new(supervisor::first_view(&start, &state_path, &time, &working)),
        past: Mutex::new(past),
        engine,
        access,
        looked: AtomicU64::new(millis(time.clock.now())),
        time,
        wishes: asking,
    });
    let metrics = Arc::new(Metrics::new()?);
    let card = card(&shared, &state_path, start.config_path.as_deref());
    let config = start.config.clone();
    let supervisor = Supervisor::new(shared.clone(), metrics.clone(), start, kept, working);
    let served = threads::system()?.block_on(async {
        let reading = shared.clone();
        let reading = actix_rt::spawn(async move { past::read(&reading.engine, &config, &reading.past).await });
        // What takes longer is shown later: a long history costs no more than the budget allows. In a pause nothing more is read.
        let wait = if is_paused { PAST_WAITED_FOR_IN_A_PAUSE } else { PAST_WAITED_FOR };
        let _ = tokio::time::timeout(wait, reading).await;
        serve(shared.clone(), metrics, listener, supervisor, wishes, told, announce).await
    });
    let ended = futures_executor::block_on(shared.engine.shutdown(END_WITHIN));
    drop(card);
    info!("ended");
    served.and(ended)
}

/// Everything that happens between the start and the end.
async fn serve(
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    mut supervisor: Supervisor,
    wishes: mpsc::Receiver<Asked>,
    told: mpsc::UnboundedReceiver<signals::Signal>,
    announce: impl FnOnce(&str),
) -> Result<()> {
    shared.engine.subscribe(Listener(metrics.clone()).start().recipient());
    let server = api::serve(listener, shared.clone(), metrics)?;
    let code = shared.access.new_link(shared.time.clock.now())?;
    announce(&format!("{}/login?code={code}", shared.url));
    notify::ready(&format!("serving {}", shared.url));
    let ended = supervisor.run(wishes, told).await;
    // Progress is saved while the last requests are answered.
    let stopping = shared.engine.clone();
    let saved = tokio::task::spawn_blocking(move || futures_executor::block_on(stopping.shutdown(END_WITHIN)));
    supervisor.keep();
    shared.hub.close();
    server.stop().await;
    let saved = saved.await.unwrap_or(Err(Error::Stopped));
    ended.and(saved)
}

/// An address as a browser takes it; one that stands for all of the machine's is reached by loopback.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_unspecified() { format!("localhost:{}", address.port()) } else { address.to_string() }
}

/// Beside the state: one token for one daemon, whoever starts it.
fn token_file(state: &Path) -> PathBuf {
    places::beside(state, "-token")
}

fn card(shared: &Shared, state: &Path, config: Option<&Path>) -> Option<places::Laid> {
    let card = Card {
        pid: std::process::id(),
        since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        url: shared.url.clone(),
        state: state.to_owned(),
        config: config.map(places::resolved),
        token_file: shared.access.token_file().to_owned(),
    };
    let laid = card.lay();
    if let Err(error) = &laid {
        warn!(%error, "`sexton status` will need --url");
    }
    laid.ok()
}

/// Names this run.
fn boot() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Feeds the histograms.
struct Listener(Arc<Metrics>);

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(EVENTS_MOST);
    }
}

impl Handler<Event> for Listener {
    type Result = ();

    fn handle(&mut self, event: Event, _: &mut Self::Context) {
        if let Event::SliceEnded(figures) = event {
            self.0.slice(&figures);
        }
    }
}
