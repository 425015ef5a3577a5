//! Reading the ledger and the state.

use super::{
    Control,
    error::HttpError,
    negotiate::Format,
    scope::{Asked, Scope, known_instance, parse_path, present},
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use regatta_api::view::{
    AccountView, BlockRange, BlockTimes, BlockView, EvidenceList, Latest, SnapshotList, StateView, ValidatorsView,
};
use regatta_base::{Height, InstanceId, PublicKey, limits::STATE_KEY_BYTES_MAX};
use serde::Deserialize;

/// Most short forms of one answer.
pub(crate) const BLOCKS_MAX: usize = 1000;

/// How far the node is in each instance.
#[utoipa::path(
    get,
    path = "/v1/latest",
    tag = "ledger",
    responses((status = 200, description = "One row an instance.", body = Latest))
)]
pub(crate) async fn latest(State(control): State<Control>, format: Format) -> Response {
    format.reply(control.handle().latest().await.map_err(HttpError::from))
}

/// Proofs that validators contradicted themselves, found here or told by neighbours.
#[utoipa::path(
    get,
    path = "/v1/evidence",
    tag = "ledger",
    params(("instance" = Option<String>, Query, description = "The instance; the node's first one when absent.")),
    responses((status = 200, description = "At most 1024, each with both signed statements.", body = EvidenceList))
)]
pub(crate) async fn evidence(State(control): State<Control>, format: Format, Asked(scope): Asked<Scope>) -> Response {
    let result = async {
        let instance = scope?.instance(&control)?;
        let evidence = control.handle().read(move |node| node.evidence(instance.as_ref()));
        let evidence = present(&control, evidence.await?)?;
        Ok(EvidenceList { evidence })
    };
    format.reply::<EvidenceList>(result.await)
}

/// The query of a validator set.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfHeight {
    instance: Option<String>,
    height: Option<Height>,
}

/// Who decides a height, and what the next change of the set has to name.
#[utoipa::path(
    get,
    path = "/v1/validators",
    tag = "ledger",
    params(
        ("height" = Option<u64>, Query, description = "The height; the next one when absent."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "The validators in the order of their indices.", body = ValidatorsView))
)]
pub(crate) async fn validators(
    State(control): State<Control>,
    format: Format,
    Asked(asked): Asked<OfHeight>,
) -> Response {
    let result = async {
        let OfHeight { instance, height } = asked?;
        let instance = known_instance(&control, instance.as_deref())?;
        let view = control
            .handle()
            .read(move |node| node.validators(instance.as_ref(), height));
        view.await?.ok_or_else(|| {
            HttpError::not_found(
                "the validators of that height are not known here",
                "ask for a height up to two beyond the last block; nodes started from a snapshot know later ones only",
            )
        })
    };
    format.reply::<ValidatorsView>(result.await)
}

/// Snapshots of the state that the node keeps and serves.
#[utoipa::path(
    get,
    path = "/v1/snapshots",
    tag = "ledger",
    responses((status = 200, description = "Of each instance as many as are kept, oldest first.", body = SnapshotList))
)]
pub(crate) async fn snapshots(State(control): State<Control>, format: Format) -> Response {
    let snapshots = control.handle().read(regatta_core::Node::snapshots).await;
    format.reply(
        snapshots
            .map(|snapshots| SnapshotList { snapshots })
            .map_err(HttpError::from),
    )
}

/// A block with the proof that it was decided.
#[utoipa::path(
    get,
    path = "/v1/blocks/{height}",
    tag = "ledger",
    params(
        ("height" = u64, Path, description = "Its height, from 1."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "The block.", body = BlockView))
)]
pub(crate) async fn block(
    State(control): State<Control>,
    format: Format,
    Path(height): Path<String>,
    Asked(scope): Asked<Scope>,
) -> Response {
    format.reply(find_block(&control, &height, scope).await)
}

async fn find_block(control: &Control, height: &str, scope: Result<Scope, HttpError>) -> Result<BlockView, HttpError> {
    let instance = scope?.instance(control)?;
    let height: Height = parse_path(height, "a height is a whole number from 1")?;
    control.handle().block(instance, height).await.ok_or_else(|| {
        HttpError::not_found(
            format!("there is no block {height} here"),
            "/v1/latest says how far this node is",
        )
    })
}

/// The query of a range of blocks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Range {
    instance: Option<String>,
    #[serde(default = "first_height")]
    from: Height,
    #[serde(default = "default_count")]
    count: usize,
}

fn first_height() -> Height {
    1
}

fn default_count() -> usize {
    100
}

/// Short forms of consecutive blocks.
#[utoipa::path(
    get,
    path = "/v1/blocks",
    tag = "ledger",
    params(
        ("from" = Option<u64>, Query, description = "The first height; 1 when absent."),
        ("count" = Option<usize>, Query, description = "How many, at most 1000; 100 when absent."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "In order of height; fewer at the ledger's end.", body = BlockRange))
)]
pub(crate) async fn blocks(State(control): State<Control>, format: Format, Asked(range): Asked<Range>) -> Response {
    format.reply(find_blocks(&control, range).await)
}

