//! Sexton is the caretaker of a store: it walks every object, again and again, to count, verify, expire and clean, without
//! the store's users noticing, and without ever losing its place.
//!
//! A crawl is a resumable, mergeable fold over a ring of prefixes, paid for from one budget. A [`Store`](store::Store) is a
//! ring of prefixes with buckets in them; a [`Job`](job::Job) folds buckets into a tally; the
//! [`Engine`](engine::Engine) runs any number of crawls, each with one or several workers, inside one
//! [budget](settings::BudgetSettings), together with whatever background work its host has. The first store is that of a
//! Tahoe-LAFS storage server, the first jobs are its bucket counter and its lease checker, and a scrubber.
//!
//! This crate is that engine, to be embedded in a storage server, and the program `sexton`, which runs the same engine from
//! the shell and as a daemon.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | [`state::SqliteStore`]: progress in a file; without it, in memory only |
//! | `tahoe` | [`tahoe`]: stores of Tahoe-LAFS |
//! | `cumulus` | [`cumulus`]: local databases of LBS and Cumulus; implies `sqlite` |
//! | `cli` | the program, and [`config`]; implies all of the above |
//! | `daemon` | `sexton run`; implies `cli` |
//! | `testing` | for tests of your own stores, jobs and states: simulated time, a walker of jobs, the contract of a state |
//!
//! All but `testing` are on by default. Embedders take `default-features = false` and what they need: the core alone knows no store and
//! needs neither SQLite nor cryptography.
//!
#![cfg_attr(feature = "tahoe", doc = "```")]
#![cfg_attr(not(feature = "tahoe"), doc = "```ignore")]
//! use sexton::engine::{Cycles, Engine};
//! use sexton::job::Count;
//! use sexton::settings::{CrawlSettings, Settings};
//! use sexton::tahoe::TahoeStore;
//! use sexton::tahoe::sample::SampleStore;
//!
//! # fn main() -> sexton::Result<()> {
//! let dir = tempfile::tempdir().unwrap();
//! SampleStore { buckets: 100, ..SampleStore::default() }.write(dir.path(), |_| ())?;
//!
//! // One cycle, under the default budget of 10 % of a core; spawn() starts it on a thread of its own.
//! let engine = Engine::builder(Settings::default())
//!     .crawl(CrawlSettings::new("count"), TahoeStore::open(dir.path())?, Count)
//!     .cycles(Cycles::Once)
//!     .spawn()?;
//! engine.join()?;
//! let report = engine.last_report("count").expect("the cycle is finished");
//! assert_eq!(report.counts.buckets, 100);
//! assert!(report.complete && report.errors.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! `examples/blob_server` takes care of files named by their SHA-256: the core's scrub, a job that deletes, a maintenance.
//! `examples/custom_job.rs` has a store and a job of its own; `examples/embed.rs` a web server with the engine inside its
//! actix system ([`EngineBuilder::start`](engine::EngineBuilder::start)) and a task of its own under the same budget
//! ([`GovernorHandle::slice`](engine::GovernorHandle::slice)).
//!
//! # The modules
//!
//! Each knows only those that stand before it in this table.
//!
//! | module | what is in it |
//! |---|---|
//! | [`policy`] | the decisions, without actors, clocks or files: budget, fairness, ring, cycle, backoff |
//! | [`settings`], [`clock`] | what the engine takes; time and cost, injected |
//! | [`spelling`] | how people write durations, percentages and sizes |
//! | [`slice`](mod@slice), [`priority`] | the right to work for a while; what the system does with threads at work |
//! | [`store`] | the `Store` trait, and what every store on a disk needs |
//! | [`job`] | the `Job` trait and what it works on; `count`; [`scrub`](job::scrub), which verifies any store |
//! | [`maintenance`] | the `Maintenance` trait: what is done in steps beside the crawls |
//! | [`state`] | the `StateStore` and `StateReader` traits: where progress is kept; in SQLite, in memory |
//! | [`model`] | how it goes, events; what a cycle has found |
//! | [`actors`] | one actor per role; all that they say to each other |
//! | [`engine`] | wires everything together; starts, stops, and the handle |
//! | [`tahoe`] | Tahoe-LAFS: its formats, its store, the jobs `leases` and `verify`, its crawlers taken over and handed back |
//! | [`cumulus`] | local databases of LBS and Cumulus: planning and doing a cleaning, the guard |
//! | [`kinds`] | the kinds of jobs that the program knows |
//! | [`config`] | the file in which people write settings |
//! | `daemon` | `sexton run`: page, API, metrics, controls; feature `daemon` |
//! | `cli` | the program, feature `cli` |
//!
//! # The way of a bucket, from disk to checkpoint
//!
//! 1. A worker of a crawl's [`BucketProcessor`](actors::BucketProcessor) claims prefixes from the
//!    [`Checkpointer`](actors::Checkpointer), and waits for a [`TimeSlice`](slice::TimeSlice) from the
//!    [`Governor`](actors::Governor). It holds nothing while it waits.
//! 2. Under that slice the [`PrefixLister`](actors::PrefixLister) lists the prefix, in chunks: a large one goes on under
//!    the next slice where this one ended. What will be wanted next is read ahead, under slices of its own.
//! 3. On a blocking thread the job folds bucket after bucket into the prefix's tally. The clock is looked at after each,
//!    so a slice ends after the running bucket, and each slice gets on.
//! 4. Tally, cursor and notes go to the Checkpointer in one commit, still under the same slice. After any crash the walk
//!    goes on behind the last bucket that was committed, and the result is that of an undisturbed run.
//! 5. The slice is settled: the Governor charges what it has really cost, and grants the next one when that is paid for.
//! 6. When the last prefix is complete the tallies are read back and merged in ring order, whoever worked on them, and the
//!    job makes its part of the [`CycleReport`](model::CycleReport).

// What only some of the rooms and shells use is not dead where they are left out.
#![cfg_attr(not(feature = "daemon"), allow(dead_code, unused_imports))]

pub mod actors;
#[cfg(feature = "cli")]
mod advice;
mod calls;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "cumulus")]
pub mod cumulus;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod engine;
mod errno;
mod error;
pub mod job;
#[cfg(feature = "cli")]
pub mod kinds;
mod lenient;
mod lock;
pub mod maintenance;
pub mod model;
#[cfg(any(feature = "sqlite", feature = "tahoe"))]
mod own_files;
pub mod policy;
pub mod priority;
pub mod settings;
mod shown;
mod sizes;
pub mod slice;
#[cfg(feature = "cli")]
pub mod spelling;
#[cfg(feature = "sqlite")]
mod sqlite_file;
pub mod state;
pub mod store;
#[cfg(feature = "tahoe")]
pub mod tahoe;
mod threads;

pub use error::{Error, Result, Retry, StateLack};

/// Where tests let something fail, or end the process. They do so in the whole program; without it this is nothing.
#[cfg(any(test, feature = "cli"))]
pub(crate) use fail::fail_point;
#[cfg(not(any(test, feature = "cli")))]
macro_rules! fail_point {
    ($($what:tt)*) => {};
}
#[cfg(not(any(test, feature = "cli")))]
pub(crate) use fail_point;
