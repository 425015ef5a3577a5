//! `send release` and `query release`: bring a release with its program, and see how far it is.

use super::{client_args::ClientArgs, error::CliError, print::print};
use clap::Args;
use regatta_api::view::{ReleaseChunk, ReleaseOffer, ReleaseStage, ReleaseTaken, UpgradeView};
use regatta_base::HexBytes;
use regatta_client::{Client, ClientError};
use regatta_seal::RELEASE_BYTES_MAX;
use std::{
    fs::File,
    io::Read as _,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a node may be away while a release is brought to it: it may be switching to that release already.
const SWITCH_MAX: Duration = Duration::from_secs(60);
/// Code of a refusal by a node that takes no releases.
const REFUSED: &str = "release_refused";
/// Pause between two attempts to reach it.
const AWAY_PAUSE: Duration = Duration::from_millis(200);

/// Which release.
#[derive(Debug, Args)]
pub(super) struct SendRelease {
    /// The release, as `regatta release` makes it
    release: PathBuf,
    /// Its program; may be left out when the network has it already
    program: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

impl SendRelease {
    pub(super) async fn execute(self) -> Result<(), CliError> {
        let document = read_document(&self.release)?;
        let client = self.client.client();
        let offer = ReleaseOffer {
            document: HexBytes::from(document),
        };
        // The first answer counts at once: nobody may be there at all. After it the node may go away for a moment, since it
        // switches as soon as it is its turn and it has the program, from here or from neighbours.
        let mut taken = client.offer_release(&offer).await?;
        let deadline = Instant::now() + SWITCH_MAX;
        let view = loop {
            let brought = match &self.program {
                Some(program) => bring(&client, program, &taken).await?,
                None => Ok(()),
            };
            let seen = match brought {
                Ok(()) => client.release().await,
                Err(error) => Err(error),
            };
            let is_switching = match &seen {
                Ok(view) => view.release.is_none() && view.failure.is_none(),
                Err(error) => is_away(error),
            };
            if !is_switching || Instant::now() >= deadline {
                break seen?;
            }
            taken = await_back(&client, &offer, deadline).await?;
        };
        print(self.client.json, &view, upgrade_text)
    }
}

/// Whether a node that took the release a moment ago may be switching: it is not there, or its new program answers, which
/// takes no releases while it is on trial.
fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::Transport { .. } => true,
        ClientError::Api { error, .. } => error.code == REFUSED,
        _ => false,
    }
}

/// Offers the release again until the node is back; it knows what it lacks.
async fn await_back(client: &Client, offer: &ReleaseOffer, deadline: Instant) -> Result<ReleaseTaken, CliError> {
    loop {
        match client.offer_release(offer).await {
            Err(error) if is_away(&error) && Instant::now() < deadline => tokio::time::sleep(AWAY_PAUSE).await,
            answer => return Ok(answer?),
        }
    }
}

fn read_document(path: &Path) -> Result<Vec<u8>, CliError> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| CliError::usage(format!("cannot read {shown}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mut document = Vec::new();
    let mut bounded = file.take(RELEASE_BYTES_MAX as u64 + 1);
    bounded.read_to_end(&mut document).map_err(unreadable)?;
    if document.len() > RELEASE_BYTES_MAX {
        let text = format!("{shown} is longer than a release; help: name the file that `regatta release` made");
        return Err(CliError::usage(text));
    }
    Ok(document)
}

/// Brings the pieces that the node lacks; the inner error is the node's.
async fn bring(client: &Client, program: &Path, taken: &ReleaseTaken) -> Result<Result<(), ClientError>, CliError> {
    let unreadable = |error: std::io::Error| CliError::usage(format!("cannot read {}: {error}", program.display()));
    let file = File::open(program).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    for &chunk in &taken.missing {
        let begin = u64::from(chunk) * u64::from(taken.chunk_bytes);
        let length = size.saturating_sub(begin).min(u64::from(taken.chunk_bytes));
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, begin).map_err(unreadable)?;
        let piece = ReleaseChunk {
            artifact: taken.artifact,
            chunk,
            bytes: bytes.into(),
        };
        if let Err(error) = client.bring_chunk(&piece).await {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

/// What a person wants to know, a line each.
pub(super) fn upgrade_text(view: &UpgradeView) -> String {
    let mut lines = vec![
        format!("trusted keys {}", view.trusted_keys),
        format!("running      {}", view.running),
        format!("least build  {}", view.sequence_min),
    ];
    if let Some(release) = &view.release {
        let stage = match release.stage {
            ReleaseStage::Fetching => "fetching",
            ReleaseStage::Ready => "waits for its height",
            ReleaseStage::Switching => "switching",
            ReleaseStage::Settled => "settled",
        };
        lines.push(format!(
            "release {}    {stage}, {} of {} pieces, from height {} of `{}`",
            release.number, release.chunks_held, release.chunks, release.activate_at, release.instance
        ));
        if let (Some(batch), Some(batches)) = (release.batch, release.batches) {
            let (batch, every) = (batch + 1, release.batch_blocks);
            lines.push(format!("batch        {batch} of {batches}, every {every} blocks"));
        }
    }
    if let Some(failure) = &view.failure {
        lines.push(format!("failed       release {}: {}", failure.number, failure.reason));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use regatta_api::view::{ReleaseFailure, ReleaseView};
    use regatta_base::Digest;

    #[test]
    fn the_text_says_where_a_release_stands_and_what_failed() {
        let mut view = UpgradeView {
            trusted_keys: 1,
            running: Digest::ZERO,
            number: 3,
            sequence_min: 2,
            failure: None,
            release: Some(ReleaseView {
                number: 3,
                id: Digest::ZERO,
                artifact: Digest::ZERO,
                instance: "main".parse().unwrap(),
                activate_at: 500,
                batch_blocks: 50,
                batch: Some(1),
                batches: Some(4),
                chunks: 9,
                chunks_held: 4,
                stage: ReleaseStage::Fetching,
            }),
        };
        let text = upgrade_text(&view);
        assert!(
            text.contains("fetching, 4 of 9 pieces, from height 500 of `main`"),
            "{text}"
        );
        assert!(text.contains("batch        2 of 4, every 50 blocks"), "{text}");
        (view.release, view.failure) = (
            None,
            Some(ReleaseFailure {
                number: 2,
                reason: "why".to_owned(),
            }),
        );
        assert!(upgrade_text(&view).ends_with("failed       release 2: why"));
    }

    #[test]
    fn what_is_no_release_is_refused_before_it_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, vec![0; RELEASE_BYTES_MAX + 1]).unwrap();
        assert_eq!(read_document(&path).unwrap_err().code(), 2);
        assert_eq!(read_document(&folder.path().join("none")).unwrap_err().code(), 2);
    }
}
