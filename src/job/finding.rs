//! What a job has to say about an object or a bucket: the [`Finding`].

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::shown;

/// Whether a finding tells of damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object is damaged, or the bucket where the finding names no object.
    #[default]
    Bad,
    /// Nothing is damaged; people should know of it all the same.
    Note,
}

/// What a job has found about an object, or about a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedFinding")]
pub struct Finding {
    /// The bucket's name, or its path; what is not one line of text is escaped.
    pub bucket: String,
    /// The object's name in the bucket; `None` if the finding is about the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The part of the object: `content`, `signature`.
    pub part: String,
    /// The bytes at fault, from the first up to but not including the last, where nothing else can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
    /// What is wrong, for people.
    pub reason: String,
    /// Whether it is damage.
    #[serde(skip_serializing_if = "Severity::is_bad")]
    pub severity: Severity,
    /// What only the job reads; `null` where there is nothing.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub extra: Value,
}

impl Severity {
    fn is_bad(&self) -> bool {
        *self == Severity::Bad
    }
}

impl Finding {
    /// Damage in a part of a bucket, which is named or given as a path.
    pub fn bad(bucket: impl AsRef<Path>, part: impl Into<String>, reason: impl Into<String>) -> Finding {
        Finding {
            bucket: shown::path(bucket.as_ref()),
            object: None,
            part: part.into(),
            bytes: None,
            reason: reason.into(),
            severity: Severity::Bad,
            extra: Value::Null,
        }
    }

    /// Something to know about a part of a bucket that is not damaged.
    pub fn note(bucket: impl AsRef<Path>, part: impl Into<String>, reason: impl Into<String>) -> Finding {
        Finding { severity: Severity::Note, ..Finding::bad(bucket, part, reason) }
    }

    /// The same about an object in the bucket.
    pub fn in_object(self, name: impl Into<String>) -> Finding {
        Finding { object: Some(name.into()), ..self }
    }
}

/// A finding as it is read back. 0.1.0 saved the words of the one store that it knew.
#[derive(Deserialize)]
struct SavedFinding {
    #[serde(alias = "storage_index")]
    bucket: String,
    object: Option<String>,
    share: Option<i64>,
    #[serde(alias = "region")]
    part: String,
    bytes: Option<(u64, u64)>,
    reason: String,
    #[serde(default)]
    severity: Severity,
    #[serde(default)]
    only_kept: bool,
    #[serde(default, alias = "tahoe_corrupt")]
    extra: Value,
}

impl From<SavedFinding> for Finding {
    fn from(saved: SavedFinding) -> Finding {
        let SavedFinding { bucket, object, share, part, bytes, reason, severity, only_kept, extra } = saved;
        let object = object.or_else(|| share.map(|number| number.to_string()));
        let severity = if only_kept { Severity::Note } else { severity };
        Finding { bucket, object, part, bytes, reason, severity, extra }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_that_0_1_0_saved_are_read() {
        let read = |text: &str| serde_json::from_str::<Finding>(text).unwrap();
        let corrupt =
            r#"{"storage_index":"aa3k","share":7,"region":"leases","reason":"odd","tahoe_corrupt":true,"bytes":[1,2]}"#;
        let expected = Finding { bytes: Some((1, 2)), extra: true.into(), ..Finding::bad("aa3k", "leases", "odd") };
        assert_eq!(read(corrupt), expected.in_object("7"));
        let kept = r#"{"storage_index":"aa3k","share":null,"region":"bucket","reason":"kept","only_kept":true}"#;
        assert_eq!(read(kept), Finding::note("aa3k", "bucket", "kept"));
    }

    #[test]
    fn what_is_saved_is_read_back() {
        let whole = Finding { bytes: Some((0, 9)), extra: 3.into(), ..Finding::note("a\u{1b}/b", "content", "odd") };
        for finding in [Finding::bad("a", "content", "odd"), whole.in_object("c")] {
            assert_eq!(serde_json::from_str::<Finding>(&serde_json::to_string(&finding).unwrap()).unwrap(), finding);
        }
    }
}
