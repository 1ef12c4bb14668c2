//! How an ERPOps call proves where it comes from: the connector's id, and an HMAC-SHA256 of the raw body.

use busbar_domain::dialect::{InvalidSignature, verify_hex};
use busbar_domain::secret::Key;
use uuid::Uuid;

/// The header that names the connector.
pub const CONNECTOR_HEADER: &str = "x-erpops-connector-id";

/// The header that signs the body: `sha256=` and the digest in hex.
pub const SIGNATURE_HEADER: &str = "x-erpops-signature";

/// Why the connector's header names no connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConnector {
    /// The header is missing or empty, which is answered 401.
    #[error("the connector's header is missing")]
    Missing,
    /// The header holds no UUID, so there is no such connector, which is answered 403.
    #[error("the connector's header holds no UUID")]
    Unknown,
}

/// Reads the header that names the connector.
pub fn connector(header: Option<&str>) -> Result<Uuid, InvalidConnector> {
    let text = header.map(str::trim).filter(|text| !text.is_empty()).ok_or(InvalidConnector::Missing)?;
    Uuid::try_parse(text).map_err(|_| InvalidConnector::Unknown)
}

/// Checks the signature header over the body exactly as it was received, in constant time.
pub fn verify(key: &Key, signature_header: Option<&str>, body: &[u8]) -> Result<(), InvalidSignature> {
    let header = signature_header.filter(|header| !header.is_empty()).ok_or(InvalidSignature::Missing)?;
    verify_hex(key, header, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_vector_holds() {
        let body = include_str!("fixtures/curl.json").replace("3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f", "YOUR_ID");
        let key = Key::new(b"YOUR_SECRET");
        let header = "sha256=e7be30eca1175f99f87947d5e12b935e53545e9493982ae229059e5eba1e25d7";
        assert_eq!(verify(&key, Some(header), body.as_bytes()), Ok(()));
        let upper = format!("sha256={}", header[7..].to_uppercase());
        assert_eq!(verify(&key, Some(&upper), body.as_bytes()), Ok(()));
        assert_eq!(verify(&key, Some(&header[7..]), body.as_bytes()), Err(InvalidSignature::Mismatch));
        assert_eq!(verify(&key, Some(header), &body.as_bytes()[1..]), Err(InvalidSignature::Mismatch));
        assert_eq!(verify(&key, None, body.as_bytes()), Err(InvalidSignature::Missing));
        assert_eq!(verify(&key, Some(""), body.as_bytes()), Err(InvalidSignature::Missing));
    }

    #[test]
    fn a_connector_is_named_by_a_uuid() {
        assert_eq!(connector(Some(" 3f0c9a52-6c1e-4c53-9d2f-0b6a7c1d2e4f")).unwrap().get_version_num(), 4);
        assert_eq!(connector(None), Err(InvalidConnector::Missing));
        assert_eq!(connector(Some(" ")), Err(InvalidConnector::Missing));
        assert_eq!(connector(Some("YOUR_ID")), Err(InvalidConnector::Unknown));
    }
}
