//! What is answered while the daemon waits at its start: that it does, and what for.

use std::net::TcpListener;

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, ResponseError, web};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::guard::{harden, known_host};
use super::{health, pages};
use crate::daemon::access::Hosts;
use crate::daemon::http;

/// Every answer but that to a health check.
#[derive(Serialize, Deserialize)]
pub struct Waiting {
    pub error: String,
    /// What it waits for, where only this machine hears it.
    // Must be there, null or not: by this field the answer is told from all others.
    #[serde(deserialize_with = "Option::deserialize")]
    pub waiting: Option<String>,
}

/// Answers on a socket until it is dropped.
///
/// # Errors
/// If the socket cannot be waited for.
pub async fn answer(listener: TcpListener, hosts: web::Data<Hosts>, why: String) -> std::io::Result<()> {
    let app = App::new().app_data(hosts).app_data(web::Data::new(why)).default_service(web::to(one));
    let (_running, stopping) = watch::channel(false);
    http::accept(listener, app, stopping).await
}

async fn one(request: HttpRequest, hosts: web::Data<Hosts>, why: web::Data<String>) -> HttpResponse {
    let mut answer = match known_host(&request, &hosts) {
        Err(failed) => failed.error_response(),
        Ok(_) if request.path() == pages::HEALTH => health::answer(Some("the daemon waits at its start".to_owned())),
        Ok(_) => {
            // Beyond loopback reading needs the token, which may be what it waits for.
            let waiting = hosts.are_loopback().then(|| why.to_string());
            let shown = waiting.as_deref().unwrap_or("its log says for what");
            let error = format!("the daemon waits at its start: {shown}");
            HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE).json(Waiting { error, waiting })
        }
    };
    harden(answer.headers_mut());
    // What comes next may be answered by the daemon itself.
    answer.head_mut().set_connection_type(actix_web::http::ConnectionType::Close);
    answer
}
