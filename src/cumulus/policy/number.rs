//! Numbers as the old cleaners had them: whole numbers of any size, or doubles, and the sums of SQLite.
//!
//! Owns the exact arithmetic: a quotient of two whole numbers is rounded once, as Python's true division does. Never
//! looks at where a number came from.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::raised::RaisedFault;

/// A number of bytes, or what stands in its place: whole, or a double where somebody wrote one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i128),
    /// A double.
    Real(f64),
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            // Most formats know 64 bits; what is wider is written as wide as it is.
            Number::Int(n) => match i64::try_from(n) {
                Ok(n) => serializer.serialize_i64(n),
                Err(_) => serializer.serialize_i128(n),
            },
            Number::Real(x) => serializer.serialize_f64(x),
        }
    }
}

#[cfg(feature = "daemon")]
impl schemars::JsonSchema for Number {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Number".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        f64::json_schema(generator)
    }
}

/// Beyond 64 bits most formats give a double.
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        struct AnyNumber;
        impl Visitor<'_> for AnyNumber {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, n: i64) -> Result<Number, E> {
                Ok(Number::Int(n.into()))
            }

            fn visit_u64<E>(self, n: u64) -> Result<Number, E> {
                Ok(Number::Int(n.into()))
            }

            fn visit_i128<E>(self, n: i128) -> Result<Number, E> {
                Ok(Number::Int(n))
            }

            fn visit_f64<E>(self, x: f64) -> Result<Number, E> {
                Ok(Number::Real(x))
            }
        }
        deserializer.deserialize_any(AnyNumber)
    }
}

impl Number {
    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Real(x) => x,
        }
    }

    /// Whether it is 0, or the double -0.
    pub fn is_zero(self) -> bool {
        match self {
            Number::Int(n) => n == 0,
            Number::Real(x) => x == 0.0,
        }
    }

    /// The sum; whole if both are. Whole sums saturate at 128 bits, which 2^64 rows of 64 bits do not reach.
    pub fn plus(self, other: Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.saturating_add(b)),
            (a, b) => Number::Real(a.to_f64() + b.to_f64()),
        }
    }

    /// What remains after `other` is taken away.
    pub fn minus(self, other: Number) -> Number {
        match (self, other) {
            (Number::Int(a), Number::Int(b)) => Number::Int(a.saturating_sub(b)),
            (a, b) => Number::Real(a.to_f64() - b.to_f64()),
        }
    }

    /// The quotient as a double, rounded once; `None` for a divisor of 0.
    pub fn over(self, divisor: Number) -> Option<f64> {
        if divisor.is_zero() {
            return None;
        }
        Some(match (self, divisor) {
            (Number::Int(a), Number::Int(b)) => quotient(a, b),
            (a, b) => a.to_f64() / b.to_f64(),
        })
    }

    /// A number of bytes for sums over all segments: whole, never negative; a double is cut.
    pub fn bytes(self) -> i128 {
        match self {
            Number::Int(n) => n.max(0),
            Number::Real(x) => (x as i128).max(0),
        }
    }
}

/// Divides two whole numbers, `b` not 0, and rounds once, ties to even.
fn quotient(a: i128, b: i128) -> f64 {
    const EXACT: u128 = 1 << 53;
    let (n, d) = (a.unsigned_abs(), b.unsigned_abs());
    let sign = if (a < 0) != (b < 0) && a != 0 { -1.0 } else { 1.0 };
    if n < EXACT && d < EXACT {
        return sign * (n as f64 / d as f64);
    }
    if n == 0 {
        return 0.0;
    }
    // Both with their highest bit at place 126, so that the remainder can be doubled; their quotient is then in (1/2, 2).
    let (up_n, up_d) = (n.leading_zeros() as i32 - 1, d.leading_zeros() as i32 - 1);
    let place = |x: u128, up: i32| if up < 0 { (x >> 1) | (x & 1) } else { x << up };
    let (mut rest, d) = (place(n, up_n), place(d, up_d));
    const BITS: i32 = 66;
    let mut q: u128 = 0;
    for _ in 0..BITS {
        q <<= 1;
        if rest >= d {
            rest -= d;
            q |= 1;
        }
        rest <<= 1;
    }
    // The last bit says that there is more below: it only breaks ties.
    q |= u128::from(rest != 0);
    sign * (q as f64) * 2f64.powi(up_d - up_n - (BITS - 1))
}

/// A sum as SQLite's `sum()` makes it: NULL counts for nothing, and nothing but NULL gives NULL.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sum {
    whole: i128,
    real: f64,
    counted: bool,
    inexact: bool,
}

impl Sum {
    /// Takes one value in.
    pub fn add(&mut self, value: Number) {
        self.counted = true;
        match value {
            Number::Int(n) => {
                self.whole = self.whole.saturating_add(n);
                if self.inexact {
                    self.real += n as f64;
                }
            }
            Number::Real(x) => {
                if !self.inexact {
                    self.real = self.whole as f64;
                    self.inexact = true;
                }
                self.real += x;
            }
        }
    }

