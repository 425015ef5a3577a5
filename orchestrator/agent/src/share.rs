//! Programs from host to host: one is offered to one other host, for a moment, at a port of the host's own address.
//!
//! Nothing listens before the lab asks for it. The port takes one transfer: it closes when whoever knows the token has come,
//! after [`CLAIM_DEADLINE`], and when the lab's connection ends.

use crate::{agent::Agent, run::Run, store::refused};
use regatta_base::Digest;
use regatta_fleet::{
    Chunk, Claim, Frames, Holding, Name, Refusal, Token, What, encode_frame,
    limits::{CHUNK_BYTES, SHARE_DEADLINE_MS, SHARES_MAX},
};
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::unix::fs::FileExt,
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::{Instant, timeout, timeout_at},
};

/// How long an offer waits for the host that it is for.
const CLAIM_DEADLINE: Duration = Duration::from_secs(20);
/// How long one that has connected may take to say who it is.
const WORD_DEADLINE: Duration = Duration::from_secs(2);
/// Connections of strangers that an offer survives.
const STRANGERS_MAX: u32 = 8;
/// How long the way to another host may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long either side waits for the other to take or send one piece.
const PIECE_DEADLINE: Duration = Duration::from_secs(20);
/// How long a transfer may take.
const SHARE_DEADLINE: Duration = Duration::from_millis(SHARE_DEADLINE_MS);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Longest claim in bytes, with the length of its frame.
const CLAIM_BYTES_MAX: usize = 256;

/// What one host gets from another.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Digest of the program.
    pub digest: Digest,
    /// Its file name.
    pub name: Name,
    /// Its size in bytes.
    pub total: u64,
    /// Who offers it.
    pub from: SocketAddrV4,
    /// What is said to get it.
    pub token: Token,
}

/// A program that waits for the host that it is offered to.
struct Offer {
    file: File,
    total: u64,
    digest: Digest,
    token: Token,
}

/// Offers a whole program once, at a free port of `address`, which is returned.
///
/// # Errors
/// [`What::Missing`] when the program is not here, [`What::Busy`] when too many are offered, [`What::System`] when the address
/// is not this host's.
pub(crate) async fn share(
    agent: &Rc<Agent>,
    run: &Rc<Run>,
    (digest, token): (Digest, Token),
    address: Ipv4Addr,
) -> Result<u16, Refusal> {
    run.check_lease()?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        let message = format!("{address} is not one address of this host");
        return Err(Refusal::new(What::Order, message));
    }
    if agent.shares.get() >= SHARES_MAX {
        let message = format!("{SHARES_MAX} programs are offered to other hosts already");
        return Err(Refusal::new(What::Busy, message));
    }
    let shown = format!("program {}", digest.short());
    let (file, total) = agent.store.open_whole(digest).map_err(refused(&shown))?;
    let bound = TcpListener::bind((address, 0)).await;
    let listener = bound.map_err(refused(format!("a port of {address}")))?;
    let port = listener.local_addr().map_err(refused("a port"))?.port();
    agent.note(&format!("{shown} is offered to one host at {address}:{port}"));
    agent.shares.set(agent.shares.get() + 1);
    let (agent, attachment, over) = (Rc::clone(agent), run.attachment(), run.end());
    let offer = Offer {
        file,
        total,
        digest,
        token,
    };
    spawn_local(async move {
        let result = tokio::select! {
            result = offered(listener, &offer) => result,
            () = attachment.cancelled() => Err(io::Error::other("the lab's connection ended")),
            () = over.cancelled() => Err(io::Error::other("the run is over")),
        };
        agent.shares.set(agent.shares.get() - 1);
        agent.note(&match result {
            Ok(bytes) => format!("{shown} was handed on: {bytes} bytes"),
            Err(error) => format!("{shown} was not handed on: {error}"),
        });
    });
    Ok(port)
}

/// Waits for the one who knows the token and sends what it lacks; the port is closed before that. Returns the bytes sent.
async fn offered(listener: TcpListener, offer: &Offer) -> io::Result<u64> {
    let until = Instant::now() + CLAIM_DEADLINE;
    for _ in 0..STRANGERS_MAX {
        let (mut stream, _) = timeout_at(until, listener.accept())
            .await
            .map_err(|_| io::Error::other("nobody came for it"))??;
        let claim = timeout(WORD_DEADLINE, claim_of(&mut stream)).await;
        let claim = claim.ok().flatten();
        if let Some(claim) = claim.filter(|claim| claim.token == offer.token && claim.digest == offer.digest) {
            drop(listener);
            let sending = timeout(SHARE_DEADLINE, send(stream, offer, claim.have));
            return sending.await.map_err(|_| io::Error::other("it took too long"))?;
        }
    }
    Err(io::Error::other(format!(
        "{STRANGERS_MAX} connections did not know the token"
    )))
}

