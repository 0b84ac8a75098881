//! Where and how an old cleaner would have ended with an exception. In compat mode these are refusals.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The step in which the old cleaner would have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RaisedAt {
    /// Making the list of segments by benefit (eras A and B).
    CleaningList,
    /// Grouping the expired objects by age (eras A and B).
    Balance,
    /// Computing the utilization of the segments (era C).
    Utilization,
}

/// The exception with which it would have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RaisedFault {
    /// Arithmetic with NULL.
    Null,
    DivisionByZero,
    /// A sum beyond 64 bits.
    Overflow,
    /// A usage row for a segment that is not there.
    UnknownSegment,
    /// Not an exception: a benefit that is not a number, where the old order of segments is a matter of chance.
    NotANumber,
}

/// What the old cleaner would have raised, nothing being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The step.
    pub at: RaisedAt,
    /// The exception.
    pub fault: RaisedFault,
    /// The segment, where it is about one.
    pub segment: Option<i64>,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            RaisedFault::Null => "arithmetic with NULL",
            RaisedFault::DivisionByZero => "division by zero",
            RaisedFault::Overflow => "integer overflow",
            RaisedFault::UnknownSegment => "a usage row for an unknown segment",
            RaisedFault::NotANumber => "a benefit that is not a number",
        };
        let at = match self.at {
            RaisedAt::CleaningList => "the cleaning list",
            RaisedAt::Balance => "grouping by age",
            RaisedAt::Utilization => "computing utilization",
        };
        write!(f, "the old cleaner fails here: {fault} in {at}")?;
        match self.segment {
            Some(id) => write!(f, " (segment {id})"),
            None => Ok(()),
        }
    }
}
