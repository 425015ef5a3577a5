//! `send`: sign transactions and submit them.

use super::{
    change::Change,
    client_args::ClientArgs,
    error::CliError,
    key_file,
    print::print,
    query::{bytes_of, status_text},
    release::SendRelease,
};
use bytes::Bytes;
use clap::{Args, Subcommand};
use regatta_api::{
    Reject,
    view::{Outcome, SubmitRequest, TransactionStatus},
};
use regatta_apps::{Domain, transaction};
use regatta_base::{
    HexBytes, InstanceId, SecretKey, TransactionId,
    limits::{REQUEST_BYTES_MAX, STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX},
};
use regatta_client::Client;
use serde::Serialize;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

/// Most transactions of one request.
const REQUEST_TRANSACTIONS_MAX: usize = 1000;
/// Pause between two questions for a status.
const STATUS_PAUSE: Duration = Duration::from_millis(20);

/// Sign transactions and submit them to a node
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  regatta-node send opaque hello --to 127.0.0.1:7001 --key key.pem --wait
  regatta-node send put colour blue --to 127.0.0.1:7001 --key key.pem
  regatta-node send blob hello --to 127.0.0.1:7001 --count 100 --json")]
pub(crate) struct Send {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Signed bytes with a sequence number
    Opaque {
        /// The payload, as text
        payload: String,
        /// Take the payload as hexadecimal
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        common: Common,
    },
    /// A signed write to the state
    Put {
        /// The key, as text of 1 to 256 bytes
        key: String,
        /// The value, as text of at most 65536 bytes
        value: String,
        /// Take key and value as hexadecimal
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        signer: Signer,
        #[command(flatten)]
        common: Common,
    },
    /// Unsigned bytes that are ordered and not executed
    Blob {
        /// The payload, as text; with --count, each gets its number behind it
        payload: String,
        /// Take the payload as hexadecimal
        #[arg(long)]
        hex: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A change of the validators, signed by members with more than two thirds of the weight
    ///
    /// Members on other hosts run the same command with --agree; what it prints goes into --agreement.
    Validators {
        #[command(flatten)]
        change: Change,
        #[command(flatten)]
        common: Common,
    },
    /// A signed release of the node's program: the node judges it and tells the others
    Release {
        #[command(flatten)]
        release: SendRelease,
    },
}

#[derive(Debug, Args)]
struct Signer {
    /// The sender's key file, as `keygen` makes it
    #[arg(long = "key", value_name = "FILE", id = "key_file")]
    file: PathBuf,
    /// First sequence number; asked of the node when absent
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
}

#[derive(Debug, Args)]
struct Common {
    /// How many transactions to send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Wait until each is final, at most this many seconds in all
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "30")]
    wait: Option<u64>,
    #[command(flatten)]
    client: ClientArgs,
}

/// What became of one transaction: a line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Sent {
    id: Option<TransactionId>,
    rejected: Option<Reject>,
    /// Its last known status, when it was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<TransactionStatus>,
}

impl Sent {
    /// Whether it is where it was wanted: accepted, or, when waited for, executed with effect.
    fn is_well(&self) -> bool {
        match self.status {
            None => self.rejected.is_none(),
            Some(TransactionStatus::Executed { outcome, .. }) => outcome == Outcome::Ok,
            Some(_) => false,
        }
    }

    fn text(&self) -> String {
        let id = self.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
        match (self.rejected, &self.status) {
            (Some(reject), _) => format!("{id} refused: {reject}"),
            (None, Some(status)) => format!("{id} {}", status_text(status)),
            (None, None) => format!("{id} accepted"),
        }
    }
}

impl Send {
    pub(crate) async fn execute(self) -> Result<(), CliError> {
        match self.kind {
            Kind::Opaque {
                payload,
                hex,
                signer,
                common,
            } => {
                let payload = payload_of(&payload, hex)?;
                let (sender, domain) = signer.prepare(&common).await?;
                let make = |index| transaction::opaque(&domain, &sender.key, sender.sequence + index, &payload);
                common.send(make).await
            }
            Kind::Put {
                key,
                value,
                hex,
                signer,
                common,
            } => {
                let (key, value) = (bytes_of(&key, hex)?, bytes_of(&value, hex)?);
                check_put(&key, &value)?;
                let (sender, domain) = signer.prepare(&common).await?;
                let make = |index| transaction::put(&domain, &sender.key, sender.sequence + index, &key, &value);
                common.send(make).await
            }
            Kind::Blob { payload, hex, common } => {
                let payload = payload_of(&payload, hex)?;
                let numbered = common.count > 1;
                let make = |index: u64| match numbered {
                    true => transaction::blob(&[payload.as_slice(), format!("#{index}").as_bytes()].concat()),
                    false => transaction::blob(&payload),
                };
                common.send(make).await
            }
            Kind::Release { release } => release.execute().await,
            Kind::Validators { change, common } => {
                if common.count != 1 {
                    return Err(CliError::usage("a change is sent once; help: leave out --count"));
                }
                let domain = common.domain().await?;
                if change.agree {
                    return change.print_agreements(&domain, &common.client).await;
                }
                let transaction = change.transaction(&domain, &common.client).await?;
                common.send(|_| transaction.clone()).await
            }
        }
    }
}