    /// The sum; `None` if nothing was counted.
    pub fn value(&self) -> Option<Number> {
        match (self.counted, self.inexact) {
            (false, _) => None,
            (true, false) => Some(Number::Int(self.whole)),
            (true, true) => Some(Number::Real(self.real)),
        }
    }

    /// The sum, where SQLite would have given one.
    ///
    /// # Errors
    /// [`RaisedFault::Overflow`] beyond 64 bits.
    pub fn within_64_bits(&self) -> Result<Option<Number>, RaisedFault> {
        match self.value() {
            Some(Number::Int(n)) if i64::try_from(n).is_err() => Err(RaisedFault::Overflow),
            value => Ok(value),
        }
    }
}

/// Rounds half away from zero, as SQLite's `round(x)` does: by adding a half and cutting.
pub fn round_days(days: f64) -> f64 {
    /// From here on a double has no fraction.
    const WHOLE: f64 = 4_503_599_627_370_496.0;
    if !(-WHOLE..=WHOLE).contains(&days) {
        return days;
    }
    let half = if days < 0.0 { -0.5 } else { 0.5 };
    // By way of an integer, so that there is no -0.
    ((days + half) as i64) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotients_beyond_53_bits_are_rounded_once() {
        // Dividing the two nearest doubles gives 0.33333333333333326 here.
        let (a, b) = ((1i128 << 54) + 2, 3 * ((1i128 << 54) + 2));
        assert_eq!(quotient(a, b), 1.0 / 3.0);
        assert_eq!(quotient(-a, b), -1.0 / 3.0);
        assert_eq!(quotient((1 << 53) + 1, 1), 9_007_199_254_740_992.0);
        assert_eq!(quotient((1 << 53) + 3, 1), 9_007_199_254_740_996.0);
        assert_eq!(quotient(i128::MIN, 2), -(2f64.powi(126)));
        assert_eq!(quotient(0, -(1 << 60)), 0.0);
        assert_eq!(Number::Int(1).over(Number::Int(0)), None);
    }

    #[test]
    fn numbers_are_printed_so_that_they_read_back() {
        for (number, text) in [
            (Number::Int(3), "3"),
            (Number::Real(3.0), "3.0"),
            (Number::Real(0.1 + 0.2), "0.30000000000000004"),
            (Number::Int(1 << 64), "18446744073709551616"),
        ] {
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
        assert_eq!(serde_json::from_str::<Number>("3").unwrap(), Number::Int(3));
        assert_eq!(serde_json::from_str::<Number>("3.0").unwrap(), Number::Real(3.0));
    }

    #[test]
    fn rounding_is_half_away_from_zero_by_cutting() {
        for (x, want) in [(0.5, 1.0), (2.5, 3.0), (3.499, 3.0), (-0.4, 0.0), (-0.5, -1.0), (1e300, 1e300)] {
            assert_eq!(round_days(x), want, "{x}");
        }
        // The half is added first: the double below one half becomes 1.
        assert_eq!(round_days(0.499_999_999_999_999_94), 1.0);
        assert!(round_days(-0.1).is_sign_positive());
    }

    #[test]
    fn sums_tell_nothing_from_zero_and_overflow_from_a_sum() {
        let mut sum = Sum::default();
        assert_eq!(sum.value(), None);
        sum.add(Number::Int(i64::MAX.into()));
        assert_eq!(sum.within_64_bits(), Ok(Some(Number::Int(i64::MAX.into()))));
        sum.add(Number::Int(1));
        assert_eq!(sum.within_64_bits(), Err(RaisedFault::Overflow));
        assert_eq!(sum.value(), Some(Number::Int(1 << 63)));
        sum.add(Number::Real(0.5));
        assert_eq!(sum.within_64_bits(), Ok(Some(Number::Real(9.223_372_036_854_776e18))));
    }

    proptest! {
        #[test]
        fn a_quotient_is_the_nearest_double(a in 1i128 << 53..1 << 70, b in 1i128..1 << 20) {
            let bits = quotient(a, b).to_bits();
            // q = mantissa * 2^exponent; the distance of a/b from it is at most half a unit of the mantissa.
            let mantissa = i128::from(bits & ((1 << 52) - 1) | 1 << 52);
            let exponent = (bits >> 52) as i32 - 1075;
            let (a, b) = if exponent < 0 { (a << -exponent, b) } else { (a, b << exponent) };
            prop_assert!(2 * (a - mantissa * b).abs() <= b);
        }

        #[test]
        fn a_common_factor_changes_no_quotient(a in 1i128..1 << 53, b in 1i128..1 << 53, shift in 0u32..73) {
            prop_assert_eq!(quotient(a << shift, b << shift), a as f64 / b as f64);
        }
    }
}
