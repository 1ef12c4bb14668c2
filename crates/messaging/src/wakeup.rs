//! The wake-up on the wire: ids of one kind, compiled from `proto-schemas/busbar/v1/wakeup.proto`.
//! Readers ignore unknown fields; an unknown version or kind is [`Unreadable`], never guessed.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

#[allow(clippy::pedantic, unreachable_pub, reason = "generated code")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/busbar.v1.rs"));
}

/// The most ids of one wake-up.
pub const MAX_IDS: usize = 64;

const VERSION: u32 = 1;
const ID_LEN: usize = 16;

/// Why rows want attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Deliveries owe an attempt.
    DeliveryDue,
    /// Inbound calls wait to be processed.
    InboundReceived,
    /// Events still spread to their webhooks.
    EventSpreading,
}

impl Kind {
    /// The AMQP property `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeliveryDue => "delivery.due",
            Self::InboundReceived => "inbound.received",
            Self::EventSpreading => "event.spreading",
        }
    }

    const fn to_wire(self) -> wire::Kind {
        match self {
            Self::DeliveryDue => wire::Kind::DeliveryDue,
            Self::InboundReceived => wire::Kind::InboundReceived,
            Self::EventSpreading => wire::Kind::EventSpreading,
        }
    }
}

/// Why a message is no wake-up that we know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("not a wake-up")]
    Malformed,
    #[error("version {0} is unknown")]
    Version(u32),
    #[error("kind {0} is unknown on this queue")]
    Kind(i32),
    #[error("{0} bytes are not a list of ids")]
    Length(usize),
}

/// Writes a wake-up for `ids`, of which there are 1 to [`MAX_IDS`].
pub(crate) fn encode(kind: Kind, ids: &[Uuid]) -> Bytes {
    let mut bytes = Vec::with_capacity(ids.len() * ID_LEN);
    for id in ids {
        bytes.extend_from_slice(id.as_bytes());
    }
    let message = wire::WakeUp { version: VERSION, kind: kind.to_wire().into(), ids: bytes.into() };
    message.encode_to_vec().into()
}

/// Reads a wake-up of `kind` and appends its ids to `ids`, which stays as it was when the message is unreadable.
pub(crate) fn decode_into(kind: Kind, message: &[u8], ids: &mut Vec<Uuid>) -> Result<usize, Unreadable> {
    let message = wire::WakeUp::decode(message).map_err(|_| Unreadable::Malformed)?;
    if message.version != VERSION {
        return Err(Unreadable::Version(message.version));
    }
    if message.kind != i32::from(kind.to_wire()) {
        return Err(Unreadable::Kind(message.kind));
    }
    let (chunks, rest) = message.ids.as_chunks::<ID_LEN>();
    if chunks.is_empty() || !rest.is_empty() {
        return Err(Unreadable::Length(message.ids.len()));
    }
    ids.extend(chunks.iter().copied().map(Uuid::from_bytes));
    Ok(chunks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::DeliveryDue, Kind::InboundReceived, Kind::EventSpreading];

    fn id(last: u8) -> Uuid {
        let mut bytes = [0xab; 16];
        bytes[15] = last;
        Uuid::from_bytes(bytes)
    }

    fn decode(kind: Kind, message: &[u8]) -> Result<Vec<Uuid>, Unreadable> {
        let mut ids = Vec::new();
        decode_into(kind, message, &mut ids).map(|_| ids)
    }

    /// `kind` and one id, written by hand from the schema.
    fn golden(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0x08, 0x01, 0x10, kind, 0x1a, 0x10];
        bytes.extend_from_slice(id(7).as_bytes());
        bytes
    }

    #[test]
    fn every_kind_has_its_golden_bytes() {
        for (kind, number) in [(Kind::DeliveryDue, 1), (Kind::InboundReceived, 2), (Kind::EventSpreading, 3)] {
            assert_eq!(encode(kind, &[id(7)]), golden(number), "{kind:?}");
            assert_eq!(decode(kind, &golden(number)), Ok(vec![id(7)]), "{kind:?}");
        }
    }

    #[test]
    fn a_full_wake_up_survives_the_wire() {
        let ids: Vec<_> = (0..64).map(id).collect();
        for kind in KINDS {
            assert_eq!(decode(kind, &encode(kind, &ids)).as_ref(), Ok(&ids));
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut bytes = golden(1);
        bytes.extend_from_slice(&[0x22, 0x03, b'n', b'e', b'w', 0x28, 0x2a]);
        assert_eq!(decode(Kind::DeliveryDue, &bytes), Ok(vec![id(7)]));
    }

    #[test]
    fn what_is_not_understood_is_unreadable() {
        let with = |version, kind, len| wire::WakeUp { version, kind, ids: vec![0; len].into() }.encode_to_vec();
        let cases = [
            (with(2, 1, 16), Unreadable::Version(2)),
            (with(0, 1, 16), Unreadable::Version(0)),
            (with(1, 0, 16), Unreadable::Kind(0)),
            (with(1, 2, 16), Unreadable::Kind(2)),
            (with(1, 99, 16), Unreadable::Kind(99)),
            (with(1, 1, 0), Unreadable::Length(0)),
            (with(1, 1, 17), Unreadable::Length(17)),
            (vec![0x08, 0xff], Unreadable::Malformed),
            (b"{\"ids\":[]}".to_vec(), Unreadable::Malformed),
        ];
        for (bytes, reason) in cases {
            assert_eq!(decode(Kind::DeliveryDue, &bytes), Err(reason));
        }
    }
}
