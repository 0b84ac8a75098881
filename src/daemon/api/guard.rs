//! The guard before every request: host, origin, body, token.
//!
//! The order matters: what a page elsewhere sends is refused before anything else is looked at, so that it learns nothing.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpRequest, ResponseError, web};

use super::{BODY_MOST_BYTES, Failed, pages, too_large};
use crate::daemon::access::{AccessKeys, Caller, Hosts};
use crate::daemon::http::{Answer, Answering, TakenSeat};
use crate::daemon::shared::Shared;

/// Everything the page needs comes from the daemon itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// For browsers that do not say where a request comes from: no page elsewhere may embed an answer.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Lets through what may pass, with a note of who asks.
pub async fn guard(request: ServiceRequest, next: Next<impl MessageBody + 'static>) -> Result<ServiceResponse, Error> {
    let caller = match request.app_data::<web::Data<Shared>>() {
        Some(shared) => check(&request, &shared.access),
        None => Err(Failed::new(StatusCode::INTERNAL_SERVER_ERROR, "the daemon has no state")),
    };
    let place = request.conn_data::<TakenSeat>().cloned();
    // Also where what follows fails, or is given up.
    let answering = place.as_ref().map(|place| Answering::new(&place.seat));
    let mut response = match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.call(request).await?.map_into_boxed_body()
        }
        Err(failed) => request.into_response(failed.error_response().map_into_boxed_body()),
    };
    harden(response.headers_mut());
    Ok::<ServiceResponse<BoxBody>, Error>(match (answering, place) {
        (Some(answering), Some(place)) => {
            response.map_body(|_, body| Answer::new(answering, &place.seats, body).boxed())
        }
        _ => response,
    })
}

fn check(request: &ServiceRequest, access: &AccessKeys) -> Result<Caller, Failed> {
    let header = |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or("\u{0}"));
    let forbidden = |text: String| Failed::new(StatusCode::FORBIDDEN, text);
    let host = known_host(request.request(), access.hosts())?;
    let own_origin = match header(ORIGIN) {
        Some(origin) if !access.hosts().know_origin(origin, host) => {
            return Err(forbidden(format!("requests from the origin {origin:?} are refused")));
        }
        origin => origin.is_some(),
    };
    let page = ["/", "/login"].contains(&request.path());
    // The browser's own word for requests that carry no Origin. A link elsewhere may lead to the page, nothing more.
    if !page && matches!(header(FETCH_SITE), Some("cross-site" | "same-site")) {
        return Err(forbidden("requests from other sites are refused".to_owned()));
    }
    let length = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY_MOST_BYTES as u64) {
        return Err(too_large());
    }
    let session = request.cookie(access.cookie());
    let caller = access.caller(header(AUTHORIZATION), session.as_ref().map(|cookie| cookie.value()));
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let needed = if reads { access.reading_needs_token() && !pages::is_public(request.path()) } else { true };
    match caller {
        Caller::Anybody if needed => Err(unauthorized(reads)),
        // A browser names the origin of every change; without it the cookie alone is not enough.
        Caller::Page if !reads && !own_origin => Err(unauthorized(reads)),
        caller => Ok(caller),
    }
}

/// The host that a request names, if it is one of the daemon's.
///
/// # Errors
/// If it is not, with advice.
pub fn known_host<'a>(request: &'a HttpRequest, hosts: &Hosts) -> Result<&'a str, Failed> {
    let host = request.headers().get(HOST).map_or("", |value| value.to_str().unwrap_or("\u{0}"));
    let near = request.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback());
    // No browser sends a request without a host, whatever page it shows.
    let asks_for_health = host.is_empty() && near && request.path() == pages::HEALTH;
    if hosts.know(host) || asks_for_health {
        return Ok(host);
    }
    let advice = match host {
        "" => {
            "the request names no host: send one (Host: localhost), ask for /healthz, which needs none on this machine, or add \
             \"\" to allowed_hosts in the configuration"
                .to_owned()
        }
        host => format!(
            "the host {host:?} is not one of this daemon's names; add it to allowed_hosts in the configuration if it should be"
        ),
    };
    Err(Failed::new(StatusCode::FORBIDDEN, advice))
}

fn unauthorized(reads: bool) -> Failed {
    let what = if reads { "reading from beyond loopback" } else { "a change" };
    let how = "send `Authorization: Bearer TOKEN`, or open the page by the link that `sexton status --open` prints";
    Failed::new(StatusCode::UNAUTHORIZED, format!("{what} needs the token: {how}"))
}

pub fn harden(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
