//! Secrets: typed, never printed, compared in constant time, and usable as an HMAC-SHA256 key.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The longest secret that is taken, in bytes.
pub const MAX_LEN: usize = 255;

/// A shared secret of a webhook or a connector, as its owner wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a text cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Nothing, or white space only.
    #[error("a secret may not be blank")]
    Blank,
    /// Longer than [`MAX_LEN`].
    #[error("a secret has at most {MAX_LEN} bytes")]
    TooLong,
    /// Begins with `whsec_` but does not go on in base64.
    #[error("a secret that begins with whsec_ goes on with base64 of at least one byte")]
    NotBase64,
    /// Holds a NUL.
    #[error("a secret may not hold a NUL")]
    Nul,
}

impl Secret {
    /// The only door for a secret chosen by a person.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        if text.trim().is_empty() {
            return Err(InvalidSecret::Blank);
        }
        if text.len() > MAX_LEN {
            return Err(InvalidSecret::TooLong);
        }
        if text.contains('\0') {
            return Err(InvalidSecret::Nul);
        }
        if let Some(encoded) = text.strip_prefix("whsec_")
            && STANDARD.decode(encoded).map_or(true, |key| key.is_empty())
        {
            return Err(InvalidSecret::NotBase64);
        }
        Ok(Self(text.to_owned()))
    }

    /// A new secret: `whsec_` and 32 random bytes in base64.
    pub fn generate() -> Self {
        Self(format!("whsec_{}", STANDARD.encode(random::<32>())))
    }

    /// The plaintext: for sealing, and for showing once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The key of the hex dialects: the whole text's bytes.
    pub fn text_key(&self) -> Key {
        Key::new(self.0.as_bytes())
    }

    /// The key of `webhook-signature`: base64 behind `whsec_` is decoded, anything else is its bytes.
    pub fn webhook_key(&self) -> Key {
        match self.0.strip_prefix("whsec_").map(|encoded| STANDARD.decode(encoded)) {
            Some(Ok(key)) => Key::new(&key),
            Some(Err(_)) | None => Key::new(self.0.as_bytes()),
        }
    }

    /// Eight asterisks and the last four characters, as the permit facade shows it.
    pub fn masked(&self) -> String {
        let tail: Vec<char> = self.0.chars().rev().take(4).collect();
        format!("********{}", tail.iter().rev().collect::<String>())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// `N` bytes from the system's secure random source.
///
/// # Panics
/// When the system has no randomness to give, since nothing could be kept secret then.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness nothing can be kept secret")]
    SystemRandom::new().fill(&mut bytes).expect("the system's random source works");
    bytes
}

/// An HMAC-SHA256 key with its two blocks already hashed.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key of any length, as RFC 2104 allows.
    pub fn new(bytes: &[u8]) -> Self {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        Self(Hmac::new_from_slice(bytes).expect("any length is a key"))
    }

    /// The code over the concatenation of `parts`.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Whether `code` is the code over `parts`, in time that does not depend on where they differ.
    pub fn verifies(&self, parts: &[&[u8]], code: &[u8]) -> bool {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac.verify_slice(code).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_as_the_seed_of_the_permit_system_does() {
        let body = r#"{"event":"permit_approved","timestamp":"2024-01-15T10:30:00Z","permit_id":123,"permit_number":"PTW-2024-001","project_id":5,"data":{"status":"approved","permit_type":"Hot Work","location":"Building A - Level 3","risk_level":"high","approved_by":"John Doe","comments":"Approved with conditions"}}"#;
        let key = Secret::parse("your_secret_key_here").unwrap().text_key();
        assert_eq!(
            hex::encode(key.sign(&[body.as_bytes()])),
            "ee0820d3fbe299b1cb66a03ffa237fe0ee7ff5a74d87ba06efca77727912f5cf"
        );
    }

    #[test]
    fn one_changed_bit_is_refused() {
        let key = Secret::generate().webhook_key();
        let mut code = key.sign(&[b"a", b"b"]);
        assert!(key.verifies(&[b"ab"], &code));
        code[31] ^= 1;
        assert!(!key.verifies(&[b"ab"], &code));
        assert!(!key.verifies(&[b"ab"], &code[..31]));
        assert!(!key.verifies(&[b"ab"], b""));
    }

    #[test]
    fn nonsense_is_no_secret() {
        assert_eq!(Secret::parse("  "), Err(InvalidSecret::Blank));
        assert_eq!(Secret::parse("whsec_"), Err(InvalidSecret::NotBase64));
        assert_eq!(Secret::parse("whsec_%%"), Err(InvalidSecret::NotBase64));
        assert_eq!(Secret::parse(&"x".repeat(256)), Err(InvalidSecret::TooLong));
        assert_eq!(Secret::parse("a\0b"), Err(InvalidSecret::Nul));
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::parse("your_secret_key_here").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        assert_eq!(secret.masked(), "********here");
    }
}
