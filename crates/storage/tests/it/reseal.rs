//! The change of the master key: whatever another key has sealed is sealed anew, once, and nothing else is touched.

use std::time::Duration;

use busbar_domain::custom_header::CustomHeader;
use busbar_domain::id::WebhookId;
use busbar_domain::secret::Secret;
use busbar_storage::access::{
    CONNECTOR_CONFIG, CONNECTOR_SECRET, WEBHOOK_HEADERS, WEBHOOK_SECRET, open_headers, seal_headers,
};
use busbar_storage::idempotency::{self, Answer, Known, Request};
use busbar_storage::reseal::{Batch, Column, Position, count, reseal};
use busbar_storage::seal::{self, Keyring};
use busbar_storage::{Error, PgConnection};
use chrono::TimeDelta;
use uuid::Uuid;

use crate::place::{Place, now};

/// The ring before the change, while it lasts, and after it.
struct Rings {
    old: Keyring,
    both: Keyring,
    new: Keyring,
}

impl Rings {
    fn make() -> Self {
        let (old, new) = (Keyring::generate(1), Keyring::generate(2));
        let parse = |text: &str| Keyring::parse(text).unwrap();
        Self { old: parse(&old), both: parse(&format!("{new},{old}")), new: parse(&new) }
    }
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}

const fn at(column: &'static str, row: Uuid) -> seal::Place {
    seal::Place { column, row }
}

async fn put(place: &Place, row: Uuid, statement: &'static str, sealed: &[u8]) {
    sqlx::query(statement).bind(row).bind(sealed).execute(&mut *place.connection().await).await.unwrap();
}

async fn get(place: &Place, row: Uuid, statement: &'static str) -> Vec<u8> {
    sqlx::query_scalar(statement).bind(row).fetch_one(&mut *place.connection().await).await.unwrap()
}

/// A webhook whose three sealed columns are sealed by `ring`.
async fn webhook(place: &Place, ring: &Keyring) -> WebhookId {
    let id = place.webhook("a").await;
    let (row, header) = (id.uuid(), CustomHeader::parse("x-key", "of the receiver").unwrap());
    let place_of = at(WEBHOOK_SECRET, row);
    put(place, row, "update webhooks set secret = $2 where id = $1", &ring.seal(place_of, &secret("now")).unwrap())
        .await;
    let before = ring.seal(place_of, &secret("before")).unwrap();
    put(place, row, "update webhooks set old_secret = $2, old_secret_until = now() where id = $1", &before).await;
    let headers = seal_headers(ring, id, &[header]).unwrap().unwrap();
    put(place, row, "update webhooks set headers = $2 where id = $1", &headers).await;
    id
}

/// A connector whose two sealed columns are sealed by `ring`.
async fn connector(place: &Place, ring: &Keyring) -> Uuid {
    let row = Uuid::now_v7();
    let seal = |text: &str| ring.seal(at(CONNECTOR_SECRET, row), &secret(text)).unwrap();
    sqlx::query(
        "insert into connectors (id, tenant_id, system, name, config, secret, old_secret, config_secrets, secret_code,
             created_at, updated_at)
         values ($1, $2, 'ptw', 'c', '{}', $3, $4, $5, $6, now(), now())",
    )
    .bind(row)
    .bind(place.tenant.uuid())
    .bind(seal("now"))
    .bind(seal("before"))
    .bind(ring.seal_bytes(at(CONNECTOR_CONFIG, row), b"{}").unwrap())
    .bind(ring.code(row.as_bytes()).unwrap())
    .execute(&mut *place.connection().await)
    .await
    .unwrap();
    row
}

fn request<'r>(place: &Place, key: &'r str) -> Request<'r> {
    Request { tenant: place.tenant.uuid(), route: "POST /x", key, digest: [7; 32] }
}

fn answer() -> Answer {
    Answer { status: 201, content_type: "application/json".to_owned(), body: b"{\"secret\":\"s\"}".to_vec() }
}

/// An answer that is kept under a key that `ring` has sealed.
async fn keep(place: &Place, ring: &Keyring, key: &str) {
    let (mut conn, owner, until) = (place.connection().await, Uuid::now_v7(), now() + TimeDelta::hours(1));
    let request = request(place, key);
    assert_eq!(idempotency::begin(&mut conn, ring, request, owner, now(), until).await.unwrap(), Known::First);
    idempotency::finish(&mut conn, ring, request, owner, &answer(), until).await.unwrap();
}

