//! The dead-letter desk: what the hub has given up, with its cause, until somebody resubmits or discards it.

use busbar_domain::Timestamp;
use busbar_domain::id::TenantId;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

mod disposal;
mod listing;
mod streak;

pub use disposal::{Act, GROUP_LIMIT, Group, Refusal, Successor, discard, discard_group, resubmit, resubmit_group};
pub use listing::{Cause, Filter, MOST_GROUPS, Record, Status, find, groups, list, payload};
pub use streak::{Streak, streak};

use crate::Error;

/// What was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A delivery.
    Delivery,
    /// A call of an external system.
    Inbound,
    /// A wake-up that no consumer could read.
    Wakeup,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Delivery, Self::Inbound, Self::Wakeup];

    /// The kind's name in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Inbound => "inbound",
            Self::Wakeup => "wakeup",
        }
    }

    /// Reads a kind's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The reason of every wake-up that could not be read.
pub const UNREADABLE: &str = "unreadable";
/// How many bytes of a wake-up that could not be read are kept.
pub const MESSAGE_KEPT: usize = 64 * 1024;

/// One dead letter that is about to be written.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The delivery's or call's id.
    pub id: Uuid,
    /// Whose it is.
    pub tenant: TenantId,
    /// The webhook or connector.
    pub source: Uuid,
    /// What was given up.
    pub kind: Kind,
    /// The event's type or the call's system.
    pub label: String,
    /// Why it was given up.
    pub reason: String,
    /// The stable word for what went wrong last.
    pub error_class: Option<String>,
    /// The last response's status.
    pub status: Option<i16>,
    /// What went wrong last, in a sentence.
    pub error: Option<String>,
}

impl Letter {
    /// Equal for letters that died of the same cause: the same receiver or connector, reason, class and status.
    pub fn fingerprint(&self) -> String {
        let (class, status) = (self.error_class.as_deref().unwrap_or(""), self.status.unwrap_or(0));
        // The first word of a call's reason is its code; what follows differs from call to call.
        let reason = self.reason.split(':').next().unwrap_or_default();
        digest([self.kind.as_str(), &self.source.to_string(), reason, class, &status.to_string()])
    }
}

/// A wake-up that no consumer could read, about to be written.
#[derive(Clone, Debug)]
pub struct UnreadableWakeup {
    /// The queue that it was found in, without namespace.
    pub queue: String,
    /// Why it could not be read, in a sentence.
    pub error: String,
    /// When it was published, in seconds since 1970.
    pub sent_at: u64,
    /// The id that its publisher gave it; empty if there was none.
    pub message_id: String,
    /// The message; what is longer than [`MESSAGE_KEPT`] is cut.
    pub message: Vec<u8>,
}

impl UnreadableWakeup {
    /// The letter's id: the same however often the message comes, and sorted by the time it was published.
    ///
    /// Equal messages that one publisher sent within a second without ids of their own are one letter.
    pub fn id(&self) -> Uuid {
        const LAST_MILLISECOND: u64 = (1 << 48) - 1;
        let mut hash = Sha256::new();
        for part in [self.message_id.as_bytes(), self.queue.as_bytes(), &self.message] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        let mut random = [0; 10];
        random.copy_from_slice(&hash.finalize()[..10]);
        uuid::Builder::from_unix_timestamp_millis(self.sent_at.saturating_mul(1000).min(LAST_MILLISECOND), &random)
            .into_uuid()
    }

    /// Equal for what was found in the same queue and could not be read for the same reason.
    pub fn fingerprint(&self) -> String {
        digest([Kind::Wakeup.as_str(), &self.queue, &self.error])
    }
}

fn digest<'p>(parts: impl IntoIterator<Item = &'p str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..8])
}

/// Writes dead letters in the transaction that gave their rows up.
pub async fn insert(conn: &mut PgConnection, letters: &[Letter], now: Timestamp) -> Result<(), Error> {
    for letter in letters {
        sqlx::query(
            "insert into dead_letters (id, tenant_id, kind, source_id, label, reason, error_class, status, error,
                 fingerprint, died_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) on conflict (id) do nothing",
        )
        .bind(letter.id)
        .bind(letter.tenant.uuid())
        .bind(letter.kind.as_str())
        .bind(letter.source)
        .bind(&letter.label)
        .bind(&letter.reason)
        .bind(&letter.error_class)
        .bind(letter.status)
        .bind(&letter.error)
        .bind(letter.fingerprint())
        .bind(now)
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// Writes wake-ups that could not be read; one that is there already stays as it is.
pub async fn insert_unreadable(
    conn: &mut PgConnection,
    wakeups: &[UnreadableWakeup],
    now: Timestamp,
) -> Result<(), Error> {
    for wakeup in wakeups {
        sqlx::query(
            "insert into dead_letters (id, kind, label, reason, error, fingerprint, died_at, message)
             values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (id) do nothing",
        )
        .bind(wakeup.id())
        .bind(Kind::Wakeup.as_str())
        .bind(&wakeup.queue)
        .bind(UNREADABLE)
        .bind(format!("{} ({} bytes)", wakeup.error, wakeup.message.len()))
        .bind(wakeup.fingerprint())
        .bind(now)
        .bind(&wakeup.message[..wakeup.message.len().min(MESSAGE_KEPT)])
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}