/// The one frame of whoever has connected; nothing when it is anything else.
async fn claim_of(stream: &mut TcpStream) -> Option<Claim> {
    let (mut frames, mut read) = (Frames::default(), 0);
    let mut piece = [0; CLAIM_BYTES_MAX];
    loop {
        let count = stream.read(&mut piece).await.ok().filter(|&count| count > 0)?;
        read += count;
        if read > CLAIM_BYTES_MAX {
            return None;
        }
        frames.push(&piece[..count]);
        if let Some(claim) = frames.take().ok()? {
            return Some(claim);
        }
    }
}

async fn send(mut stream: TcpStream, offer: &Offer, have: u64) -> io::Result<u64> {
    let (mut at, mut sent) = (have - have % CHUNK_BYTES as u64, 0);
    let mut plain = vec![0; CHUNK_BYTES];
    while at < offer.total {
        let length = usize::try_from(offer.total - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        offer.file.read_exact_at(&mut plain[..length], at)?;
        let frame = encode_frame(&Chunk::once(at, &plain[..length])).map_err(io::Error::other)?;
        timeout(PIECE_DEADLINE, stream.write_all(&frame))
            .await
            .map_err(|_| io::Error::other("the other host takes no more"))??;
        at += length as u64;
        sent += frame.len() as u64;
    }
    stream.shutdown().await?;
    Ok(sent)
}

/// Gets a program from another host. What came before an error stays, so that somebody else may go on with it.
///
/// # Errors
/// [`What::System`] when the other host does not answer or ends too soon, and whatever the store refuses: above all
/// [`What::Digest`] for a program that is not what it should be.
pub(crate) async fn fetch(agent: &Rc<Agent>, run: &Rc<Run>, wanted: Wanted) -> Result<Holding, Refusal> {
    run.check_lease()?;
    let (attachment, over, from) = (run.attachment(), run.end(), wanted.from);
    let failed = |why: &str| Refusal::new(What::System, format!("{from}: {why}"));
    tokio::select! {
        result = timeout(SHARE_DEADLINE, fetched(agent, wanted)) => result.unwrap_or_else(|_| Err(failed("it took too long"))),
        () = attachment.cancelled() => Err(failed("the lab's connection ended")),
        () = over.cancelled() => Err(failed("the run is over")),
    }
}

async fn fetched(agent: &Rc<Agent>, wanted: Wanted) -> Result<Holding, Refusal> {
    let Wanted {
        digest,
        name,
        total,
        from,
        token,
    } = wanted;
    let failed = |why: String| Refusal::new(What::System, format!("{from}: {why}"));
    let mut have = match agent.store.holding(digest) {
        Holding::Whole => return Ok(Holding::Whole),
        Holding::Partial(have) => have,
    };
    let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(from)).await;
    let stream = stream.map_err(|_| failed("does not answer".to_owned()))?;
    let mut stream = stream.map_err(|error| failed(error.to_string()))?;
    let claim = encode_frame(&Claim { token, digest, have }).map_err(|error| failed(error.to_string()))?;
    stream
        .write_all(&claim)
        .await
        .map_err(|error| failed(error.to_string()))?;
    let (mut frames, mut piece) = (Frames::default(), vec![0; READ_BYTES]);
    loop {
        let next = timeout(PIECE_DEADLINE, next_chunk(&mut stream, &mut frames, &mut piece)).await;
        let next = next.map_err(|_| failed("sends no more".to_owned()))?;
        let chunk = next.map_err(|error| failed(error.to_string()))?;
        let chunk = chunk.ok_or_else(|| failed("ended before the program was whole".to_owned()))?;
        match agent.store.put(digest, &name, total, &chunk)? {
            Holding::Whole => return Ok(Holding::Whole),
            // What is there already would go on for ever.
            Holding::Partial(now) if now <= have => return Err(failed("repeats itself".to_owned())),
            Holding::Partial(now) => have = now,
        }
    }
}

/// The next piece; none at the end of the stream.
async fn next_chunk(stream: &mut TcpStream, frames: &mut Frames, piece: &mut [u8]) -> io::Result<Option<Chunk>> {
    loop {
        if let Some(chunk) = frames.take().map_err(io::Error::other)? {
            return Ok(Some(chunk));
        }
        match stream.read(piece).await? {
            0 => return Ok(None),
            count => frames.push(&piece[..count]),
        }
    }
}
