//! Claims on deliveries: work that leaves the process is held by a lease in its row, not by an unacked message.
//!
//! Every later write names the claim; if another has claimed the row meanwhile, nothing is written.

use std::net::SocketAddr;
use std::time::Duration;

use busbar_domain::Timestamp;
use busbar_domain::delivery::DeliveryState;
use busbar_domain::id::{DeliveryId, EventId, TenantId, WebhookId};
use busbar_domain::trace::TraceContext;
use bytes::Bytes;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::Error;

/// How long a claim holds unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(5);

/// A claim on one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// The delivery.
    pub delivery: DeliveryId,
    /// The number that every write must still find in the row.
    pub number: i32,
}

/// A claimed delivery with its event.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The claim.
    pub claim: Claim,
    /// Whose it is.
    pub tenant: TenantId,
    /// What is owed.
    pub event: EventId,
    /// To whom.
    pub webhook: WebhookId,
    /// The `webhook-id` header.
    pub message: Uuid,
    /// Whether it is a test ping: one attempt, whatever the webhook's status.
    pub test: bool,
    /// Attempts made so far.
    pub attempts: i32,
    /// Claims since the last finished one that nobody finished.
    pub crashes: i16,
    /// The event's type.
    pub kind: String,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The event's compact JSON.
    pub payload: Bytes,
    /// Where in which trace the event was made.
    pub trace: TraceContext,
    /// How often what led to the event has left the hub and come back.
    pub hops: u8,
    /// What is sent in place of the event's own body, after an edit.
    pub body: Option<Bytes>,
    /// Whether it stands in the order of a key, so that its end releases the next.
    pub ordered: bool,
    /// Whether it is a retry, was held, or is replayed: new deliveries go before it.
    pub late: bool,
}

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    id: Uuid,
    claim_no: i32,
    tenant_id: Uuid,
    event_id: Uuid,
    webhook_id: Uuid,
    message_id: Uuid,
    test: bool,
    attempts: i32,
    crashes: i16,
    #[sqlx(rename = "type")]
    kind: String,
    occurred_at: Timestamp,
    payload: Vec<u8>,
    trace: Vec<u8>,
    hops: i16,
    body: Option<Vec<u8>>,
    ordered: bool,
    rank: i16,
}

impl From<ClaimedRow> for Claimed {
    fn from(row: ClaimedRow) -> Self {
        Self {
            claim: Claim { delivery: row.id.into(), number: row.claim_no },
            tenant: row.tenant_id.into(),
            event: row.event_id.into(),
            webhook: row.webhook_id.into(),
            message: row.message_id,
            test: row.test,
            attempts: row.attempts,
            crashes: row.crashes,
            kind: row.kind,
            occurred_at: row.occurred_at,
            payload: row.payload.into(),
            trace: TraceContext::from_bytes(&row.trace).unwrap_or_else(TraceContext::root),
            hops: u8::try_from(row.hops).unwrap_or(u8::MAX),
            body: row.body.map(Bytes::from),
            ordered: row.ordered,
            late: row.rank > 0,
        }
    }
}

/// Claims those of `ids` (sorted) that are pending and not held by another. The rest is another's, or done.
pub async fn claim(conn: &mut PgConnection, ids: &[Uuid], now: Timestamp) -> Result<Vec<Claimed>, Error> {
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(Vec::new()) };
    let rows: Vec<ClaimedRow> = sqlx::query_as(CLAIM)
        .bind(first)
        .bind(last)
        .bind(ids)
        .bind("pending")
        .bind(now)
        .bind(now + LEASE)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(Claimed::from).collect())
}

// The state is a parameter, not a literal: a literal would let the planner use the partial due index, which is full
// of entries that were just finished.
const CLAIM: &str = "
update deliveries d
set lease_until = $6, claim_no = d.claim_no + 1, crashes = d.crashes + (d.lease_until is not null)::int::smallint
from events e
where d.id between $1 and $2 and d.id = any($3) and d.state = $4
    and (d.lease_until is null or d.lease_until < $5)
    and e.id = d.event_id
returning d.id, d.claim_no, d.tenant_id, d.event_id, d.webhook_id, d.message_id, d.test, d.attempts, d.crashes,
    e.type, e.occurred_at, e.payload, e.trace, e.hops, d.body, d.seq is not null as ordered, d.rank";

/// What one attempt did, as the log keeps it.
#[derive(Clone, Debug, Default)]
pub struct AttemptRecord {
    /// Counted from 1.
    pub number: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// The response's status, if there was a response.
    pub status: Option<u16>,
    /// The stable word for what went wrong.
    pub error_class: Option<&'static str>,
    /// What went wrong, in a sentence.
    pub error: Option<String>,
    /// The start of the response's body.
    pub response_body: Bytes,
    /// What was sent, as lines of `name: value`, with what is secret masked.
    pub request_headers: Bytes,
    /// What came back, as lines of `name: value`; the start of it.
    pub response_headers: Bytes,
    /// The address that was dialled.
    pub address: Option<SocketAddr>,
    /// How long it took to resolve the name.
    pub dns: Option<Duration>,
    /// How long it took to connect.
    pub connect: Option<Duration>,
    /// How long the TLS handshake took.
    pub tls: Option<Duration>,
    /// From the start to the first byte of the answer.
    pub first_byte: Option<Duration>,
}

