//! Names and paths that cannot leave the folder that they are joined to.

use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf};

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 128;
/// Longest path in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// Most parts of a path.
const PARTS_MAX: usize = 16;

/// Why a text is no name or path of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is no name.
    #[error(
        "`{0}` is not a name: use 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, `-`, `_`, `.`, starting with a letter or digit"
    )]
    Name(String),
    /// It is no path, or leads elsewhere.
    #[error(
        "`{0}` is not a path inside the run's folder: no `..`, no empty part, not absolute, at most {PARTS_MAX} parts"
    )]
    Path(String),
}

/// A name of a run, a node or a file: one part of a path, and never a hidden one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// A path below a folder: names with `/` between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The beginning of a text, for a message.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RelativePath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of `folder/name`.
    #[must_use]
    pub fn of(folder: &str, name: &Name) -> Option<Self> {
        format!("{folder}/{name}").try_into().ok()
    }

    /// Its folder and its last part; no folder when it has one part only.
    #[must_use]
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None => (None, &self.0),
        }
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The path for the system, to be joined to a folder.
    #[must_use]
    pub fn to_path(&self) -> PathBuf {
        self.parts().collect()
    }
}

impl TryFrom<String> for Name {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(PathError::Name(cut(&text)))
        }
    }
}

impl TryFrom<String> for RelativePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        let fits = text.len() <= PATH_BYTES_MAX && text.split('/').count() <= PARTS_MAX;
        if fits && text.split('/').all(is_name) {
            Ok(Self(text))
        } else {
            Err(PathError::Path(cut(&text)))
        }
    }
}

macro_rules! text_type {
    ($name:ident) => {
        impl std::str::FromStr for $name {
            type Err = PathError;

            fn from_str(text: &str) -> Result<Self, PathError> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(Name);
text_type!(RelativePath);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_leads_elsewhere_is_refused() {
        let deep = vec!["a"; PARTS_MAX + 1].join("/");
        let long = vec!["a".repeat(120); 9].join("/");
        for bad in [
            "", "/", "/etc", "..", "a/..", "a/../b", "./a", "a//b", "a/", ".hidden", "a/.b", "a\0b", "a\\b", &deep,
            &long,
        ] {
            assert!(bad.parse::<RelativePath>().is_err(), "{bad:?}");
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!("a/b".parse::<Name>().is_err());
        assert_eq!(
            "config/val-0/node.toml".parse::<RelativePath>().unwrap().split(),
            (Some("config/val-0"), "node.toml")
        );
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below_its_folder(text in "[a-c./\\\\~ -]{0,24}") {
            if let Ok(path) = text.parse::<RelativePath>() {
                let plain = |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_));
                prop_assert!(path.to_path().components().all(plain));
                prop_assert_eq!(path.to_path(), PathBuf::from(&text));
            }
        }
    }
}
