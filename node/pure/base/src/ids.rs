//! Names of things: chains, consensus instances, heights, rounds, transactions.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Height of a block; the first block has height 1 and genesis is height 0.
pub type Height = u64;
/// Attempt to decide one height, from 0.
pub type Round = u32;
/// Digest of a transaction's exact bytes.
pub type TransactionId = Digest;

/// Name of a network: part of every signed statement, so that nothing replays on another network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainId(String);

/// Name of a consensus instance within a network; one node may take part in several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

/// A name is 1 to 64 characters of `a-z 0-9 - _ .`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, starting with a letter or digit")]
pub struct NameError(pub String);

/// Accepts names that are safe in file paths, URLs and labels.
///
/// # Errors
/// [`NameError`] with the offending text, cut to 80 characters.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && text.len() <= 64 && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(NameError(text.chars().take(80).collect()))
    }
}

macro_rules! name_type {
    ($name:ident) => {
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check_name(&text)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(ChainId);
name_type!(InstanceId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", "..", "/etc", "a/b", "Über", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<ChainId>().is_err(), "{bad}");
        }
        assert_eq!(
            "wan-100.a_b".parse::<InstanceId>().map(|id| id.to_string()),
            Ok("wan-100.a_b".to_owned())
        );
    }
}
