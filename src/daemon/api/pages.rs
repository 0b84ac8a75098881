//! The page and what belongs to it: static files compiled in, the login, the API's description, the metrics.

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::picture::Picture;
use super::{Failed, reading};
use crate::daemon::metrics::Metrics;
use crate::daemon::shared::Shared;

/// The files of the page: path, type, content.
const FILES: &[(&str, &str, &[u8])] = &[("/", "text/html; charset=utf-8", include_bytes!("../page/index.html"))];

/// What the API looks like, for programs.
pub const OPENAPI: &str = include_str!("../openapi.json");

/// What holds nothing about the store, and how the page gets its session: all that is read without one everywhere.
///
/// Every other path needs the token, however it is spelt: routing takes `/%61pi/` for `/api/`.
pub fn is_public(path: &str) -> bool {
    path == "/login" || path == "/api/openapi.json" || FILES.iter().any(|(file, ..)| *file == path)
}

/// All routes.
pub fn configure(app: &mut web::ServiceConfig) {
    for &(path, kind, content) in FILES {
        app.route(
            path,
            reading().to(move || async move { HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).body(content) }),
        );
    }
    app.route("/login", web::get().to(login)).route("/metrics", reading().to(metrics)).route(
        "/api/openapi.json",
        reading().to(|| async { HttpResponse::Ok().content_type("application/json").body(OPENAPI) }),
    );
}

#[derive(Deserialize)]
struct LoginQuery {
    code: String,
}

/// Takes the code of a one-time link for a session, and leads on to the page, so that the code leaves the address bar.
async fn login(daemon: web::Data<Shared>, query: web::Query<LoginQuery>) -> Result<HttpResponse, Failed> {
    let failed = |e: crate::Error| Failed::new(StatusCode::SERVICE_UNAVAILABLE, e.to_string());
    let session = daemon.access.login(&query.code, daemon.time.clock.now()).map_err(failed)?;
    let Some(session) = session else {
        let text = "This link was used already, or is too old.\nGet another one with: sexton status --open\n";
        return Ok(HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(text));
    };
    let cookie =
        Cookie::build(daemon.access.cookie(), session).path("/").http_only(true).same_site(SameSite::Strict).finish();
    Ok(HttpResponse::SeeOther().insert_header((LOCATION, "/")).cookie(cookie).finish())
}

async fn metrics(daemon: web::Data<Shared>, metrics: web::Data<Metrics>) -> HttpResponse {
    let picture = Picture::take(&daemon);
    // What was saved since the supervisor's last look counts too.
    metrics.look(&picture.status);
    let text = metrics.text(&picture.status(false), picture.view.unsaved.is_some(), |name| daemon.engine.ring(name));
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text)
}
