//! The kinds of values in the configuration file: what each is read from, and what is said of one that is wrong.
//!
//! A value is read by its own type while the reader still stands behind it, so that an error has its place in the file. How people
//! spell durations and percentages is in [`units`](super::units); nothing here knows which key a value belongs to.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Unexpected, Visitor};

use super::{self as spelling, Percent};
use crate::settings::{self, HISTORY, PACE, READ_AHEAD, WEIGHT, WORKERS};

/// How one kind of value is read.
pub(crate) trait ValueKind {
    /// What comes out of it.
    type Of: fmt::Debug;
    /// What the value must be, with an example.
    const RIGHT: &'static str;

    /// Reads it as a string.
    fn text(text: &str) -> Result<Self::Of, String> {
        Err(format!("must be {}, not {text:?} in quotes", Self::RIGHT))
    }

    /// Reads it as a number.
    fn number(n: f64) -> Result<Self::Of, String>;
}

/// A value of one kind. What is wrong with it is said while the reader still stands behind it, so the error has its
/// place in the file.
pub(crate) struct Value<K: ValueKind>(pub K::Of);

impl<K: ValueKind> fmt::Debug for Value<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de, K: ValueKind> Deserialize<'de> for Value<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor::<K>(PhantomData))
    }
}

struct ValueVisitor<K>(PhantomData<K>);

impl<K: ValueKind> Visitor<'_> for ValueVisitor<K> {
    type Value = Value<K>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(K::RIGHT)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<K>, E> {
        K::text(text).map(Value).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value<K>, E> {
        // Rounded beyond 2^53: out of every limit there is.
        K::number(n as f64).map(Value).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Value<K>, E> {
        K::number(n as f64).map(Value).map_err(E::custom)
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Value<K>, E> {
        K::number(n).map(Value).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<K>, E> {
        Err(E::invalid_type(Unexpected::Other("a word without quotes"), &self))
    }
}

impl ValueKind for Percent {
    type Of = Percent;
    const RIGHT: &'static str = "a percentage of one core such as \"10%\"";

    fn text(text: &str) -> Result<Percent, String> {
        text.parse()
    }

    fn number(n: f64) -> Result<Percent, String> {
        Err(spelling::bare_percent(n))
    }
}

/// Makes a kind that stands in quotes; a bare number is answered by the last of these.
macro_rules! quoted_kind {
    ($kind:ident, $of:ty, $right:literal, $read:expr, $number:expr) => {
        #[derive(Debug)]
        pub(crate) struct $kind;

        impl $crate::spelling::value::ValueKind for $kind {
            type Of = $of;
            const RIGHT: &'static str = $right;

            fn text(text: &str) -> std::result::Result<$of, String> {
                ($read)(text)
            }

            fn number(n: f64) -> std::result::Result<$of, String> {
                Err($number(n, Self::RIGHT))
            }
        }
    };
}

pub(crate) use quoted_kind;

quoted_kind!(Slice, Duration, "a duration such as \"1s\"", spelling::parse_slice, no_unit);
quoted_kind!(Interval, Duration, "a duration such as \"10s\"", spelling::parse_interval, no_unit);
quoted_kind!(Pace, Duration, "a duration such as \"12h\"", |text| parse_within(&PACE, text), no_unit);
quoted_kind!(History, Duration, "a duration such as \"365d\"", |text| parse_within(&HISTORY, text), no_unit);
quoted_kind!(Target, Duration, "a duration such as \"30d\"", spelling::parse_target, no_unit);
quoted_kind!(Name, String, "a name in quotes such as \"leases\"", parse_name, no_number);
quoted_kind!(FilePath, String, "a path in quotes such as \"/srv/tahoe/storage\"", parse_path, no_number);

quoted_kind!(Bytes, u64, "a size such as \"500MB\"", spelling::parse_bytes, no_size_unit);

pub(crate) fn no_unit(n: f64, _: &str) -> String {
    format!("{n} has no unit: write \"{n}s\", \"{n}m\" or \"{n}h\"")
}

fn no_size_unit(n: f64, _: &str) -> String {
    format!("{n} has no unit: write \"{n}B\", \"{n}MB\" or \"{n}GB\"")
}

pub(crate) fn no_number(n: f64, right: &str) -> String {
    format!("must be {right}, not the number {n}")
}

fn parse_within(limits: &RangeInclusive<Duration>, text: &str) -> Result<Duration, String> {
    let duration = spelling::parse_duration(text)?;
    settings::within(limits, &duration, settings::duration).map(|()| duration)
}

fn parse_name(text: &str) -> Result<String, String> {
    settings::check_name(text).map(|()| text.to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    match text {
        "" => Err("must be a path such as \"/srv/tahoe/storage\", not empty".into()),
        path => Ok(path.to_owned()),
    }
}

/// Makes a kind that is a whole number within limits.
macro_rules! whole_kind {
    ($kind:ident, $range:expr, $right:literal) => {
        #[derive(Debug)]
        pub(crate) struct $kind;

        impl ValueKind for $kind {
            type Of = u32;
            const RIGHT: &'static str = $right;

            fn number(n: f64) -> Result<u32, String> {
                if n.fract() != 0.0 {
                    return Err(format!("must be {}, not {n}", Self::RIGHT));
                }
                let limits = f64::from(*$range.start())..=f64::from(*$range.end());
                settings::within(&limits, &n, f64::to_string)?;
                // Whole, and within limits that are u32.
                Ok(n as u32)
            }
        }
    };
}

whole_kind!(Workers, WORKERS, "a whole number such as 1");
whole_kind!(ReadAhead, READ_AHEAD, "a whole number such as 8");

#[derive(Debug)]
pub(crate) struct Weight;

impl ValueKind for Weight {
    type Of = f64;
    const RIGHT: &'static str = "a number such as 1.0";

    fn number(n: f64) -> Result<f64, String> {
        settings::within(&WEIGHT, &n, f64::to_string).map(|()| n)
    }
}
