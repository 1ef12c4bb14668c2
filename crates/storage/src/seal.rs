//! Secrets at rest: AES-256-GCM under a versioned master key, bound to the row that holds them.
//!
//! Sealed form: version (1 byte), key id (4 bytes), nonce (12), ciphertext and tag. The associated data is
//! `table|column|row id`, so a ciphertext that is moved to another row does not open.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use busbar_domain::secret::{InvalidSecret, Key, Secret};
use uuid::Uuid;

/// Why something cannot be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No master key is set.
    #[error("no master key is set; set secrets.master_key to <number>:<base64 of 32 bytes>")]
    NoKey,
    /// The master key's text is not one.
    #[error("secrets.master_key is <number>:<base64 of 32 bytes>, several separated by commas")]
    BadKey,
    /// Sealed under a key that is not in the ring.
    #[error("sealed under master key {0}, which is not set")]
    UnknownKey(u32),
    /// Truncated, changed, or moved from another row.
    #[error("the sealed text does not open here")]
    Broken,
    /// What opened is not a secret.
    #[error("the sealed text holds no secret: {0}")]
    NotASecret(#[from] InvalidSecret),
}

/// The place that a sealed text belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// `table|column`.
    pub column: &'static str,
    /// The row.
    pub row: Uuid,
}

/// Master keys by number; the first one seals.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[(u32, RandomizedNonceKey)]>,
    /// What codes of secrets are made with, key by key.
    coders: Arc<[(u32, Key)]>,
}

/// What sets the keys of codes apart from the master keys that they are made of.
const CODES: &[u8] = b"busbar: codes of secrets";
const FORMAT: u8 = 1;
const HEAD: usize = 5;

impl Keyring {
    /// Reads `<number>:<base64 of 32 bytes>`, several separated by commas; the first one seals.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (mut keys, mut coders) = (Vec::new(), Vec::new());
        for entry in text.split(',') {
            let (number, encoded) = entry.trim().split_once(':').ok_or(Error::BadKey)?;
            let number = number.parse().map_err(|_| Error::BadKey)?;
            let bytes = STANDARD.decode(encoded).map_err(|_| Error::BadKey)?;
            let key = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| Error::BadKey)?;
            keys.push((number, key));
            coders.push((number, Key::new(&Key::new(&bytes).sign(&[CODES]))));
        }
        Ok(Self { keys: keys.into(), coders: coders.into() })
    }

    /// A ring without keys: nothing can be sealed or opened.
    pub fn empty() -> Self {
        Self { keys: Arc::new([]), coders: Arc::new([]) }
    }

    /// The text of a new key with number `number`, for `secrets.master_key`.
    pub fn generate(number: u32) -> String {
        format!("{number}:{}", STANDARD.encode(busbar_domain::secret::random::<32>()))
    }

    /// Seals `secret` for `place`.
    pub fn seal(&self, place: Place, secret: &Secret) -> Result<Vec<u8>, Error> {
        self.seal_bytes(place, secret.expose().as_bytes())
    }

    /// Seals any bytes for `place`.
    pub fn seal_bytes(&self, place: Place, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let (number, key) = self.keys.first().ok_or(Error::NoKey)?;
        let mut text = plain.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(place.associated_data(*number)), &mut text)
            .map_err(|_| Error::Broken)?;
        let mut sealed = Vec::with_capacity(HEAD + NONCE_LEN + text.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&number.to_be_bytes());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens the secret that was sealed for `place`.
    pub fn open(&self, place: Place, sealed: &[u8]) -> Result<Secret, Error> {
        let plain = self.open_bytes(place, sealed)?;
        Ok(Secret::parse(std::str::from_utf8(&plain).map_err(|_| Error::Broken)?)?)
    }

    /// Opens what was sealed for `place`.
    pub fn open_bytes(&self, place: Place, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let number = key_of(sealed)?;
        let (_, rest) = sealed.split_at_checked(HEAD).ok_or(Error::Broken)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(Error::Broken)?;
        let (_, key) = self.keys.iter().find(|(known, _)| *known == number).ok_or(Error::UnknownKey(number))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Broken)?;
        let mut text = text.to_vec();
        let plain =
            key.open_in_place(nonce, Aad::from(place.associated_data(number)), &mut text).map_err(|_| Error::Broken)?;
        Ok(plain.to_vec())
    }

    /// The code by which a secret is found that the hub has made: equal for equal secrets, and worth nothing without the
    /// master key. Secrets that a person chose may be alike, so they get none.
    pub fn code(&self, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let (number, coder) = self.coders.first().ok_or(Error::NoKey)?;
        Ok(code_of(*number, coder, secret))
    }

    /// The codes that a secret may be stored under: one for each key.
    pub fn codes(&self, secret: &[u8]) -> Vec<Vec<u8>> {
        self.coders.iter().map(|(number, coder)| code_of(*number, coder, secret)).collect()
    }

    /// The number of the key that seals.
    pub fn sealing(&self) -> Option<u32> {
        self.keys.first().map(|(number, _)| *number)
    }
}

