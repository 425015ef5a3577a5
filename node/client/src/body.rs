//! Bodies in MessagePack with field names.

use regatta_api::view::SubmitRequest;
use serde::{Serialize, de::DeserializeOwned};
use std::io::Cursor;

/// Content type of MessagePack bodies.
pub const MSGPACK: &str = "application/msgpack";
/// Encodes a body: MessagePack with field names.
///
/// # Errors
/// The serializer's text; never for the types of the control interface.
pub fn encode_body<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    rmp_serde::to_vec_named(value).map_err(|error| error.to_string())
}

/// Encodes a submission in one piece of memory of the right size.
///
/// # Errors
/// As [`encode_body`].
pub(crate) fn encode_submission(request: &SubmitRequest) -> Result<Vec<u8>, String> {
    /// More than the encoding adds to a transaction, and more than it adds to all of them.
    const OVERHEAD: (usize, usize) = (5, 256);
    let payload: usize = request
        .transactions
        .iter()
        .map(|bytes| bytes.0.len() + OVERHEAD.0)
        .sum();
    let mut body = Vec::with_capacity(payload + OVERHEAD.1);
    rmp_serde::encode::write_named(&mut body, request).map_err(|error| error.to_string())?;
    Ok(body)
}

/// Decodes a body in MessagePack and refuses bytes after it.
///
/// # Errors
/// What does not parse, in words.
pub fn decode_body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let value = T::deserialize(&mut reader).map_err(|error| error.to_string())?;
    match bytes.len() as u64 - reader.position() {
        0 => Ok(value),
        rest => Err(format!("{rest} bytes after the value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regatta_api::view::{BlockView, Latest, TransactionStatus};

    #[test]
    fn bytes_after_a_body_are_refused() {
        let mut bytes = encode_body(&TransactionStatus::Pending).unwrap();
        assert_eq!(decode_body(&bytes), Ok(TransactionStatus::Pending));
        bytes.push(0);
        let error = decode_body::<TransactionStatus>(&bytes).unwrap_err();
        assert!(error.contains("1 bytes after"), "{error}");
        assert!(decode_body::<Latest>(&[]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_body::<BlockView>(&bytes);
            let _ = decode_body::<SubmitRequest>(&bytes);
        }

        #[test]
        fn what_is_encoded_is_decoded(
            instance in proptest::option::of("[a-z0-9][a-z0-9._-]{0,20}"),
            transactions in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..10),
        ) {
            let request = SubmitRequest {
                instance: instance.map(|name| name.parse().unwrap()),
                transactions: transactions.into_iter().map(Into::into).collect(),
            };
            let body = encode_body(&request).unwrap();
            prop_assert_eq!(&encode_submission(&request).unwrap(), &body);
            prop_assert_eq!(decode_body(&body), Ok(request));
        }
    }
}
