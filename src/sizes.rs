//! Sizes and numbers as people read them, the same wherever the program names one: by thousands, in the unit that fits; in the
//! singular or the plural.

/// Writes a number of bytes: `812 B`, `44.7 MB`, `1.9 GB`. What would be rounded up to a thousand takes the next unit.
pub(crate) fn for_people(bytes: f64) -> String {
    if bytes < 999.5 {
        return format!("{bytes:.0} B");
    }
    let mut value = bytes / 1e3;
    for unit in ["kB", "MB", "GB", "TB"] {
        if value < 999.95 {
            return format!("{value:.1} {unit}");
        }
        value /= 1e3;
    }
    format!("{value:.1} PB")
}

/// A part of a whole, or of a core, in percent: `10%`. Rounded to nine places, so that 0.07 gives 7 and not 7.000000000000001.
pub(crate) fn percent(part: f64) -> String {
    format!("{}%", (part * 1e11).round() / 1e9)
}

/// A number of things, in one word or the other: `1 bucket`, `2 buckets`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    format!("{number} {}", unit(number, one))
}

/// The word for so many of them.
pub(crate) fn unit(number: u64, one: &str) -> String {
    format!("{one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::for_people;

    #[test]
    fn each_size_has_the_unit_that_fits() {
        for (bytes, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (999.5, "1.0 kB"),
            (134_000.0, "134.0 kB"),
            (999_949.0, "999.9 kB"),
            (999_950.0, "1.0 MB"),
            (207_800_000.0, "207.8 MB"),
            (1_883_299_840.0, "1.9 GB"),
            (812_336_410_112.0, "812.3 GB"),
            (4e12, "4.0 TB"),
            (1e15, "1.0 PB"),
            (2.5e18, "2500.0 PB"),
        ] {
            assert_eq!(for_people(bytes), text, "{bytes}");
        }
    }
}