async fn find_blocks(control: &Control, range: Result<Range, HttpError>) -> Result<BlockRange, HttpError> {
    let (instance, from, count) = checked(control, range)?;
    let blocks = control
        .handle()
        .read(move |node| node.summaries(instance.as_ref(), from, count));
    let blocks = present(control, blocks.await?)?;
    Ok(BlockRange { blocks })
}

/// When this node told of each of consecutive blocks, on the clock that all processes of its host share.
#[utoipa::path(
    get,
    path = "/v1/blocks/times",
    tag = "ledger",
    params(
        ("from" = Option<u64>, Query, description = "The first height; 1 when absent."),
        ("count" = Option<usize>, Query, description = "How many, at most 1000; 100 when absent."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "In order of height; only of blocks since the node's start.", body = BlockTimes))
)]
pub(crate) async fn block_times(
    State(control): State<Control>,
    format: Format,
    Asked(range): Asked<Range>,
) -> Response {
    format.reply(find_times(&control, range))
}

fn find_times(control: &Control, range: Result<Range, HttpError>) -> Result<BlockTimes, HttpError> {
    let (instance, from, count) = checked(control, range)?;
    let instance = present(control, instance.or_else(|| control.first_instance()))?;
    let times = control.handle().block_times(&instance, from, count);
    Ok(BlockTimes { times })
}

/// A range that may be asked for.
fn checked(
    control: &Control,
    range: Result<Range, HttpError>,
) -> Result<(Option<InstanceId>, Height, usize), HttpError> {
    let Range { instance, from, count } = range?;
    let instance = known_instance(control, instance.as_deref())?;
    if from == 0 {
        return Err(HttpError::bad_parameter(
            "from=0: genesis is no block",
            "use from=1 or more",
        ));
    }
    if count == 0 || count > BLOCKS_MAX {
        return Err(HttpError::bad_parameter(
            format!("count={count} is out of range"),
            "use count=1 to count=1000, and several requests for more",
        ));
    }
    Ok((instance, from, count))
}

/// One value of the state, by its key in hexadecimal.
#[utoipa::path(
    get,
    path = "/v1/state/{key}",
    tag = "state",
    params(
        ("key" = String, Path, description = "The key in hexadecimal, 1 to 256 bytes."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "The value, or null when nothing was put there.", body = StateView))
)]
pub(crate) async fn state(
    State(control): State<Control>,
    format: Format,
    Path(key): Path<String>,
    Asked(scope): Asked<Scope>,
) -> Response {
    format.reply(find_by_hex(&control, &key, scope).await)
}

async fn find_by_hex(control: &Control, key: &str, scope: Result<Scope, HttpError>) -> Result<StateView, HttpError> {
    let instance = scope?.instance(control)?;
    let key = parse_hex(key).ok_or_else(|| {
        HttpError::bad_parameter(
            "the key is not hexadecimal",
            "write two digits for each byte, or ask /v1/state?utf8=KEY",
        )
    })?;
    read_state(control, instance, key).await
}

pub(crate) fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

/// The query of a state read by text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TextKey {
    instance: Option<String>,
    utf8: String,
}

/// One value of the state, by its key as text.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    params(
        ("utf8" = String, Query, description = "The key as text, 1 to 256 bytes."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "The value, or null when nothing was put there.", body = StateView))
)]
pub(crate) async fn state_by_text(
    State(control): State<Control>,
    format: Format,
    Asked(asked): Asked<TextKey>,
) -> Response {
    let result = async {
        let TextKey { instance, utf8 } = asked?;
        let instance = known_instance(&control, instance.as_deref())?;
        read_state(&control, instance, utf8.into_bytes()).await
    };
    format.reply(result.await)
}

async fn read_state(control: &Control, instance: Option<InstanceId>, key: Vec<u8>) -> Result<StateView, HttpError> {
    if key.is_empty() || key.len() > STATE_KEY_BYTES_MAX {
        return Err(HttpError::bad_parameter(
            format!("a key of {} bytes", key.len()),
            "a key has 1 to 256 bytes",
        ));
    }
    let view = control.handle().read(move |node| node.state(instance.as_ref(), &key));
    present(control, view.await?)
}

/// What a sender needs to know before it signs.
#[utoipa::path(
    get,
    path = "/v1/accounts/{key}",
    tag = "state",
    params(
        ("key" = String, Path, description = "The sender's public key: 64 hexadecimal digits."),
        ("instance" = Option<String>, Query, description = "The instance; the node's first one when absent."),
    ),
    responses((status = 200, description = "The account; a sender that was never seen has one too.", body = AccountView))
)]
pub(crate) async fn account(
    State(control): State<Control>,
    format: Format,
    Path(key): Path<String>,
    Asked(scope): Asked<Scope>,
) -> Response {
    let result = async {
        let instance = scope?.instance(&control)?;
        let key: PublicKey = parse_path(&key, "a public key is 64 hexadecimal digits")?;
        let view = control.handle().read(move |node| node.account(instance.as_ref(), &key));
        present(&control, view.await?)
    };
    format.reply::<AccountView>(result.await)
}
