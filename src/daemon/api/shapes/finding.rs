//! A finding or an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::FindingRow;
use crate::tahoe::words::share_number;

/// A finding or an error, as it was saved; what it is about also in Tahoe's words.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct ShownFinding {
    #[serde(flatten)]
    pub row: FindingRow,
    /// The bucket; none for errors.
    storage_index: Option<String>,
    /// The share's number.
    share: Option<i64>,
    /// The part of the share.
    region: Option<String>,
}

impl From<FindingRow> for ShownFinding {
    fn from(row: FindingRow) -> ShownFinding {
        ShownFinding {
            storage_index: row.bucket.clone(),
            share: share_number(row.object.as_deref()),
            region: row.part.clone(),
            row,
        }
    }
}