fn code_of(number: u32, coder: &Key, secret: &[u8]) -> Vec<u8> {
    [&head_of(number)[..], &coder.sign(&[secret])].concat()
}

/// How everything begins that is sealed under the key with this number.
pub(crate) fn head_of(number: u32) -> Vec<u8> {
    [&[FORMAT][..], &number.to_be_bytes()].concat()
}

/// The number of the key that something was sealed under.
pub fn key_of(sealed: &[u8]) -> Result<u32, Error> {
    let (head, _) = sealed.split_at_checked(HEAD).ok_or(Error::Broken)?;
    let [FORMAT, number @ ..] = head else { return Err(Error::Broken) };
    Ok(u32::from_be_bytes(number.try_into().map_err(|_| Error::Broken)?))
}

impl Place {
    fn associated_data(self, key: u32) -> Vec<u8> {
        format!("{}|{}|{key}", self.column, self.row).into_bytes()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(number, _)| number)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(row: u128) -> Place {
        Place { column: "webhooks|secret", row: Uuid::from_u128(row) }
    }

    #[test]
    fn a_secret_opens_in_its_own_row_only() {
        let ring = Keyring::parse(&Keyring::generate(1)).unwrap();
        let secret = Secret::generate();
        let sealed = ring.seal(place(1), &secret).unwrap();
        assert_eq!(ring.open(place(1), &sealed).unwrap(), secret);
        assert_eq!(ring.open(place(2), &sealed), Err(Error::Broken));
        let elsewhere = Place { column: "connectors|secret", row: place(1).row };
        assert_eq!(ring.open(elsewhere, &sealed), Err(Error::Broken));
    }

    #[test]
    fn flipped_and_truncated_texts_are_refused() {
        let ring = Keyring::parse(&Keyring::generate(1)).unwrap();
        let sealed = ring.seal(place(1), &Secret::generate()).unwrap();
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1;
            assert!(ring.open(place(1), &flipped).is_err(), "byte {at}");
            assert!(ring.open(place(1), &sealed[..at]).is_err(), "length {at}");
        }
    }

    #[test]
    fn a_rotated_ring_still_opens_what_the_old_key_sealed() {
        let (old, new) = (Keyring::generate(1), Keyring::generate(2));
        let secret = Secret::generate();
        let sealed = Keyring::parse(&old).unwrap().seal(place(1), &secret).unwrap();
        let both = Keyring::parse(&format!("{new},{old}")).unwrap();
        assert_eq!(both.open(place(1), &sealed).unwrap(), secret);
        assert_eq!(both.seal(place(1), &secret).unwrap()[4], 2);
        assert_eq!(Keyring::parse(&new).unwrap().open(place(1), &sealed), Err(Error::UnknownKey(1)));
    }

    #[test]
    fn a_secret_is_found_by_its_code_under_every_key_of_the_ring() {
        let (old, new) = (Keyring::generate(1), Keyring::generate(2));
        let secret = Secret::generate();
        let stored = Keyring::parse(&old).unwrap().code(secret.expose().as_bytes()).unwrap();
        let both = Keyring::parse(&format!("{new},{old}")).unwrap();
        assert!(both.codes(secret.expose().as_bytes()).contains(&stored));
        assert!(!both.codes(b"another").contains(&stored));
        assert_ne!(both.code(secret.expose().as_bytes()).unwrap(), stored);
        assert_eq!(Keyring::empty().code(b"x"), Err(Error::NoKey));
    }

    #[test]
    fn keys_do_not_print_and_bad_ones_are_refused() {
        let text = Keyring::generate(7);
        assert_eq!(format!("{:?}", Keyring::parse(&text).unwrap()), "[7]");
        for bad in ["", "x", "1:", "1:AAAA", "x:AAAA"] {
            assert_eq!(Keyring::parse(bad).unwrap_err(), Error::BadKey, "{bad}");
        }
        assert_eq!(Keyring::empty().seal(place(1), &Secret::generate()), Err(Error::NoKey));
    }
}
