//! A finding or an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::FindingRow;
use crate::tahoe::words::share_number;

/// A finding or an error, as it was saved; what it is about also in Tahoe's words.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    #[serde(flatten)]
    pub row: FindingRow,
    /// The bucket; none for errors.
    storage_index: Option<String>,
    /// The share's number.
    share: Option<i64>,
    /// The part of the share.
    region: Option<String>,
}

impl From<FindingRow> for Finding {
    fn from(row: FindingRow) -> Finding {
        Finding {
            storage_index: row.bucket.clone(),
            share: share_number(row.object.as_deref()),
            region: row.part.clone(),
            row,
        }
    }
}
