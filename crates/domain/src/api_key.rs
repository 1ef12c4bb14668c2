//! API keys: `bb_<env>_<key id>_<secret>_<checksum>`, 256 random bits, stored as a SHA-256 hash.
//!
//! The checksum refuses a mistyped or invented key without asking the database.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::secret;

/// What a credential may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything, for every tenant.
    Operator,
    /// Change the tenant's configuration.
    Admin,
    /// Read the tenant's data.
    Read,
    /// Publish events.
    Publish,
    /// Call the WorkPro webhook.
    Ingest,
}

impl Scope {
    /// Every scope with its name on the wire.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Operator, "operator"),
        (Self::Admin, "admin"),
        (Self::Read, "read"),
        (Self::Publish, "publish"),
        (Self::Ingest, "ingest"),
    ];

    /// Reads a scope's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }

    /// The scope's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Ingest => "ingest",
        }
    }

    /// Whether a credential with this scope may do what `needed` allows: an admin reads and publishes too.
    pub fn covers(self, needed: Self) -> bool {
        match self {
            Self::Operator => true,
            Self::Admin => needed != Self::Operator,
            Self::Read | Self::Publish | Self::Ingest => self == needed,
        }
    }
}

/// An API key as its holder sends it; its text shows once, at creation.
#[derive(Clone)]
pub struct ApiKey {
    text: String,
    id_end: usize,
}

/// The hash under which a key is stored.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// The hexadecimal digits of each part.
const ID_LEN: usize = 16;
const SECRET_LEN: usize = 64;
const CHECKSUM_LEN: usize = 8;

impl ApiKey {
    /// A new key of environment `env` (letters and digits).
    pub fn generate(env: &str) -> Self {
        let env: String = env.chars().filter(char::is_ascii_alphanumeric).collect();
        let id = hex::encode(secret::random::<{ ID_LEN / 2 }>());
        let secret = hex::encode(secret::random::<{ SECRET_LEN / 2 }>());
        let stem = format!("bb_{env}_{id}_{secret}");
        let checksum = checksum(&stem);
        Self { id_end: 3 + env.len() + 1 + ID_LEN, text: format!("{stem}_{checksum}") }
    }

    /// Reads what a caller sent; `None` if it cannot be a key of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, sum) = text.rsplit_once('_')?;
        let (head, secret) = stem.rsplit_once('_')?;
        let (prefix, id) = head.rsplit_once('_')?;
        let env = prefix.strip_prefix("bb_")?;
        let hex_of = |part: &str, len: usize| part.len() == len && part.bytes().all(|b| b.is_ascii_hexdigit());
        let shaped = !env.is_empty()
            && env.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && hex_of(id, ID_LEN)
            && hex_of(secret, SECRET_LEN)
            && sum.len() == CHECKSUM_LEN;
        let intact = shaped && bool::from(checksum(stem).as_bytes().ct_eq(sum.as_bytes()));
        intact.then(|| Self { id_end: head.len(), text: text.to_owned() })
    }

    /// The public part, by which the key is found.
    pub fn key_id(&self) -> &str {
        &self.text[self.id_end - ID_LEN..self.id_end]
    }

    /// What is stored instead of the key. The key has 256 random bits, so a fast hash is enough.
    pub fn hash(&self) -> KeyHash {
        KeyHash(Sha256::digest(self.text.as_bytes()).into())
    }

    /// The key itself, for showing once.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}, ***)", self.key_id())
    }
}

impl KeyHash {
    /// Reads the stored form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The stored form.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are hashes of the same key, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(***)")
    }
}

fn checksum(stem: &str) -> String {
    hex::encode(&Sha256::digest(stem.as_bytes())[..CHECKSUM_LEN / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_its_id_and_proven_by_its_hash() {
        let key = ApiKey::generate("live");
        let sent = ApiKey::parse(key.expose()).unwrap();
        assert_eq!(sent.key_id(), key.key_id());
        assert!(sent.hash().matches(&key.hash()));
        assert!(!ApiKey::generate("live").hash().matches(&key.hash()));
    }

    #[test]
    fn a_mistyped_key_is_refused_offline() {
        let key = ApiKey::generate("live");
        let text = key.expose();
        for at in 3..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            assert!(ApiKey::parse(std::str::from_utf8(&wrong).unwrap()).is_none(), "byte {at}");
        }
        for bad in ["", "bb_", "bb_live_a_b_c", "Bearer x", "bb__0_0_0"] {
            assert!(ApiKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        let key = ApiKey::generate("live");
        assert!(!format!("{key:?}").contains(&key.expose()[28..60]));
    }

    #[test]
    fn scopes_cover_what_they_should() {
        assert!(Scope::Admin.covers(Scope::Publish));
        assert!(!Scope::Admin.covers(Scope::Operator));
        assert!(!Scope::Publish.covers(Scope::Read));
        for (scope, name) in Scope::ALL {
            assert_eq!(Scope::parse(name), Some(scope));
            assert_eq!(scope.as_str(), name);
        }
    }
}