fn payload_of(text: &str, hex: bool) -> Result<Vec<u8>, CliError> {
    // Headers, a signature and a number fit into the rest.
    let most = TRANSACTION_BYTES_MAX - 256;
    let payload = bytes_of(text, hex)?;
    if payload.len() > most {
        let got = payload.len();
        return Err(CliError::usage(format!(
            "a payload of {got} bytes; help: send at most {most}"
        )));
    }
    Ok(payload)
}

fn check_put(key: &[u8], value: &[u8]) -> Result<(), CliError> {
    if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
        let text = format!(
            "a key of {} bytes; help: a key has 1 to {STATE_KEY_BYTES_MAX} bytes",
            key.len()
        );
        return Err(CliError::usage(text));
    }
    if value.len() > STATE_VALUE_BYTES_MAX {
        let text = format!(
            "a value of {} bytes; help: a value has at most {STATE_VALUE_BYTES_MAX}",
            value.len()
        );
        return Err(CliError::usage(text));
    }
    Ok(())
}

/// Who signs, from which sequence number on.
struct Sender {
    key: SecretKey,
    sequence: u64,
}

impl Signer {
    async fn prepare(&self, common: &Common) -> Result<(Sender, Domain), CliError> {
        let key = key_file::load(&self.file).map_err(CliError::usage)?;
        let client = common.client.client();
        let domain = common.domain().await?;
        let sequence = match self.sequence {
            Some(sequence) => sequence,
            None => client.account(&key.public()).await?.next_sequence,
        };
        Ok((Sender { key, sequence }, domain))
    }
}

impl Common {
    /// What signatures for this chain and instance name.
    async fn domain(&self) -> Result<Domain, CliError> {
        let client = self.client.client();
        let chain = client.version().await?.chain;
        Ok(Domain::new(&chain, &self.instance(&client).await?))
    }

    /// The instance that was asked for, or the node's first one.
    async fn instance(&self, client: &Client) -> Result<InstanceId, CliError> {
        if let Some(instance) = &self.client.instance {
            return Ok(instance.clone());
        }
        let latest = client.latest().await?;
        let first = latest.instances.into_iter().next();
        Ok(first
            .ok_or_else(|| CliError::failure("the node has no consensus instance"))?
            .instance)
    }

    /// Submits what `make` gives for each index, waits when told so, and prints a line for each.
    async fn send(&self, make: impl Fn(u64) -> Bytes) -> Result<(), CliError> {
        let client = self.client.client();
        let mut sent = Vec::new();
        let mut transactions = (0..self.count).map(make).peekable();
        while transactions.peek().is_some() {
            let request = SubmitRequest {
                instance: self.client.instance.clone(),
                transactions: chunk(&mut transactions),
            };
            let response = client.submit(&request).await?;
            sent.extend(response.results.into_iter().map(|result| Sent {
                id: result.id,
                rejected: result.rejected,
                status: None,
            }));
        }
        if let Some(seconds) = self.wait {
            wait(&client, &mut sent, Duration::from_secs(seconds)).await?;
        }
        for sent in &sent {
            print(self.client.json, sent, Sent::text)?;
        }
        verdict(&sent, self.count)
    }
}

/// The next transactions, as many as one request may carry, also in hexadecimal.
fn chunk(transactions: &mut std::iter::Peekable<impl Iterator<Item = Bytes>>) -> Vec<HexBytes> {
    let mut bytes = 0;
    let mut chunk = Vec::new();
    while let Some(next) = transactions.next_if(|next| {
        bytes += next.len();
        chunk.is_empty() || (bytes <= REQUEST_BYTES_MAX / 4 && chunk.len() < REQUEST_TRANSACTIONS_MAX)
    }) {
        chunk.push(HexBytes(next));
    }
    chunk
}

/// Asks for each accepted transaction until it is final or the time is over.
async fn wait(client: &Client, sent: &mut [Sent], most: Duration) -> Result<(), CliError> {
    let until = Instant::now() + most;
    for sent in sent.iter_mut().filter(|sent| sent.rejected.is_none()) {
        let Some(id) = sent.id else { continue };
        loop {
            let status = client.status(&id).await?;
            sent.status = Some(status);
            if matches!(status, TransactionStatus::Executed { .. }) || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(STATUS_PAUSE).await;
        }
    }
    Ok(())
}

