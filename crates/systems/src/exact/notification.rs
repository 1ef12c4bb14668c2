//! What Exact Online itself tells about a change: thin, so the record is fetched by its key.
//!
//! An empty call is the one by which Exact checks a new subscription; it bears no code and is answered 200.

use std::fmt;

use busbar_domain::json;
use busbar_domain::secret::Key;
use chrono::NaiveDateTime;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::auth::{self, InvalidNotification};
use crate::members::{Members, text};
use crate::refusal::{Fault, FieldRefusal, INVALID_TYPE, INVALID_VALUE, REQUIRED, Refusals, Unreadable, fault};

/// What has been done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new.
    Create,
    /// It is another one now.
    Update,
    /// It is gone.
    Delete,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 3] = [Self::Create, Self::Update, Self::Delete];

    /// The change's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Update => "Update",
            Self::Delete => "Delete",
        }
    }

    /// Reads a change's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == name)
    }
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The kind of record, such as `Items`.
    pub topic: String,
    /// The app whose subscription it is.
    pub client_id: Uuid,
    /// The administration.
    pub division: u32,
    /// What has been done.
    pub change: Change,
    /// The record.
    pub key: Uuid,
    /// Where Exact says that the record is. Only the key is followed, on the connector's own base URL.
    pub endpoint: String,
    /// When it was done, to the digits that were sent, in a zone that Exact does not tell.
    pub created_on: NaiveDateTime,
}

/// Why a notification is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotificationRefusal {
    /// Nobody vouches for it.
    #[error(transparent)]
    Unsigned(#[from] InvalidNotification),
    /// Exact vouches for it, but these fields are wrong.
    #[error("{} of the notification's fields are wrong", .0.len())]
    Fields(Vec<FieldRefusal>),
}

/// Whether a call is the one by which Exact checks a new subscription.
pub const fn is_validation(body: &[u8]) -> bool {
    body.is_empty()
}

impl Notification {
    /// Reads a body whose code `key` has made; `key` is the one of the webhook secret.
    pub fn parse(key: &Key, body: &[u8]) -> Result<Self, NotificationRefusal> {
        Self::read(auth::signed_content(key, body)?).map_err(NotificationRefusal::Fields)
    }

