//! Problems of a scenario: stable code, place, reason and help, for people and for programs.

use serde::{Serialize, Serializer};
use std::{fmt, ops::Range};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal,)+) => {
        /// What kind of problem it is; numbers are stable and never used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Code {
            /// All codes, ascending.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// What the code means, in one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// The file is not TOML.
    Syntax = 1,
    /// A key that does not exist.
    UnknownKey = 2,
    /// A value of another type.
    WrongType = 3,
    /// A key that has no default is missing.
    MissingKey = 4,
    /// A word that is not one of those allowed.
    UnknownWord = 5,
    /// A duration, size, rate, fraction or address range that does not parse.
    BadQuantity = 6,
    /// An override whose key leads nowhere.
    BadOverride = 7,
    /// A version of the format that this program does not read.
    SchemaVersion = 8,
    /// A name with characters that names cannot have.
    BadName = 9,
    /// Two things of one kind with the same name.
    DuplicateName = 10,
    /// A group or node that does not exist.
    UnknownNode = 11,
    /// A build that does not exist.
    UnknownBuild = 12,
    /// A consensus instance that does not exist.
    UnknownInstance = 13,
    /// A regular graph of odd degree over an odd number of nodes.
    OddRegular = 14,
    /// A generator whose numbers make no graph.
    ImpossibleGraph = 15,
    /// An edge from a node to itself.
    SelfEdge = 16,
    /// An edge given twice.
    DuplicateEdge = 17,
    /// A graph in more than one piece.
    Disconnected = 18,
    /// Nodes whose loss alone cuts the graph.
    CutVertex = 19,
    /// More links than a node may have.
    TooManyPeers = 20,
    /// Validators of one instance that cannot reach each other.
    UnreachableValidators = 21,
    /// Fewer than 3f + 1 validators.
    TooFewValidators = 22,
    /// A fault that takes the quorum away without saying so.
    QuorumBroken = 23,
    /// Two faults on one node at the same time.
    OverlappingFaults = 24,
    /// A fault that starts or ends outside the phases.
    FaultOutsidePhases = 25,
    /// Fewer addresses than nodes.
    AddressRangeTooSmall = 26,
    /// Addresses that the provider cannot use.
    AddressRangeUnusable = 27,
    /// Addresses that the host already uses.
    AddressRangeTaken = 28,
    /// Ports that cannot be used.
    BadPort = 29,
    /// A round timeout that ends rounds which only were slow.
    RoundTimeoutShort = 30,
    /// More memory than there is.
    OutOfMemory = 31,
    /// More open descriptors than the host allows.
    OutOfDescriptors = 32,
    /// More processes or nodes than the host or the lab allows.
    TooManyNodes = 33,
    /// More traffic than the links carry.
    LinkOverloaded = 34,
    /// An objective on a metric that nothing emits.
    UnknownMetric = 35,
    /// An objective that does not parse.
    BadObjective = 36,
    /// A rate that offers nothing or is no number.
    BadRate = 37,
    /// A group without nodes.
    EmptyGroup = 38,
    /// More voters than an instance may have.
    TooManyValidators = 39,
    /// A mix that is no mix.
    BadMix = 40,
    /// Something that this provider or version cannot do.
    Unsupported = 41,
    /// A transaction larger than the protocol allows.
    TransactionTooLarge = 42,
    /// A phase that is too short or too long.
    BadPhase = 43,
    /// A load or fault that has no nodes to act on.
    NoNodes = 44,
    /// A scenario without groups, consensus or validators.
    NothingToRun = 45,
    /// A weight of zero, or weights that overflow.
    BadWeight = 46,
    /// A budget that the run cannot keep.
    BudgetTooSmall = 47,
    /// A key that has no effect here.
    NoEffect = 48,
    /// A build with both or neither of source and release.
    BadBuild = 49,
    /// A limit of the nodes that the protocol does not allow.
    BadNodeOption = 50,
    /// A region that does not exist.
    UnknownRegion = 51,
    /// A pair of regions without a delay.
    MissingDelay = 52,
    /// An upgrade to the build that already runs.
    SameBuild = 53,
    /// Validators that vote all to all and are not linked directly.
    NotLinkedDirectly = 54,
    /// A host key that is missing, malformed or given twice.
    BadHostKey = 55,
    /// A provider of network namespaces where this user cannot have them.
    NoNamespaces = 56,
    /// Churn that names no times, or times that cannot be.
    BadChurn = 60,
    /// A selection of nodes that stands for none, or cannot stand here.
    BadSelection = 61,
    /// More or less of a fault than there can be.
    BadAmount = 62,
    /// More faults than a plan lists.
    TooManyFaults = 63,
    /// A host whose address, user, folder or key file cannot be used.
    BadHost = 64,
    /// Two hosts with one address.
    DuplicateHost = 65,
    /// Fewer slots on hosts than nodes.
    TooFewSlots = 66,
    /// A host to jump over that does not exist, or that is reached over itself.
    BadJump = 67,
    /// An inventory of hosts that cannot be read.
    BadInventory = 68,
    /// A program of others that cannot be run as it is written.
    BadProcess = 75,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{:03}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whether a problem stops the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It stops the run.
    Error,
    /// It does not.
    Warning,
}

