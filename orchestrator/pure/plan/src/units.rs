//! Quantities as people write them: `"10s"`, `"4GiB"`, `"5%"`, `"1Gbit"`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A span of time in whole nanoseconds, written with a unit: `"500ms"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Duration(pub u64);

/// A number of bytes, written with a unit or as a plain integer: `"4GiB"`, `512`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Size(pub u64);

/// A number of bits per second: `"1Gbit"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct BitRate(pub u64);

/// A fraction from 0 to 1, written as a percentage or as a number: `"5%"`, `0.05`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Ratio(pub f64);

/// Some of several things, written as a share or as a whole number of them: `"5%"`, `0.05`, `2`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Portion {
    /// A fraction of all, from 0 to 1.
    Share(Ratio),
    /// So many.
    Count(u32),
}

impl Portion {
    /// How many of `all` that is; a share is rounded down.
    #[must_use]
    pub fn of(self, all: usize) -> usize {
        match self {
            // A share that a person wrote as a percentage is exact to far more digits than this.
            Self::Share(Ratio(share)) => (all as f64 * share + 1e-9).floor() as usize,
            Self::Count(count) => count as usize,
        }
    }
}

/// The text is not a quantity of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}")]
pub struct ParseQuantityError {
    /// What was given, cut to 40 characters.
    pub text: String,
    /// The kind of quantity with an example.
    pub wanted: &'static str,
}

/// Units of time with their length in nanoseconds, longest first.
const TIME: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];
/// Units of size in bytes, largest first; binary before decimal so that printing prefers them.
const BYTES: &[(&str, u64)] = &[
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];
/// Units of rate in bits per second, largest first.
const BITS: &[(&str, u64)] = &[
    ("Gbit", 1_000_000_000),
    ("Mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

const DURATION: &str = "a duration such as \"500ms\", \"10s\" or \"2h\"";
const SIZE: &str = "a size such as 512, \"64KiB\" or \"4GiB\"";
const BIT_RATE: &str = "a rate such as \"100Mbit\" or \"1Gbit\"";
const RATIO: &str = "a fraction such as \"5%\" or 0.05";
const PORTION: &str = "a share such as \"5%\", or a whole number such as 2";

/// Parses a decimal number followed by one of `units` into whole base units.
fn parse(text: &str, units: &[(&str, u64)], wanted: &'static str) -> Result<u64, ParseQuantityError> {
    let error = || ParseQuantityError {
        text: text.chars().take(40).collect(),
        wanted,
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(error)?;
    let (number, unit) = trimmed.split_at(split);
    let scale = units
        .iter()
        .find(|(name, _)| *name == unit.trim_start())
        .ok_or_else(error)?
        .1;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(error);
    }
    let value = number.parse::<f64>().map_err(|_| error())? * scale as f64;
    // 2^63 leaves room for sums of a few quantities; beyond it the text is a mistake.
    if value.is_finite() && value < 9.2e18 {
        Ok(value.round() as u64)
    } else {
        Err(error())
    }
}

/// Writes `value` in the largest unit that divides it.
fn write(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let unit = units
        .iter()
        .find(|(_, scale)| value != 0 && value.is_multiple_of(*scale));
    let (name, scale) = unit.or(units.last()).copied().unwrap_or(("", 1));
    f.pad(&format!("{}{name}", value / scale))
}

impl Duration {
    /// This many milliseconds, or the longest duration when they are more.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// This many seconds, or the longest duration when they are more.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000))
    }

    /// Whole milliseconds, rounded up so that a positive time never becomes zero.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// Seconds as a real number.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl FromStr for Duration {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        if text.trim() == "0" {
            Ok(Self(0))
        } else {
            parse(text, TIME, DURATION).map(Self)
        }
    }
}

impl FromStr for Size {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        match text.trim().parse() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => parse(text, BYTES, SIZE).map(Self),
        }
    }
}

impl FromStr for BitRate {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        parse(text, BITS, BIT_RATE).map(Self)
    }
}

impl FromStr for Ratio {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let error = || ParseQuantityError {
            text: text.chars().take(40).collect(),
            wanted: RATIO,
        };
        let (number, scale) = match text.trim().strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (text.trim(), 1.0),
        };
        let value = number.trim().parse::<f64>().map_err(|_| error())? / scale;
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(error())
        }
    }
}

