//! `query`: read the ledger, the state and the node.

use super::{
    client_args::ClientArgs,
    error::CliError,
    print::print,
    release::upgrade_text,
    status::{latest_table, peers_table},
    watch::block_line,
};
use clap::{Args, Subcommand};
use regatta_api::view::{
    BlockView, EvidenceView, Failure, Outcome, StateView, TransactionStatus, ValidatorView, ValidatorsView,
};
use regatta_base::{Height, PublicKey, TransactionId};

/// Read blocks, transactions, state and links of a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta-node query latest --to 127.0.0.1:7001
  regatta-node query block 5 --to 127.0.0.1:7001 --json
  regatta-node query blocks --from 1 --count 20 --to 127.0.0.1:7001
  regatta-node query validators --to 127.0.0.1:7001
  regatta-node query state colour --to 127.0.0.1:7001")]
pub(crate) struct Query {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Where a transaction stands, by its id
    Tx {
        /// 64 hexadecimal digits
        id: TransactionId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// A block with its certificate
    Block {
        /// Its height, from 1
        height: Height,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Consecutive blocks, a line each
    Blocks {
        /// First height
        #[arg(long, default_value_t = 1)]
        from: Height,
        /// How many, at most 1000
        #[arg(long, default_value_t = 100)]
        count: usize,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// One value of the state
    State {
        /// The key, as text
        key: String,
        /// Take the key as hexadecimal
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// A sender's next sequence number
    Account {
        /// Its public key: 64 hexadecimal digits
        key: PublicKey,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// The configured peers and their links
    Peers {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// How far the node is in each instance
    Latest {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Who decides a height: a line each, in the order of their indices
    Validators {
        /// The height; the next one when absent
        #[arg(long)]
        height: Option<Height>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// The newest release, and what the node does about it
    Release {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Proofs that validators contradicted themselves, a line each
    Evidence {
        #[command(flatten)]
        client: ClientArgs,
    },
}

impl Query {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        match self.what {
            What::Tx { id, client } => print(client.json, &client.client().status(&id).await?, |status| {
                status_text(status)
            }),
            What::Block { height, client } => print(client.json, &client.client().block(height).await?, block_text),
            What::Blocks { from, count, client } => {
                for block in client.client().blocks(from, count).await?.blocks {
                    print(client.json, &block, block_line)?;
                }
                Ok(())
            }
            What::State { key, hex, client } => {
                let key = bytes_of(&key, hex)?;
                print(client.json, &client.client().state(&key).await?, state_text)
            }
            What::Account { key, client } => print(client.json, &client.client().account(&key).await?, |account| {
                format!("next sequence {} (at height {})", account.next_sequence, account.height)
            }),
            What::Peers { client } => print(client.json, &client.client().peers().await?, |peers| peers_table(peers)),
            What::Validators { height, client } => {
                print(client.json, &client.client().validators(height).await?, validators_text)
            }
            What::Evidence { client } => {
                for evidence in client.client().evidence().await?.evidence {
                    print(client.json, &evidence, evidence_line)?;
                }
                Ok(())
            }
            What::Release { client } => print(client.json, &client.client().release().await?, upgrade_text),
            What::Latest { client } => print(client.json, &client.client().latest().await?, latest_table),
        }
    }
}

fn validators_text(view: &ValidatorsView) -> String {
    let head = format!(
        "height {}, version {}, weight {}",
        view.height, view.version, view.weight_total
    );
    let rows = |validators: &[ValidatorView]| -> String {
        validators
            .iter()
            .map(|one| format!("\n{} {}", one.key, one.weight))
            .collect()
    };
    let changed = view.changed.as_ref().map(|next| format!("\nchanged to{}", rows(next)));
    [head, rows(&view.validators), changed.unwrap_or_default()].concat()
}

/// What a person typed as bytes: its text, or hexadecimal when told so.
pub(crate) fn bytes_of(text: &str, hex: bool) -> Result<Vec<u8>, CliError> {
    if !hex {
        return Ok(text.as_bytes().to_vec());
    }
    crate::http::parse_hex(text).ok_or_else(|| {
        CliError::usage(format!(
            "`{text}` is not hexadecimal; help: write two digits for each byte, without 0x"
        ))
    })
}

/// A status in words.
pub(crate) fn status_text(status: &TransactionStatus) -> String {
    match status {
        TransactionStatus::Unknown => "unknown".to_owned(),
        TransactionStatus::Pending => "pending".to_owned(),
        TransactionStatus::Executed { height, index, outcome } => {
            let outcome = match outcome {
                Outcome::Ok => "ok",
                Outcome::Failed(Failure::SequenceUsed) => "failed, its sequence number was used before",
                Outcome::Failed(Failure::SequenceTooOld) => "failed, its sequence number is too old",
                Outcome::Failed(Failure::StateFull) => "failed, the state is full",
                Outcome::Failed(Failure::ValidatorsVersion) => "failed, it was made for another version of the set",
                Outcome::Failed(Failure::ValidatorsUnsigned) => "failed, too little weight signed it",
                Outcome::Failed(Failure::ValidatorsUnfit) => "failed, the set would be invalid or change too much",
            };
            format!("executed at height {height}, position {index}: {outcome}")
        }
    }
}

fn block_text(block: &BlockView) -> String {
    let signed: u64 = block.signers.iter().map(|signer| signer.weight).sum();
    format!(
        "{}\nhash       {}\nparent     {}\nstate root {}\nbatches    {}\nsigned by  {} validators with weight {signed} of {}",
        block_line(&block.summary),
        block.summary.hash,
        block.summary.parent,
        block.summary.state_root,
        block.batches.len(),
        block.signers.len(),
        block.weight_total
    )
}

fn evidence_line(evidence: &EvidenceView) -> String {
    let rounds = match (evidence.first.round, evidence.second.round) {
        (first, second) if first == second => format!("round {first}"),
        (first, second) => format!("rounds {first} and {second}"),
    };
    format!(
        "height {} {rounds}: validator {} ({}) signed {}",
        evidence.height,
        evidence.signer,
        evidence.key.short(),
        evidence.kind
    )
}

/// Text as text, other bytes as hexadecimal.
fn state_text(view: &StateView) -> String {
    match &view.value {
        None => format!("nothing (at height {})", view.height),
        Some(value) => match std::str::from_utf8(value.as_ref()) {
            Ok(text) if !text.contains(char::is_control) => text.to_owned(),
            _ => format!("0x{:x}", value.0),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_base::{Digest, HexBytes};

    fn state(value: Option<&[u8]>) -> String {
        state_text(&StateView {
            key: HexBytes::default(),
            value: value.map(|bytes| HexBytes::from(bytes.to_vec())),
            height: 9,
            state_root: Digest::ZERO,
        })
    }

    #[test]
    fn text_is_shown_as_text_and_everything_else_in_hexadecimal() {
        assert_eq!(state(Some("blau, grün".as_bytes())), "blau, grün");
        assert_eq!(state(Some(b"\x00\xff")), "0x00ff");
        // What could move the cursor is not printed as it is.
        assert_eq!(state(Some(b"\x1b[2J")), "0x1b5b324a");
        assert_eq!(state(None), "nothing (at height 9)");
    }

    #[test]
    fn keys_are_text_unless_told_otherwise() {
        assert_eq!(bytes_of("00ff", false).unwrap(), b"00ff");
        assert_eq!(bytes_of("00fF", true).unwrap(), [0, 255]);
        for bad in ["0", "0x00", "zz", "é0"] {
            assert_eq!(bytes_of(bad, true).unwrap_err().code(), 2, "{bad}");
        }
    }

    #[test]
    fn a_failure_is_named_in_words() {
        let failed = |failure| {
            status_text(&TransactionStatus::Executed {
                height: 1,
                index: 0,
                outcome: Outcome::Failed(failure),
            })
        };
        assert!(failed(Failure::SequenceUsed).contains("used before"));
        assert!(failed(Failure::SequenceTooOld).contains("too old"));
        assert!(failed(Failure::StateFull).contains("full"));
        assert!(failed(Failure::ValidatorsVersion).contains("version"));
        assert!(failed(Failure::ValidatorsUnsigned).contains("signed"));
        assert!(failed(Failure::ValidatorsUnfit).contains("too much"));
        assert_eq!(status_text(&TransactionStatus::Unknown), "unknown");
    }
}