/// Where a problem is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the file.
    File {
        /// Path of the file as given.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// Byte offsets in the file.
        span: Range<usize>,
    },
    /// In an override.
    Override {
        /// `key=value` as given.
        text: String,
    },
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What kind.
    pub code: Code,
    /// Whether it stops the run.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Key that it is about, e.g. `group.0.count`; empty for the whole file.
    pub key: String,
    /// What is wrong and why.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: {}\n  --> ", self.code, self.message)?;
        match &self.place {
            Place::File { file, line, column, .. } => write!(f, "{file}:{line}:{column}")?,
            Place::Override { text } => write!(f, "--set {text}")?,
        }
        match &self.help {
            Some(help) => write!(f, "\n   = help: {help}"),
            None => Ok(()),
        }
    }
}

/// All problems of a scenario, in the order of the file, those of overrides last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether any of them stops the run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A JSON array of all problems.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.0).unwrap_or_default()
    }

    /// Puts them in the order of the scenario's `file`, those of other files after it.
    pub(crate) fn sort(&mut self, scenario: &str) {
        self.0.sort_by_key(|problem| match &problem.place {
            Place::File { file, span, .. } => (u8::from(file != scenario), span.start, problem.code),
            Place::Override { .. } => (2, 0, problem.code),
        });
        self.0.dedup();
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// A problem as a check finds it: by key, without knowing the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) severity: Severity,
    /// Key that it is about, parts joined by dots.
    pub(crate) path: String,
    /// Whether to point at the key's name and not at its value.
    pub(crate) at_key: bool,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    /// An error at the value of `path`.
    pub(crate) fn error(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self {
            code,
            severity: Severity::Error,
            path,
            at_key: false,
            message,
            help: None,
        }
    }

    /// A warning at the value of `path`.
    pub(crate) fn warning(code: Code, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, path, message)
        }
    }

    /// The same, pointing at the key's name.
    pub(crate) fn at_key(self) -> Self {
        Self { at_key: true, ..self }
    }

    /// The same with what to do about it.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_unique_and_explained() {
        let numbers: BTreeSet<String> = Code::ALL.iter().map(Code::to_string).collect();
        assert_eq!(numbers.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.meaning().ends_with('.')));
        assert_eq!(Code::OddRegular.to_string(), "T014");
    }

    #[test]
    fn rendering_is_the_documented_look() {
        let problem = Diagnostic {
            code: Code::OddRegular,
            severity: Severity::Error,
            place: Place::File {
                file: "topologies/wan.toml".into(),
                line: 18,
                column: 38,
                span: 400..401,
            },
            key: "peering.mesh.k".into(),
            message: "`mesh` cannot be 7-regular over 61 nodes: 61 × 7 is odd".into(),
            help: Some("use k = 6 or count = 62".into()),
        };
        let expected = "error[T014]: `mesh` cannot be 7-regular over 61 nodes: 61 × 7 is odd\n  \
                        --> topologies/wan.toml:18:38\n   = help: use k = 6 or count = 62";
        assert_eq!(problem.to_string(), expected);
        let json = Diagnostics(vec![problem]).to_json();
        assert_eq!(json[0]["code"], "T014");
        assert_eq!(json[0]["place"]["file"]["line"], 18);
    }
}
