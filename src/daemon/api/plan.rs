//! The body of a plan: as it is read, piece by piece, since there may be millions of segments.

use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;

use super::shapes::Plan;
use crate::cumulus::CleaningReport;

/// A piece is handed over when it has this size; the last segment in it may exceed that.
const PIECE_BYTES: usize = 16 * 1024;

/// A plan as JSON, its segments last. Besides the report, which all readers share, it takes the memory of one piece.
pub struct PlanBody {
    report: Arc<CleaningReport>,
    /// What stands before the next segment.
    text: Vec<u8>,
    next: usize,
    ended: bool,
    gave_way: bool,
}

impl PlanBody {
    /// The body with these figures, and the segments of this report.
    ///
    /// # Errors
    /// If the figures cannot be written as JSON.
    pub fn new(plan: &Plan<'_>, report: Arc<CleaningReport>) -> serde_json::Result<PlanBody> {
        let mut text = serde_json::to_vec(plan)?;
        // The object stays open for the segments.
        text.pop();
        text.extend(b",\"segments\":[");
        Ok(PlanBody { report, text, next: 0, ended: false, gave_way: false })
    }

    fn piece(&mut self) -> serde_json::Result<Vec<u8>> {
        let segments = &self.report.plan.segments;
        let mut text = mem::take(&mut self.text);
        while text.len() < PIECE_BYTES
            && let Some(segment) = segments.get(self.next)
        {
            if self.next > 0 {
                text.push(b',');
            }
            serde_json::to_writer(&mut text, &segment)?;
            self.next += 1;
        }
        if self.next == segments.len() {
            text.extend(b"]}");
            self.ended = true;
        }
        Ok(text)
    }
}

impl MessageBody for PlanBody {
    type Error = serde_json::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    /// Every other time it lets others go first: for an answer without a body all of it is asked for at one go.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<serde_json::Result<Bytes>>> {
        self.gave_way = !self.gave_way;
        if self.gave_way && !self.ended {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready((!self.ended).then(|| self.piece().map(Bytes::from)))
    }
}