impl FromStr for Portion {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let error = || ParseQuantityError {
            text: text.chars().take(40).collect(),
            wanted: PORTION,
        };
        let number = text.trim();
        let is_whole = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_whole {
            number.parse().map(Self::Count).map_err(|_| error())
        } else {
            number.parse().map(Self::Share).map_err(|_| error())
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.pad("0s"),
            nanos => write(nanos, TIME, f),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, BYTES, f)
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, BITS, f)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six decimals hide the binary residue of `x * 100` and nothing that anybody writes.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// What TOML or JSON may hold where a quantity is wanted.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Whole(u64),
    Real(f64),
    Text(Cow<'a, str>),
}

macro_rules! quantity {
    ($name:ident, $format:literal, $wanted:ident, $types:tt) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match Written::deserialize(deserializer)? {
                    Written::Whole(number) => number.to_string(),
                    Written::Real(number) => number.to_string(),
                    Written::Text(text) => text.into_owned(),
                };
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": $types, "format": $format, "description": $wanted })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

quantity!(Duration, "duration", DURATION, "string");
quantity!(Size, "size", SIZE, ["string", "integer"]);
quantity!(BitRate, "bit-rate", BIT_RATE, "string");
quantity!(Ratio, "ratio", RATIO, ["string", "number"]);
quantity!(Portion, "portion", PORTION, ["string", "number"]);

/// `value` to nine decimals: few enough digits that every reader of JSON gets the same number back, so that a plan
/// keeps its digest.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// Checks `text` against a quantity's schema `format`; unknown formats pass.
pub(crate) fn check_format(format: &str, text: &str) -> Result<(), ParseQuantityError> {
    match format {
        "duration" => text.parse::<Duration>().map(drop),
        "size" => text.parse::<Size>().map(drop),
        "bit-rate" => text.parse::<BitRate>().map(drop),
        "ratio" => text.parse::<Ratio>().map(drop),
        "portion" => text.parse::<Portion>().map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_write_units() {
        assert_eq!("500ms".parse(), Ok(Duration::from_millis(500)));
        assert_eq!("1.5s".parse(), Ok(Duration::from_millis(1500)));
        assert_eq!("2 h".parse(), Ok(Duration::from_secs(7200)));
        assert_eq!("4GiB".parse(), Ok(Size(4 << 30)));
        assert_eq!("512".parse(), Ok(Size(512)));
        assert_eq!("1Gbit".parse(), Ok(BitRate(1_000_000_000)));
        assert_eq!("98%".parse(), Ok(Ratio(0.98)));
        assert_eq!(Duration::from_millis(90_000).to_string(), "90s");
        assert_eq!(Ratio(0.07).to_string(), "7%");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in [
            "",
            "10",
            "s",
            "-3s",
            "1..2s",
            "10 parsecs",
            "99999999999999999999h",
            "1e30s",
            "NaNs",
        ] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
        assert!("4GiBs".parse::<Size>().is_err());
        assert!("-1".parse::<Size>().is_err());
        assert!("1GiB".parse::<BitRate>().is_err());
        for bad in ["101%", "-1%", "NaN", "inf", "2"] {
            assert!(bad.parse::<Ratio>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_portion_is_a_share_or_a_number_and_is_counted_of_all() {
        for (text, portion, of_twenty) in [
            ("5%", Portion::Share(Ratio(0.05)), 1),
            ("0.05", Portion::Share(Ratio(0.05)), 1),
            ("4.9%", Portion::Share(Ratio(0.049)), 0),
            ("2", Portion::Count(2), 2),
            ("100%", Portion::Share(Ratio(1.0)), 20),
        ] {
            assert_eq!(text.parse(), Ok(portion), "{text}");
            assert_eq!(portion.of(20), of_twenty, "{text}");
            assert_eq!(portion.to_string().parse(), Ok(portion), "{text}");
        }
        for bad in ["", "%", "-1", "1.5", "101%", "two", "4294967296"] {
            let error = bad.parse::<Portion>().unwrap_err().to_string();
            assert!(error.contains("or a whole number such as 2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(value in 0_u64..1 << 62) {
            prop_assert_eq!(Duration(value).to_string().parse(), Ok(Duration(value)));
            prop_assert_eq!(Size(value).to_string().parse(), Ok(Size(value)));
            prop_assert_eq!(BitRate(value).to_string().parse(), Ok(BitRate(value)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,30}") {
            let _ = (text.parse::<Duration>(), text.parse::<Size>(), text.parse::<BitRate>(), text.parse::<Ratio>(), text.parse::<Portion>());
        }
    }
}