fn verdict(sent: &[Sent], wanted: u64) -> Result<(), CliError> {
    let well = sent.iter().filter(|sent| sent.is_well()).count();
    if well as u64 == wanted {
        return Ok(());
    }
    let help = sent.iter().find_map(|sent| sent.rejected).map(Reject::help);
    let help = help.unwrap_or("ask for each with `regatta-node query tx ID`");
    Err(CliError::Transactions(format!(
        "{well} of {wanted} transactions went well; help: {help}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::view::Failure;

    fn sent(rejected: Option<Reject>, status: Option<TransactionStatus>) -> Sent {
        Sent {
            id: Some(TransactionId::ZERO),
            rejected,
            status,
        }
    }

    fn executed(outcome: Outcome) -> Option<TransactionStatus> {
        Some(TransactionStatus::Executed {
            height: 3,
            index: 1,
            outcome,
        })
    }

    #[test]
    fn requests_stay_within_their_limits_and_lose_nothing() {
        let sizes = [1, 10_000, TRANSACTION_BYTES_MAX, 1, TRANSACTION_BYTES_MAX, 5];
        let all: Vec<Bytes> = (0..3000).map(|index| Bytes::from(vec![0; sizes[index % 6]])).collect();
        let mut transactions = all.iter().cloned().peekable();
        let mut seen = Vec::new();
        while transactions.peek().is_some() {
            let chunk = chunk(&mut transactions);
            assert!(!chunk.is_empty() && chunk.len() <= REQUEST_TRANSACTIONS_MAX);
            let bytes: usize = chunk.iter().map(|transaction| transaction.0.len()).sum();
            // Hexadecimal takes twice the bytes, and the request has a few more.
            assert!(2 * bytes < REQUEST_BYTES_MAX, "{bytes}");
            seen.extend(chunk.into_iter().map(|transaction| transaction.0));
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn small_transactions_fill_requests_by_number() {
        let mut transactions = (0..2500).map(|_| Bytes::from_static(b"x")).peekable();
        let lengths: Vec<usize> = (0..4).map(|_| chunk(&mut transactions).len()).collect();
        assert_eq!(lengths, [1000, 1000, 500, 0]);
    }

    #[test]
    fn only_what_was_wanted_counts_as_well() {
        assert!(sent(None, None).is_well());
        assert!(sent(None, executed(Outcome::Ok)).is_well());
        assert!(!sent(Some(Reject::MempoolFull), None).is_well());
        assert!(!sent(None, Some(TransactionStatus::Pending)).is_well());
        assert!(!sent(None, Some(TransactionStatus::Unknown)).is_well());
        assert!(!sent(None, executed(Outcome::Failed(Failure::SequenceUsed))).is_well());
    }

    #[test]
    fn the_verdict_counts_and_helps_with_the_first_refusal() {
        let good = sent(None, None);
        assert!(verdict(&[good.clone(), good.clone()], 2).is_ok());
        let error = verdict(&[good.clone(), sent(Some(Reject::StaleSequence), None)], 2).unwrap_err();
        assert_eq!(error.code(), 3);
        assert!(error.text().contains("1 of 2"), "{}", error.text());
        assert!(error.text().contains(Reject::StaleSequence.help()), "{}", error.text());
        let late = verdict(&[sent(None, Some(TransactionStatus::Pending))], 1).unwrap_err();
        assert!(late.text().contains("query tx"), "{}", late.text());
        // A node that answers for fewer than were sent did not do what it was asked.
        assert!(verdict(&[good], 2).is_err());
    }

    #[test]
    fn a_line_says_what_became_of_a_transaction() {
        let id = TransactionId::ZERO;
        assert_eq!(sent(None, None).text(), format!("{id} accepted"));
        assert_eq!(
            sent(Some(Reject::Duplicate), None).text(),
            format!("{id} refused: duplicate")
        );
        let text = sent(None, executed(Outcome::Ok)).text();
        assert_eq!(text, format!("{id} executed at height 3, position 1: ok"));
        let nothing = Sent {
            id: None,
            rejected: Some(Reject::Malformed),
            status: None,
        };
        assert_eq!(nothing.text(), "- refused: malformed");
    }

    #[test]
    fn what_could_never_be_accepted_is_refused_before_it_is_signed() {
        assert!(check_put(b"", b"v").is_err());
        assert!(check_put(&[0; STATE_KEY_BYTES_MAX + 1], b"v").is_err());
        assert!(check_put(b"k", &vec![0; STATE_VALUE_BYTES_MAX + 1]).is_err());
        assert!(check_put(&[0; STATE_KEY_BYTES_MAX], &vec![0; STATE_VALUE_BYTES_MAX]).is_ok());
        assert!(payload_of(&"x".repeat(TRANSACTION_BYTES_MAX), false).is_err());
        assert_eq!(payload_of("00ff", true).unwrap(), [0, 255]);
    }
}
