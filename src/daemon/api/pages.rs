//! The page and what belongs to it: static files compiled in, the login, the API's description, the metrics.

use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::header::{CONTENT_TYPE, LOCATION};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::Failed;
use super::at::at;
use super::health;
use super::openapi::DOCUMENT;
use super::picture::Picture;
use crate::daemon::metrics::Metrics;
use crate::daemon::shared::Shared;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The files of the page: path, type, content.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("../page/index.html")),
    ("/ages.js", JS, include_bytes!("../page/ages.js")),
    ("/api.js", JS, include_bytes!("../page/api.js")),
    ("/ask.js", JS, include_bytes!("../page/ask.js")),
    ("/axes.js", JS, include_bytes!("../page/axes.js")),
    ("/base.css", CSS, include_bytes!("../page/base.css")),
    ("/budget.js", JS, include_bytes!("../page/budget.js")),
    ("/charts.css", CSS, include_bytes!("../page/charts.css")),
    ("/cleanings.js", JS, include_bytes!("../page/cleanings.js")),
    ("/connection.js", JS, include_bytes!("../page/connection.js")),
    ("/crawls.js", JS, include_bytes!("../page/crawls.js")),
    ("/cycles.js", JS, include_bytes!("../page/cycles.js")),
    ("/dom.js", JS, include_bytes!("../page/dom.js")),
    ("/findings.js", JS, include_bytes!("../page/findings.js")),
    ("/format.js", JS, include_bytes!("../page/format.js")),
    ("/icon.svg", SVG, include_bytes!("../page/icon.svg")),
    ("/keep.js", JS, include_bytes!("../page/keep.js")),
    ("/live.js", JS, include_bytes!("../page/live.js")),
    ("/main.js", JS, include_bytes!("../page/main.js")),
    ("/parts.css", CSS, include_bytes!("../page/parts.css")),
    ("/pieces.js", JS, include_bytes!("../page/pieces.js")),
    ("/probe.js", JS, include_bytes!("../page/probe.js")),
    ("/questions.js", JS, include_bytes!("../page/questions.js")),
    ("/ring.js", JS, include_bytes!("../page/ring.js")),
    ("/scheme.js", JS, include_bytes!("../page/scheme.js")),
    ("/segments.js", JS, include_bytes!("../page/segments.js")),
    ("/summary.js", JS, include_bytes!("../page/summary.js")),
    ("/theme.js", JS, include_bytes!("../page/theme.js")),
];

/// Where health checks ask.
pub const HEALTH: &str = "/healthz";

/// What holds nothing about the store, and how the page gets its session: all that is read without one everywhere.
///
/// Every other path needs the token, however it is spelt: routing takes `/%61pi/` for `/api/`.
pub fn is_public(path: &str) -> bool {
    ["/login", "/api/openapi.json", HEALTH].contains(&path) || FILES.iter().any(|(file, ..)| *file == path)
}

/// All routes.
pub fn configure(app: &mut web::ServiceConfig) {
    for &(path, kind, content) in FILES {
        let file = move || async move { HttpResponse::Ok().insert_header((CONTENT_TYPE, kind)).body(content) };
        app.service(at(path).reading(file));
    }
    let description = || async { HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str()) };
    app.service(at("/api/openapi.json").reading(description))
        .service(at("/metrics").reading(metrics))
        .service(at(HEALTH).reading(health::health))
        // A link works once, so nothing but its page may use it up.
        .service(at("/login").on(Method::GET, login));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/daemon/page");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| format!("/{}", file.unwrap().file_name().to_str().unwrap()).replace("/index.html", "/"))
            .collect();
        there.sort();
        let mut served: Vec<&str> = FILES.iter().map(|file| file.0).collect();
        served.sort_unstable();
        assert_eq!(served, there);
    }
}
