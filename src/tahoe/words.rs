//! Findings and reports in Tahoe's words, as command line, API and the notes in quarantine have them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::job::{Finding, Severity};
use crate::model::ReportWords;

/// The reports of jobs on a Tahoe store.
pub const REPORT: ReportWords = ReportWords { finding: |finding| json!(ShareFinding::from(finding)), figures };

fn figures(report: &mut Map<String, Value>) {
    let rename = |of: &mut Map<String, Value>, neutral: &str, own: &str| {
        let figure = of.remove(neutral);
        of.extend(figure.map(|figure| (own.to_owned(), figure)));
    };
    rename(report, "objects", "shares");
    if let Some(Value::Object(strays)) = report.get_mut("strays") {
        rename(strays, "no_object", "no_share");
    }
}

/// A [`Finding`] about a share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShareFinding {
    /// The bucket's name; what is not one line of text is escaped.
    pub storage_index: String,
    /// The share's number, as its name says; `null` where it is about the bucket.
    pub share: Option<i64>,
    /// The part of the share: `container header`, `leases`.
    pub region: String,
    /// What is wrong, for people.
    pub reason: String,
    /// Whether Tahoe's lease checker lists the share under `corrupt-shares`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tahoe_corrupt: bool,
    /// Whether nothing is wrong with the share, and the finding says only why it, or a lease of it, is kept though expired.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_kept: bool,
    /// The bytes of the file at fault, from the first up to but not including the last, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<(u64, u64)>,
}

impl From<&Finding> for ShareFinding {
    fn from(finding: &Finding) -> ShareFinding {
        ShareFinding {
            storage_index: finding.bucket.clone(),
            share: share_number(finding.object.as_deref()),
            region: finding.part.clone(),
            reason: finding.reason.clone(),
            tahoe_corrupt: is_tahoe_corrupt(finding),
            only_kept: finding.severity == Severity::Note,
            bytes: finding.bytes,
        }
    }
}

impl From<ShareFinding> for Finding {
    fn from(of_share: ShareFinding) -> Finding {
        let ShareFinding { storage_index, share, region, reason, tahoe_corrupt, only_kept, bytes } = of_share;
        Finding {
            bucket: storage_index,
            object: share.map(|number| number.to_string()),
            part: region,
            bytes,
            reason,
            severity: if only_kept { Severity::Note } else { Severity::Bad },
            extra: if tahoe_corrupt { Value::Bool(true) } else { Value::Null },
        }
    }
}

/// Whether Tahoe's lease checker lists the share under `corrupt-shares`.
pub fn is_tahoe_corrupt(finding: &Finding) -> bool {
    finding.extra == true
}

/// The number of the share that an object of this name is, if it has one that fits.
pub fn share_number(object: Option<&str>) -> Option<i64> {
    object?.parse().ok()
}
