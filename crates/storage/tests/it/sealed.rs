//! Sealed texts where they do not belong: each is a typed error, and costs its own webhook or connector alone.

use busbar_domain::custom_header::CustomHeader;
use busbar_domain::id::{ConnectorId, TenantId, WebhookId};
use busbar_domain::secret::Secret;
use busbar_storage::Error;
use busbar_storage::access::{CONNECTOR_SECRET, Connectors, Endpoints, WEBHOOK_HEADERS, WEBHOOK_SECRET, seal_headers};
use busbar_storage::seal::{self, Keyring};
use busbar_storage::snapshot::Changes;
use busbar_storage::tenants::{self, Plan, Tenant};
use uuid::Uuid;

use crate::place::{Place, now};

fn seal_for(ring: &Keyring, column: &'static str, row: Uuid) -> Vec<u8> {
    ring.seal(seal::Place { column, row }, &Secret::parse("a secret").unwrap()).unwrap()
}

async fn put(place: &Place, row: Uuid, statement: &'static str, sealed: &[u8]) {
    sqlx::query(statement).bind(row).bind(sealed).execute(&mut *place.connection().await).await.unwrap();
}

/// A webhook whose secret opens.
async fn sound(place: &Place) -> WebhookId {
    let id = place.webhook("a").await;
    let sealed = seal_for(place.database.keyring(), WEBHOOK_SECRET, id.uuid());
    put(place, id.uuid(), "update webhooks set secret = $2 where id = $1", &sealed).await;
    id
}

/// Which of the webhooks cannot be read.
async fn unreadable(place: &Place, webhooks: &[WebhookId]) -> Vec<WebhookId> {
    let known = Endpoints::new(place.database.clone(), Changes::default()).of(webhooks.iter().copied()).await.unwrap();
    assert_eq!(known.endpoints.len() + known.unreadable.len(), webhooks.len());
    webhooks.iter().copied().filter(|id| known.unreadable.contains(id)).collect()
}

#[tokio::test]
async fn a_sealed_text_in_another_place_costs_its_webhook_alone() {
    let place = Place::make().await;
    let ring = place.database.keyring().clone();
    let other = Tenant { id: TenantId::new(now()), name: "b".into(), plan: Plan::Free, created_at: now() };
    tenants::insert(&mut *place.connection().await, &other).await.unwrap();
    let (neighbour, foreign) = (sound(&place).await, sound(&place).await);
    place.run(&format!("update webhooks set tenant_id = '{}' where id = '{foreign}'", other.id)).await;
    let header = CustomHeader::parse("x-key", "v").unwrap();
    let unknown = Keyring::parse(&Keyring::generate(9)).unwrap();
    let secret = "update webhooks set secret = $2 where id = $1";
    let old_secret = "update webhooks set old_secret = $2, old_secret_until = now() where id = $1";
    let headers = "update webhooks set headers = $2 where id = $1";
    let mut damages = Vec::new();
    for _ in 0..9 {
        damages.push(sound(&place).await);
    }
    let row = |at: usize| damages[at].uuid();
    for (at, statement, sealed) in [
        (0, secret, seal_for(&ring, WEBHOOK_SECRET, neighbour.uuid())),
        (1, secret, seal_for(&ring, WEBHOOK_SECRET, foreign.uuid())),
        (2, secret, seal_for(&ring, CONNECTOR_SECRET, row(2))),
        (3, secret, seal_for(&ring, WEBHOOK_HEADERS, row(3))),
        (4, headers, seal_for(&ring, WEBHOOK_SECRET, row(4))),
        (5, headers, seal_headers(&ring, neighbour, &[header]).unwrap().unwrap()),
        (6, old_secret, seal_for(&ring, WEBHOOK_SECRET, neighbour.uuid())),
        (7, secret, seal_for(&unknown, WEBHOOK_SECRET, row(7))),
        (8, secret, Vec::new()),
    ] {
        put(&place, row(at), statement, &sealed).await;
    }
    let all = [&[neighbour, foreign], &damages[..]].concat();
    assert_eq!(unreadable(&place, &all).await, damages);
    place.end().await;
}

#[tokio::test]
async fn no_byte_of_a_sealed_text_can_be_changed_or_left_out() {
    let place = Place::make().await;
    let (id, statement) = (sound(&place).await, "update webhooks set secret = $2 where id = $1");
    let sealed = seal_for(place.database.keyring(), WEBHOOK_SECRET, id.uuid());
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 0x10;
        for damaged in [&flipped[..], &sealed[..at]] {
            put(&place, id.uuid(), statement, damaged).await;
            assert_eq!(unreadable(&place, &[id]).await, [id], "byte {at} of {}", damaged.len());
        }
    }
    put(&place, id.uuid(), statement, &sealed).await;
    assert_eq!(unreadable(&place, &[id]).await, []);
    place.end().await;
}

#[tokio::test]
async fn a_connector_whose_secret_does_not_open_is_a_typed_error() {
    let place = Place::make().await;
    let ring = place.database.keyring().clone();
    let (id, neighbour) = (ConnectorId::new(now()), Uuid::now_v7());
    sqlx::query(
        "insert into connectors (id, tenant_id, system, name, config, secret, created_at, updated_at)
         values ($1, $2, 'ptw', 'c', '{}', $3, now(), now())",
    )
    .bind(id.uuid())
    .bind(place.tenant.uuid())
    .bind(seal_for(&ring, CONNECTOR_SECRET, id.uuid()))
    .execute(&mut *place.connection().await)
    .await
    .unwrap();
    let find = async || Connectors::new(place.database.clone(), Changes::default()).find(id).await;
    assert!(find().await.unwrap().is_some());
    let unknown = Keyring::parse(&Keyring::generate(9)).unwrap();
    for (sealed, expected) in [
        (seal_for(&ring, CONNECTOR_SECRET, neighbour), seal::Error::Broken),
        (seal_for(&ring, WEBHOOK_SECRET, id.uuid()), seal::Error::Broken),
        (seal_for(&unknown, CONNECTOR_SECRET, id.uuid()), seal::Error::UnknownKey(9)),
    ] {
        put(&place, id.uuid(), "update connectors set secret = $2 where id = $1", &sealed).await;
        assert!(matches!(find().await, Err(Error::Seal(error)) if error == expected), "{expected}");
    }
    place.end().await;
}