    fn read(content: &RawValue) -> Result<Self, Vec<FieldRefusal>> {
        let unreadable = |unreadable: Unreadable| vec![FieldRefusal::from(unreadable)];
        let compact = json::compact(content.get().as_bytes()).map_err(|invalid| unreadable(invalid.into()))?;
        let mut members = Members::read(&compact).map_err(unreadable)?;
        let mut wrong = Refusals::default();
        let topic = wrong.check("Topic", members.required("Topic").and_then(name));
        let client_id = wrong.check("ClientId", members.required("ClientId").and_then(id));
        let division = wrong.check("Division", members.required("Division").and_then(division));
        let change = wrong.check("Action", members.required("Action").and_then(change));
        let key = wrong.check("Key", members.required("Key").and_then(id));
        let endpoint = wrong.check("ExactOnlineEndpoint", members.required("ExactOnlineEndpoint").and_then(name));
        let created_on = wrong.check("EventCreatedOn", members.required("EventCreatedOn").and_then(moment));
        match (topic, client_id, division, change, key, endpoint, created_on) {
            (
                Some(topic),
                Some(client_id),
                Some(division),
                Some(change),
                Some(key),
                Some(endpoint),
                Some(created_on),
            ) => Ok(Self { topic, client_id, division, change, key, endpoint, created_on }),
            _ => Err(wrong.into_vec()),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn name(value: &RawValue) -> Result<String, Fault> {
    let text = text(value)?;
    if text.trim().is_empty() {
        return Err(fault(REQUIRED, "This field is required."));
    }
    let valid = text.len() <= 2048 && !text.contains('\0');
    valid.then(|| text.into_owned()).ok_or(fault(INVALID_VALUE, "This field may have at most 2048 bytes and no NUL."))
}

fn id(value: &RawValue) -> Result<Uuid, Fault> {
    Uuid::try_parse(&text(value)?).map_err(|_| fault(INVALID_VALUE, "This field must be a UUID."))
}

fn division(value: &RawValue) -> Result<u32, Fault> {
    value.get().parse().map_err(|_| fault(INVALID_TYPE, "This field must be the number of a division."))
}

fn change(value: &RawValue) -> Result<Change, Fault> {
    Change::parse(&text(value)?).ok_or(fault(INVALID_VALUE, "This field must be Create, Update or Delete."))
}

/// A time with two or three digits of a second's fraction, and none where Exact leaves off zeroes.
fn moment(value: &RawValue) -> Result<NaiveDateTime, Fault> {
    NaiveDateTime::parse_from_str(&text(value)?, "%Y-%m-%dT%H:%M:%S%.f")
        .map_err(|_| fault(INVALID_VALUE, "This field must be a time without a zone such as 2018-08-10T13:14:50.07."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDate;
    use proptest::prelude::*;

    const SECRET: &[u8] = b"testsecret";
    const ITEMS_UPDATE: &str = include_str!("fixtures/items_update.json");

    fn signed(content: &str) -> String {
        let code = hex::encode_upper(Key::new(SECRET).sign(&[content.as_bytes()]));
        format!("{{\"Content\":{content},\"HashCode\":\"{code}\"}}")
    }

    fn parse(body: &str) -> Result<Notification, NotificationRefusal> {
        Notification::parse(&Key::new(SECRET), body.as_bytes())
    }

    fn content() -> &'static str {
        auth::signed_content(&Key::new(SECRET), ITEMS_UPDATE.as_bytes()).unwrap().get()
    }

    #[test]
    fn the_notification_of_2018_is_read() {
        let notification = parse(ITEMS_UPDATE).unwrap();
        let day = NaiveDate::from_ymd_opt(2018, 8, 10).unwrap();
        assert_eq!((notification.topic.as_str(), notification.division), ("Items", 2_256_995));
        assert_eq!(notification.change, Change::Update);
        assert_eq!(notification.client_id.to_string(), "78c73eec-2882-459d-b3f4-83a21a49591a");
        assert_eq!(notification.key.to_string(), "dbc9f824-02bc-4eac-84b7-ff29a25fc828");
        assert!(notification.endpoint.ends_with("Items(guid'dbc9f824-02bc-4eac-84b7-ff29a25fc828')"));
        assert_eq!(notification.created_on, day.and_hms_milli_opt(13, 14, 50, 70).unwrap());
    }

    #[test]
    fn times_have_as_many_digits_as_exact_sends() {
        for (sent, millis) in [("50.07", 70), ("50.123", 123), ("50.5", 500), ("50", 0)] {
            let body = signed(&content().replace("50.07", sent));
            assert_eq!(parse(&body).unwrap().created_on.and_utc().timestamp_subsec_millis(), millis, "{sent}");
        }
    }

    #[test]
    fn what_exact_vouches_for_may_still_be_wrong() {
        let wrong = content()
            .replace("Items\",", "\",")
            .replace("78c73eec", "78c73")
            .replace(":2256995,", ":\"2256995\",")
            .replace("Update", "Upsert")
            .replace("50.07", "50.07Z");
        let Err(NotificationRefusal::Fields(fields)) = parse(&signed(&wrong)) else { panic!("it is refused") };
        let pointers: Vec<_> = fields.iter().map(|field| field.pointer.as_str()).collect();
        assert_eq!(pointers, ["/Topic", "/ClientId", "/Division", "/Action", "/EventCreatedOn"]);
        let Err(NotificationRefusal::Fields(fields)) = parse(&signed("[]")) else { panic!("it is refused") };
        assert_eq!(fields[0].code, "NOT_AN_OBJECT");
    }

    #[test]
    fn an_empty_call_is_the_check_of_a_subscription() {
        assert!(is_validation(b"") && !is_validation(b"{}"));
        assert_eq!(parse(""), Err(NotificationRefusal::Unsigned(InvalidNotification::Unreadable)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            prop_assert!(Notification::parse(&Key::new(SECRET), &bytes).is_err());
            prop_assert!(parse(&signed(&serde_json::Value::from(text).to_string())).is_err());
        }
    }
}
