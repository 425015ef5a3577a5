//! A shared byte string that people read as hexadecimal and machines as raw bytes.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt;

/// Cheaply cloned bytes: hexadecimal in JSON, a byte string in MessagePack.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HexBytes(pub Bytes);

impl From<Vec<u8>> for HexBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl AsRef<[u8]> for HexBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::digest::serialize_hex(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            hex::decode(text.as_ref()).map(Self::from).map_err(D::Error::custom)
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Self::from(bytes.into_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_hexadecimal_and_machines_read_bytes() {
        let bytes = HexBytes::from(vec![1, 171]);
        assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"01ab\"");
        assert_eq!(serde_json::from_str::<HexBytes>("\"01ab\"").unwrap(), bytes);
        assert!(serde_json::from_str::<HexBytes>("\"01a\"").is_err());
        assert_eq!(crate::decode(&crate::encode(&bytes), 10), Ok(bytes));
    }
}
