//! The daemon: `sexton run`, for months beside a storage server.
//!
//! One process: the [engine](crate::engine) on a thread of its own, a supervisor that keeps what is running
//! and what the configuration says the same, and HTTP for the page, programs and metrics. A request never changes
//! anything itself: it reads the engine's status, or hands a wish to the supervisor.
//!
//! Never decides what a crawl does next; that is the engine's business, whoever hosts it.

pub(crate) mod access;
pub(crate) mod api;
mod entrance;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod keep;
pub(crate) mod launch;
pub(crate) mod metrics;
pub(crate) mod notify;
pub(crate) mod pace;
pub(crate) mod past;
pub(crate) mod places;
pub(crate) mod run;
pub(crate) mod series;
pub(crate) mod shared;
mod signals;
pub(crate) mod supervisor;

/// The API's own document, as `/api/openapi.json` serves it.
pub use api::openapi::document as api_document;
pub use run::{Start, run};
