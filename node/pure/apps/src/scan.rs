//! What is read and hashed of transactions before anything is checked: many at once, side by side.

use crate::{
    change::ChangeView,
    domain::{Domain, SIGNATURE_BYTES, TransactionError, keyed},
    transaction::View,
};
use regatta_base::{Digest, PublicKey, Signature, TransactionId, many::keyed_each};

/// A digest and a signature: what the id of a transaction with one signer is the digest of.
const IDENTITY_BYTES: usize = 32 + SIGNATURE_BYTES;

/// What one pass over a transaction's bytes yields.
pub(crate) struct Scanned {
    pub(crate) id: TransactionId,
    pub(crate) sender: Option<(PublicKey, u64)>,
    /// What was signed, by whom, with which signature; `None` for a blob.
    pub(crate) claim: Option<(PublicKey, Digest, Signature)>,
    /// The same of further signers, whom only a change of the validator set has.
    pub(crate) more_claims: Vec<(PublicKey, Digest, Signature)>,
}

impl Scanned {
    pub(crate) fn claims(&self) -> impl Iterator<Item = &(PublicKey, Digest, Signature)> {
        self.claim.iter().chain(&self.more_claims)
    }

    fn new(id: TransactionId, sender: Option<(PublicKey, u64)>, claim: Option<(Digest, Signature)>) -> Self {
        Self {
            id,
            sender,
            claim: sender
                .zip(claim)
                .map(|((key, _), (digest, signature))| (key, digest, signature)),
            more_claims: Vec::new(),
        }
    }
}

/// Scans each of these transactions.
pub(crate) fn scan_each(domain: &Domain, transactions: &[&[u8]]) -> Vec<Result<Scanned, TransactionError>> {
    let views: Vec<_> = transactions.iter().map(|bytes| View::parse(bytes)).collect();
    let (mut blobs, mut signed) = (Vec::new(), Vec::new());
    for (bytes, view) in transactions.iter().zip(&views) {
        match view {
            Ok(View::Blob { .. }) => blobs.push(*bytes),
            Ok(View::Opaque { .. } | View::Put { .. }) => signed.extend(bytes.split_last_chunk::<SIGNATURE_BYTES>()),
            Ok(View::Validators(_)) | Err(_) => {}
        }
    }
    let bodies: Vec<&[u8]> = signed.iter().map(|(body, _)| *body).collect();
    let digests = keyed_each(&domain.signing, &bodies);
    let ids = signed_ids(domain, &digests, &signed);
    let mut of_signed = signed.iter().zip(digests).zip(ids);
    let mut of_blobs = keyed_each(&domain.blob_id, &blobs).into_iter();
    // Each takes the next of its kind, of which there are as many.
    let scanned = |(view, bytes): (Result<View<'_>, TransactionError>, &&[u8])| match view? {
        View::Validators(change) => scan_change(domain, bytes, change),
        View::Blob { .. } => {
            let id = of_blobs.next().ok_or(TransactionError::Malformed)?;
            Ok(Scanned::new(id, None, None))
        }
        view @ (View::Opaque { .. } | View::Put { .. }) => {
            let (((_, signature), digest), id) = of_signed.next().ok_or(TransactionError::Malformed)?;
            Ok(Scanned::new(id, view.sender(), Some((digest, Signature(**signature)))))
        }
    };
    views.into_iter().zip(transactions).map(scanned).collect()
}

/// Ids of transactions with one signer, given the digests of their bodies.
fn signed_ids(domain: &Domain, digests: &[Digest], signed: &[(&[u8], &[u8; SIGNATURE_BYTES])]) -> Vec<TransactionId> {
    let identity = |(digest, (_, signature)): (&Digest, &(&[u8], &[u8; SIGNATURE_BYTES]))| {
        let mut identity = [0; IDENTITY_BYTES];
        identity[..32].copy_from_slice(&digest.0);
        identity[32..].copy_from_slice(*signature);
        identity
    };
    let identities: Vec<_> = digests.iter().zip(signed).map(identity).collect();
    let identities: Vec<&[u8]> = identities.iter().map(|bytes| &bytes[..]).collect();
    keyed_each(&domain.signed_id, &identities)
}

fn scan_change(domain: &Domain, bytes: &[u8], change: ChangeView<'_>) -> Result<Scanned, TransactionError> {
    let (body, signatures) = bytes
        .split_at_checked(bytes.len() - change.signed_bytes())
        .ok_or(TransactionError::Malformed)?;
    let digest = keyed(&domain.signing, body);
    let mut claims = change.signers().map(|(key, signature)| (key, digest, signature));
    Ok(Scanned {
        id: keyed(&domain.signed_id, &[&digest.0, signatures].concat()),
        sender: None,
        claim: claims.next(),
        more_claims: claims.collect(),
    })
}
