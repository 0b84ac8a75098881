//! What may be wrong with an object, and where in its bytes.

/// Bytes of an object, from `start` up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// The byte behind the last.
    pub end: u64,
}

impl Span {
    /// The bytes from `start` up to `end`; none where that is before it.
    pub fn new(start: u64, end: u64) -> Span {
        Span { start, end: end.max(start) }
    }

    /// How many bytes there are.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One thing that is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The part of the object, as far as is known: `content`, `data blocks`.
    pub region: &'static str,
    /// What is wrong, for people.
    pub reason: String,
    /// The bytes at fault: all that may be; `None` where they may stand in several places, or are missing.
    pub bytes: Option<Span>,
}

impl Flaw {
    /// A flaw somewhere in these bytes, and nowhere else.
    pub fn at(region: impl Into<&'static str>, bytes: Span, reason: impl Into<String>) -> Flaw {
        Flaw { region: region.into(), reason: reason.into(), bytes: (!bytes.is_empty()).then_some(bytes) }
    }

    /// A flaw that may lie here or elsewhere; the reason says where.
    pub fn in_doubt(region: impl Into<&'static str>, reason: impl Into<String>) -> Flaw {
        Flaw { region: region.into(), reason: reason.into(), bytes: None }
    }
}