/// What the end of a delivery concerns beside its own row.
#[derive(Clone, Debug)]
pub struct About {
    /// Whose it is.
    pub tenant: TenantId,
    /// To whom.
    pub webhook: WebhookId,
    /// What was owed.
    pub event: EventId,
    /// The event's type.
    pub kind: String,
    /// Whether a test ping ended so.
    pub test: bool,
    /// Attempts made, this one included.
    pub attempts: i32,
}

/// A claim that ends with a state, after an attempt or without one.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The claim.
    pub claim: Claim,
    /// The state that follows.
    pub state: DeliveryState,
    /// The attempt that led there.
    pub attempt: Option<AttemptRecord>,
    /// Set where more must be written than the row: it is dead, or another stands behind it in an order.
    pub about: Option<Box<About>>,
}

/// Writes how claims ended, with their attempts; answers the deliveries that were still ours.
pub async fn finish(conn: &mut PgConnection, finished: &[Finished], now: Timestamp) -> Result<Vec<Uuid>, Error> {
    let mut rows = FinishedColumns::default();
    for done in finished {
        rows.push(done, now);
    }
    let written = sqlx::query_scalar(FINISH)
        .bind(rows.id)
        .bind(rows.claim)
        .bind(rows.state)
        .bind(rows.due_at)
        .bind(rows.reason)
        .bind(rows.number)
        .bind(rows.started_at)
        .bind(rows.duration)
        .bind(rows.status)
        .bind(rows.error_class)
        .bind(rows.error)
        .bind(rows.body)
        .bind(now)
        .bind(rows.request_headers)
        .bind(rows.response_headers)
        .bind(rows.address)
        .bind(rows.dns)
        .bind(rows.connect)
        .bind(rows.tls)
        .bind(rows.first_byte)
        .fetch_all(conn);
    Ok(written.await?)
}

#[derive(Default)]
struct FinishedColumns<'f> {
    id: Vec<Uuid>,
    claim: Vec<i32>,
    state: Vec<&'static str>,
    due_at: Vec<Timestamp>,
    reason: Vec<Option<&'static str>>,
    number: Vec<Option<i32>>,
    started_at: Vec<Option<Timestamp>>,
    duration: Vec<Option<i64>>,
    status: Vec<Option<i16>>,
    error_class: Vec<Option<&'static str>>,
    error: Vec<Option<&'f str>>,
    body: Vec<Option<&'f [u8]>>,
    request_headers: Vec<Option<&'f [u8]>>,
    response_headers: Vec<Option<&'f [u8]>>,
    address: Vec<Option<String>>,
    dns: Vec<Option<i32>>,
    connect: Vec<Option<i32>>,
    tls: Vec<Option<i32>>,
    first_byte: Vec<Option<i32>>,
}

impl<'f> FinishedColumns<'f> {
    fn push(&mut self, done: &'f Finished, now: Timestamp) {
        self.id.push(done.claim.delivery.uuid());
        self.claim.push(done.claim.number);
        self.state.push(done.state.as_str());
        self.due_at.push(if let DeliveryState::Retrying { at } = done.state { at } else { now });
        self.reason.push(done.state.reason());
        let attempt = done.attempt.as_ref();
        self.number.push(attempt.map(|attempt| attempt.number));
        self.started_at.push(attempt.map(|attempt| attempt.started_at));
        self.duration.push(attempt.map(|attempt| i64::try_from(attempt.duration.as_micros()).unwrap_or(i64::MAX)));
        self.status.push(attempt.and_then(|attempt| attempt.status).and_then(|status| i16::try_from(status).ok()));
        self.error_class.push(attempt.and_then(|attempt| attempt.error_class));
        self.error.push(attempt.and_then(|attempt| attempt.error.as_deref()));
        let bytes =
            |of: fn(&AttemptRecord) -> &Bytes| attempt.map(|attempt| &of(attempt)[..]).filter(|text| !text.is_empty());
        self.body.push(bytes(|attempt| &attempt.response_body));
        self.request_headers.push(bytes(|attempt| &attempt.request_headers));
        self.response_headers.push(bytes(|attempt| &attempt.response_headers));
        self.address.push(attempt.and_then(|attempt| attempt.address).map(|address| address.to_string()));
        let micros = |of: fn(&AttemptRecord) -> Option<Duration>| {
            attempt.and_then(of).map(|took| i32::try_from(took.as_micros()).unwrap_or(i32::MAX))
        };
        self.dns.push(micros(|attempt| attempt.dns));
        self.connect.push(micros(|attempt| attempt.connect));
        self.tls.push(micros(|attempt| attempt.tls));
        self.first_byte.push(micros(|attempt| attempt.first_byte));
    }
}

