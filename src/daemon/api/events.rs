//! `/api/events`: server-sent events to one reader.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use tokio::sync::mpsc::Receiver;

use super::Failed;
use super::picture::Picture;
use crate::daemon::access::Caller;
use crate::daemon::hub::{READERS_MOST, event};
use crate::daemon::shared::Shared;

/// After a lost connection the browser comes back in two seconds.
const RETRY: &str = "retry: 2000\n\n";

/// The body of the answer: what comes out of the reader's queue.
struct Events(Receiver<web::Bytes>);

impl MessageBody for Events {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<web::Bytes, Self::Error>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(Ok))
    }
}

/// Streams events until the reader goes, or the daemon ends.
pub async fn stream(daemon: web::Data<Shared>, caller: web::ReqData<Caller>) -> Result<HttpResponse, Failed> {
    let status = event("status", &Picture::take(&daemon).status(*caller != Caller::Anybody));
    let first = [web::Bytes::from_static(RETRY.as_bytes()), status];
    let may_change = *caller != Caller::Anybody;
    let Some(events) = daemon.hub.join(may_change, first) else {
        let text = format!("{READERS_MOST} readers of events are connected already");
        return Err(Failed::new(StatusCode::SERVICE_UNAVAILABLE, text));
    };
    Ok(HttpResponse::Ok().content_type("text/event-stream").body(Events(events)))
}
