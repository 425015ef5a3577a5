//! `send validators`: a change of the validator set, signed by the members that agree to it.

use super::{client_args::ClientArgs, error::CliError, key_file, print::print};
use bytes::Bytes;
use clap::Args;
use regatta_api::view::ValidatorsView;
use regatta_apps::{Domain, change};
use regatta_base::{PublicKey, SecretKey, Signature};
use serde::Serialize;
use std::{path::PathBuf, str::FromStr};

/// What changes, and who agrees.
#[derive(Debug, Args)]
pub(crate) struct Change {
    /// A validator and the weight that it gets, 0 to take its vote away
    #[arg(value_name = "KEY=WEIGHT", required = true)]
    entries: Vec<Entry>,
    /// Key file of a member that agrees; may be given several times
    #[arg(long = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// An agreement that another member printed with --agree; may be given several times
    #[arg(long = "agreement", value_name = "KEY:SIGNATURE")]
    agreements: Vec<Agreement>,
    /// Version of the set that changes; asked of the node when absent
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Print the agreements of the given keys instead of sending, for whoever collects them
    #[arg(long, conflicts_with = "agreements", requires = "keys")]
    pub(crate) agree: bool,
}

/// `KEY=WEIGHT`
#[derive(Debug, Clone, Copy)]
struct Entry(PublicKey, u64);

impl FromStr for Entry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, weight) = text.split_once('=').ok_or("write KEY=WEIGHT, e.g. 3b6a...29=1")?;
        let key = key.parse().map_err(|error| format!("the key: {error}"))?;
        Ok(Self(
            key,
            weight.parse().map_err(|error| format!("the weight: {error}"))?,
        ))
    }
}

/// `KEY:SIGNATURE`, as `--agree` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Agreement(PublicKey, Signature);

impl FromStr for Agreement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, signature) = text
            .split_once(':')
            .ok_or("write KEY:SIGNATURE, as --agree prints it")?;
        let key = key.parse().map_err(|error| format!("the key: {error}"))?;
        Ok(Self(
            key,
            signature.parse().map_err(|error| format!("the signature: {error}"))?,
        ))
    }
}

/// A line of `--agree`.
#[derive(Debug, Serialize)]
struct AgreementLine {
    key: PublicKey,
    signature: Signature,
}

impl Change {
    /// The transaction; refused here when the agreements do not suffice, which the network would say later.
    pub(crate) async fn transaction(&self, domain: &Domain, client: &ClientArgs) -> Result<Bytes, CliError> {
        let validators = client.client().validators(None).await?;
        let body = self.body(&validators);
        let mut agreements: Vec<(PublicKey, Signature)> = self.agreements.iter().map(|one| (one.0, one.1)).collect();
        agreements.extend(
            self.secrets()?
                .iter()
                .map(|secret| change::agree(domain, &body, secret)),
        );
        // About another version of the set than today's only the network can judge.
        if self.version.is_none_or(|version| version == validators.version) {
            check_weight(&validators, &agreements)?;
        }
        Ok(change::join(&body, &agreements))
    }

    /// Prints what each of the keys agrees to.
    pub(crate) async fn print_agreements(&self, domain: &Domain, client: &ClientArgs) -> Result<(), CliError> {
        let body = self.body(&client.client().validators(None).await?);
        for secret in self.secrets()? {
            let (key, signature) = change::agree(domain, &body, &secret);
            let line = AgreementLine { key, signature };
            print(client.json, &line, |line| format!("{}:{}", line.key, line.signature))?;
        }
        Ok(())
    }

    fn body(&self, validators: &ValidatorsView) -> Vec<u8> {
        let entries: Vec<(PublicKey, u64)> = self.entries.iter().map(|entry| (entry.0, entry.1)).collect();
        change::propose(self.version.unwrap_or(validators.version), &entries)
    }

    fn secrets(&self) -> Result<Vec<SecretKey>, CliError> {
        let load = |path: &PathBuf| key_file::load(path).map_err(CliError::usage);
        self.keys.iter().map(load).collect()
    }
}

/// More than two thirds of the weight of the set that changes has to agree.
fn check_weight(validators: &ValidatorsView, agreements: &[(PublicKey, Signature)]) -> Result<(), CliError> {
    let members = validators.changed.as_ref().unwrap_or(&validators.validators);
    let agrees = |key: &PublicKey| agreements.iter().any(|(signer, _)| signer == key);
    let sum = |all: bool| -> u128 {
        let counted = members.iter().filter(|member| all || agrees(&member.key));
        counted.map(|member| u128::from(member.weight)).sum()
    };
    let (agreed, total) = (sum(false), sum(true));
    if 3 * agreed > 2 * total {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "members with weight {agreed} of {total} agree, and more than two thirds have to; help: let others run the \
         same command with --agree and give what they print as --agreement"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::view::ValidatorView;

    fn secret(index: u8) -> SecretKey {
        SecretKey::from_seed([index; 32])
    }

    fn view(members: u8) -> ValidatorsView {
        let member = |index| ValidatorView {
            key: secret(index).public(),
            weight: 2,
        };
        ValidatorsView {
            instance: "main".parse().unwrap(),
            height: 1,
            validators: (1..=members).map(member).collect(),
            weight_total: 2 * u64::from(members),
            version: 0,
            changed: None,
        }
    }

    fn agreements(members: &[u8]) -> Vec<(PublicKey, Signature)> {
        let signature = secret(1).sign(b"x");
        members
            .iter()
            .map(|index| (secret(*index).public(), signature))
            .collect()
    }

    #[test]
    fn two_thirds_do_not_suffice_and_strangers_do_not_count() {
        assert!(check_weight(&view(3), &agreements(&[1, 2])).is_err());
        assert!(check_weight(&view(3), &agreements(&[1, 2, 9])).is_err());
        assert!(check_weight(&view(4), &agreements(&[1, 2, 3])).is_ok());
        assert!(check_weight(&view(4), &agreements(&[1, 1, 1])).is_err());
    }

    #[test]
    fn the_set_that_blocks_left_is_the_one_that_changes() {
        let mut now = view(4);
        now.changed = Some(view(7).validators);
        assert!(check_weight(&now, &agreements(&[1, 2, 3, 4])).is_err());
        assert!(check_weight(&now, &agreements(&[3, 4, 5, 6, 7])).is_ok());
    }

    #[test]
    fn what_agree_prints_is_read_back() {
        let (key, signature) = (secret(1).public(), secret(1).sign(b"x"));
        let text = format!("{key}:{signature}");
        assert_eq!(text.parse::<Agreement>().unwrap(), Agreement(key, signature));
        for bad in ["", "a:b", &text[1..], &format!("{key}={signature}")] {
            assert!(bad.parse::<Agreement>().is_err(), "{bad}");
        }
        assert!(format!("{key}=7").parse::<Entry>().is_ok());
        for bad in ["", "x=1", &format!("{key}"), &format!("{key}=-1")] {
            assert!(bad.parse::<Entry>().is_err(), "{bad}");
        }
    }
}