const FINISH: &str = "
with done as (
    update deliveries d
    set state = r.state, due_at = r.due_at, reason = r.reason, lease_until = null, crashes = 0,
        rank = case when r.state = 'retrying' then greatest(d.rank, 1::int2) else d.rank end,
        attempts = coalesce(r.number, d.attempts),
        last_status = case when r.number is null then d.last_status else r.status end,
        last_error = case when r.number is null then d.last_error else r.error end,
        finished_at = case when r.state = 'retrying' then null else $13 end
    from unnest($1::uuid[], $2::int[], $3::text[], $4::timestamptz[], $5::text[], $6::int[], $7::timestamptz[],
            $8::int8[], $9::int2[], $10::text[], $11::text[], $12::bytea[], $14::bytea[], $15::bytea[], $16::text[],
            $17::int[], $18::int[], $19::int[], $20::int[])
        as r (id, claim_no, state, due_at, reason, number, started_at, duration_us, status, error_class, error, body,
            request_headers, response_headers, address, dns_us, connect_us, tls_us, first_byte_us)
    where d.id = r.id and d.claim_no = r.claim_no
    returning r.id, r.number, r.started_at, r.duration_us, r.status, r.error_class, r.error, r.body,
        r.request_headers, r.response_headers, r.address, r.dns_us, r.connect_us, r.tls_us, r.first_byte_us
), logged as (
    insert into attempts (delivery_id, number, started_at, duration_us, status, error_class, error, response_body,
        request_headers, response_headers, address, dns_us, connect_us, tls_us, first_byte_us)
    select * from done where number is not null
    -- The same results may be written again after an unknown outcome.
    on conflict (delivery_id, number) do nothing
)
select id from done";

/// Renews claims; answers the deliveries that are still ours.
pub async fn renew(conn: &mut PgConnection, claims: &[Claim], now: Timestamp) -> Result<Vec<Uuid>, Error> {
    let (ids, numbers) = columns(claims);
    let renewed = sqlx::query_scalar(
        "update deliveries d set lease_until = $3 from unnest($1::uuid[], $2::int[]) as r (id, claim_no)
         where d.id = r.id and d.claim_no = r.claim_no returning d.id",
    )
    .bind(ids)
    .bind(numbers)
    .bind(now + LEASE)
    .fetch_all(conn);
    Ok(renewed.await?)
}

/// Gives claims back unworked; the scheduler may wake each from its time on.
pub async fn park(conn: &mut PgConnection, parked: &[(Claim, Timestamp)]) -> Result<(), Error> {
    let claims: Vec<Claim> = parked.iter().map(|(claim, _)| *claim).collect();
    let (ids, numbers) = columns(&claims);
    let dues: Vec<Timestamp> = parked.iter().map(|(_, due_at)| *due_at).collect();
    sqlx::query(
        "update deliveries d set lease_until = null, due_at = r.due_at
         from unnest($1::uuid[], $2::int[], $3::timestamptz[]) as r (id, claim_no, due_at)
         where d.id = r.id and d.claim_no = r.claim_no",
    )
    .bind(ids)
    .bind(numbers)
    .bind(dues)
    .execute(conn)
    .await?;
    Ok(())
}

/// Holds claims whose webhook takes nothing at present, and cancels those whose webhook is gone.
///
/// The webhook's row decides, locked for as long as the write takes; a claim whose webhook is active after all is
/// given back, due at once.
pub async fn hold(conn: &mut PgConnection, claims: &[Claim], now: Timestamp) -> Result<(), Error> {
    let (ids, numbers) = columns(claims);
    sqlx::query(
        "with w as materialized (
             select id, status, deleted_at from webhooks
             where id in (select webhook_id from deliveries where id = any($1)) order by id for share
         )
         update deliveries d set lease_until = null, crashes = 0, due_at = $3,
             state = case when w.id is null or w.deleted_at is not null then 'cancelled'
                          when w.status = 'active' then d.state else 'held' end,
             reason = case when w.id is null or w.deleted_at is not null then 'webhook_deleted'
                           when w.status = 'active' then null else w.status end,
             finished_at = case when w.id is null or w.deleted_at is not null then $3 end
         from unnest($1::uuid[], $2::int[]) as r (id, claim_no)
             join deliveries self on self.id = r.id
             left join w on w.id = self.webhook_id
         where d.id = r.id and d.claim_no = r.claim_no",
    )
    .bind(ids)
    .bind(numbers)
    .bind(now)
    .execute(conn)
    .await?;
    Ok(())
}

fn columns(claims: &[Claim]) -> (Vec<Uuid>, Vec<i32>) {
    claims.iter().map(|claim| (claim.delivery.uuid(), claim.number)).unzip()
}
