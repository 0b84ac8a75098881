//! HTTP: page, API, metrics. The guard stands before everything; handlers are thin, and hand every wish to the supervisor.

pub mod at;
mod calls;
pub mod cleanings;
mod events;
mod guard;
mod health;
pub mod openapi;
mod pages;
pub mod picture;
mod plan;
mod problems;
pub mod shapes;
pub mod waiting;

use std::net::TcpListener;
use std::sync::Arc;

use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, ResponseError, web};

use super::http::{self, Server};
use super::metrics::Metrics;
use super::shared::{RefusedWish, Shared};
use crate::error::Result;
use at::at;
use shapes::ErrorBody;

/// A larger body is refused: the largest that makes sense has some fifty bytes.
pub const BODY_MOST_BYTES: usize = 4096;

/// What an endpoint answers that fails.
#[derive(Debug)]
pub struct Failed {
    status: StatusCode,
    text: String,
}

impl Failed {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Failed { status, text: text.into() }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl ResponseError for Failed {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(ErrorBody { error: self.text.clone() })
    }
}

impl From<RefusedWish> for Failed {
    fn from(refused: RefusedWish) -> Self {
        match refused {
            RefusedWish::Unknown(text) => Failed::new(StatusCode::NOT_FOUND, text),
            RefusedWish::Conflict(text) => Failed::new(StatusCode::CONFLICT, text),
            RefusedWish::Wrong(text) => Failed::new(StatusCode::BAD_REQUEST, text),
            RefusedWish::Unavailable(text) => Failed::new(StatusCode::SERVICE_UNAVAILABLE, text),
        }
    }
}

/// Serves on a socket that listens already, until it is told to stop.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if its thread cannot be started.
pub fn serve(listener: TcpListener, shared: Arc<Shared>, metrics: Arc<Metrics>) -> Result<Server> {
    let (shared, metrics) = (web::Data::from(shared), web::Data::from(metrics));
    http::serve(listener, move || {
        App::new()
            .app_data(shared)
            .app_data(metrics)
            .app_data(web::PayloadConfig::new(BODY_MOST_BYTES))
            .app_data(json_config())
            .app_data(web::PathConfig::default().error_handler(|e, _| wrong(&e)))
            .app_data(web::QueryConfig::default().error_handler(|e, _| wrong(&e)))
            .wrap(from_fn(guard::guard))
            .configure(calls::configure)
            .configure(pages::configure)
            .service(at("/api/events").on(Method::GET, events::stream))
            .default_service(web::to(|| async {
                HttpResponse::NotFound()
                    .json(ErrorBody { error: "there is nothing here: see /api/openapi.json".into() })
            }))
    })
}

fn json_config() -> web::JsonConfig {
    web::JsonConfig::default().limit(BODY_MOST_BYTES).error_handler(|e, _| match e {
        actix_web::error::JsonPayloadError::Overflow { .. }
        | actix_web::error::JsonPayloadError::OverflowKnownLength { .. } => too_large().into(),
        e => wrong(&e),
    })
}

pub(crate) fn too_large() -> Failed {
    Failed::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is larger than {BODY_MOST_BYTES} bytes"))
}

fn wrong(why: &dyn std::fmt::Display) -> actix_web::Error {
    Failed::new(StatusCode::BAD_REQUEST, why.to_string()).into()
}