/// Seals a column anew to its end, so many rows at a time.
async fn through(conn: &mut PgConnection, ring: &Keyring, column: Column, limit: i64) -> Result<Batch, Error> {
    let (mut sum, mut position) = (Batch::default(), Some(Position::default()));
    while let Some(after) = position {
        let batch = reseal(conn, ring, column, &after, limit).await?;
        sum.resealed += batch.resealed;
        sum.changed += batch.changed;
        sum.unreadable.extend(batch.unreadable);
        position = batch.next;
    }
    Ok(sum)
}

#[tokio::test]
async fn everything_is_sealed_anew_and_opens_by_the_new_key_alone() {
    let (place, rings) = (Place::make().await, Rings::make());
    let mut webhooks = Vec::new();
    for _ in 0..5 {
        webhooks.push(webhook(&place, &rings.old).await);
    }
    let connectors = [connector(&place, &rings.old).await];
    for key in ["a", "b", "c"] {
        keep(&place, &rings.old, key).await;
    }
    webhook(&place, &rings.new).await;

    let mut conn = place.connection().await;
    let mut resealed = Vec::new();
    for column in Column::ALL {
        resealed.push(through(&mut conn, &rings.both, column, 2).await.unwrap().resealed);
        let counted = count(&mut conn, column).await.unwrap();
        assert_eq!(counted.keys().copied().collect::<Vec<_>>(), [Some(2)], "{}", column.as_str());
    }
    assert_eq!(resealed, [5, 5, 5, 1, 1, 1, 3]);
    for id in webhooks {
        let row = id.uuid();
        for (text, statement) in [
            ("now", "select secret from webhooks where id = $1"),
            ("before", "select old_secret from webhooks where id = $1"),
        ] {
            let sealed = get(&place, row, statement).await;
            assert_eq!(rings.new.open(at(WEBHOOK_SECRET, row), &sealed).unwrap().expose(), text);
        }
        let headers = get(&place, row, "select headers from webhooks where id = $1").await;
        assert_eq!(open_headers(&rings.new, row, &headers).unwrap()[0].expose(), "of the receiver");
    }
    for row in connectors {
        let sealed = get(&place, row, "select secret from connectors where id = $1").await;
        assert_eq!(rings.new.open(at(CONNECTOR_SECRET, row), &sealed).unwrap().expose(), "now");
        let code = get(&place, row, "select secret_code from connectors where id = $1").await;
        assert_eq!(code, rings.new.code(b"now").unwrap(), "it is found by the new key's code");
    }
    for key in ["a", "b", "c"] {
        let again = request(&place, key);
        let known = idempotency::begin(&mut conn, &rings.new, again, Uuid::nil(), now(), now()).await.unwrap();
        assert_eq!(known, Known::Answered(answer()));
    }
    for column in Column::ALL {
        assert_eq!(through(&mut conn, &rings.both, column, 2).await.unwrap(), Batch::default(), "once is enough");
    }
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn a_change_that_was_ended_in_the_middle_goes_on_where_it_was() {
    let (place, rings) = (Place::make().await, Rings::make());
    let mut last = webhook(&place, &rings.old).await;
    for _ in 0..6 {
        last = webhook(&place, &rings.old).await;
    }
    place
        .run(&format!(
            "create function fail() returns trigger language plpgsql as $$ begin
                 if new.id = '{last}' then raise exception 'the power is gone'; end if;
                 return new;
             end $$"
        ))
        .await;
    place.run("create trigger fail before update on webhooks for each row execute function fail()").await;
    let mut conn = place.connection().await;
    assert!(through(&mut conn, &rings.both, Column::WebhookSecret, 3).await.is_err());
    let counted = count(&mut conn, Column::WebhookSecret).await.unwrap();
    assert_eq!((counted[&Some(2)], counted[&Some(1)]), (6, 1), "whole batches are done, and the failed one is not");

    place.run("drop trigger fail on webhooks").await;
    assert_eq!(through(&mut conn, &rings.both, Column::WebhookSecret, 3).await.unwrap().resealed, 1);
    assert_eq!(count(&mut conn, Column::WebhookSecret).await.unwrap(), [(Some(2), 7)].into());
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn a_secret_that_is_changed_meanwhile_wins() {
    let (place, rings) = (Place::make().await, Rings::make());
    let row = webhook(&place, &rings.old).await.uuid();
    let newest = rings.old.seal(at(WEBHOOK_SECRET, row), &secret("newest")).unwrap();
    let mut rotating = place.database.begin().await.unwrap();
    sqlx::query("update webhooks set secret = $2 where id = $1")
        .bind(row)
        .bind(&newest)
        .execute(&mut *rotating)
        .await
        .unwrap();

    let mut conn = place.connection().await;
    let beginning = Position::default();
    let resealing = reseal(&mut conn, &rings.both, Column::WebhookSecret, &beginning, 10);
    let committing = async {
        // What is sealed anew has been read by now, and waits for the row.
        while place.ask("select count(*) from pg_locks where not granted").await == "0" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rotating.commit().await.unwrap();
    };
    let (batch, ()) = tokio::join!(resealing, committing);
    assert_eq!((batch.as_ref().unwrap().resealed, batch.unwrap().changed), (0, 1));
    assert_eq!(get(&place, row, "select secret from webhooks where id = $1").await, newest);
    assert_eq!(through(&mut conn, &rings.both, Column::WebhookSecret, 10).await.unwrap().resealed, 1);
    let sealed = get(&place, row, "select secret from webhooks where id = $1").await;
    assert_eq!(rings.new.open(at(WEBHOOK_SECRET, row), &sealed).unwrap().expose(), "newest");
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn a_row_that_does_not_open_is_named_and_holds_up_nobody() {
    let (place, rings) = (Place::make().await, Rings::make());
    let unknown = Keyring::parse(&Keyring::generate(9)).unwrap();
    let sealed = async |row: Uuid| get(&place, row, "select secret from webhooks where id = $1").await;
    let mut rows = Vec::new();
    for _ in 0..8 {
        rows.push(webhook(&place, &rings.old).await.uuid());
    }
    let mut flipped = sealed(rows[2]).await;
    flipped[20] ^= 1;
    let headers = get(&place, rows[4], "select headers from webhooks where id = $1").await;
    let damages = [
        (rows[0], sealed(rows[1]).await, seal::Error::Broken),
        (rows[2], flipped, seal::Error::Broken),
        (rows[3], sealed(rows[3]).await[..10].to_vec(), seal::Error::Broken),
        (rows[4], headers, seal::Error::Broken),
        (rows[5], unknown.seal(at(WEBHOOK_SECRET, rows[5]), &secret("x")).unwrap(), seal::Error::UnknownKey(9)),
        (rows[6], Vec::new(), seal::Error::Broken),
    ];
    for (row, damaged, _) in &damages {
        put(&place, *row, "update webhooks set secret = $2 where id = $1", damaged).await;
    }
    let mut conn = place.connection().await;
    let sum = through(&mut conn, &rings.both, Column::WebhookSecret, 2).await.unwrap();
    let expected: Vec<_> = damages.iter().map(|(row, _, error)| (*row, error.clone())).collect();
    assert_eq!((sum.resealed, sum.unreadable), (2, expected));
    let counted = count(&mut conn, Column::WebhookSecret).await.unwrap();
    assert_eq!(counted, [(None, 1), (Some(1), 4), (Some(2), 2), (Some(9), 1)].into());
    for (row, damaged, _) in damages {
        assert_eq!(sealed(row).await, damaged, "what does not open is left as it is");
    }
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_sealed_anew() {
    let place = Place::make().await;
    let empty = Keyring::empty();
    let mut conn = place.connection().await;
    let refused = reseal(&mut conn, &empty, Column::WebhookSecret, &Position::default(), 10).await;
    assert!(matches!(refused, Err(Error::Seal(seal::Error::NoKey))));
    drop(conn);
    place.end().await;
}

#[test]
fn headers_and_secrets_of_one_row_are_not_taken_for_each_other() {
    let (ring, row) = (Keyring::parse(&Keyring::generate(1)).unwrap(), Uuid::now_v7());
    let sealed = ring.seal_bytes(at(WEBHOOK_HEADERS, row), b"[]").unwrap();
    assert_eq!(ring.open_bytes(at(WEBHOOK_SECRET, row), &sealed), Err(seal::Error::Broken));
    assert_eq!(ring.open_bytes(at(CONNECTOR_SECRET, row), &sealed), Err(seal::Error::Broken));
    assert!(ring.open_bytes(at(WEBHOOK_HEADERS, row), &sealed).is_ok());
}
