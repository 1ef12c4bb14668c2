-- Outgoing webhooks in full: what a webhook may ask for, circuits, budgets, ordering, the log, replays, dead letters.

alter table webhooks
    -- A JSON object of custom headers, sealed like the secret; their names, for showing.
    add column headers bytea,
    add column header_names text[] not null default '{}',
    -- A CEL expression over the event.
    add column filter text,
    -- Deliveries per second, over all processes.
    add column rate_limit integer check (rate_limit > 0);

-- A row is an open circuit: the hub calls this webhook only to probe it.
create table circuits (
    webhook_id uuid primary key references webhooks (id),
    tenant_id uuid not null,
    -- The first of the failures that have opened it.
    failing_since timestamptz not null,
    opened_at timestamptz not null,
    -- When the next probe may be taken, by one process; each that fails doubles the pause.
    probe_at timestamptz not null,
    probes integer not null default 0,
    last_error text
);
create index circuits_failing on circuits (failing_since);

-- A pace that processes share: up to when it has been used.
create table budgets (
    key uuid primary key,
    used_until timestamptz not null
);

-- One row for each ordering key of a webhook. Accepting and finishing lock it, so the order of "seq" is the order of
-- commits. "open" counts deliveries that have not ended; while there are several, all but the first are held.
create table order_lanes (
    webhook_id uuid not null,
    key text not null,
    next_seq bigint not null,
    open integer not null check (open >= 0),
    touched_at timestamptz not null,
    primary key (webhook_id, key)
);
create index order_lanes_open on order_lanes (touched_at) where open > 0;
create index order_lanes_idle on order_lanes (touched_at) where open = 0;

alter table events
    -- How often what led to this event has left the hub and come back.
    add column hops smallint not null default 0;
create index events_subject on events (tenant_id, subject, id) where subject is not null;
create index events_trace on events (substring(trace from 1 for 16));
create index events_of_call on events (inbound_id) where inbound_id is not null;

alter table inbound
    -- The call that this one repeats.
    add column replay_of uuid;
create index inbound_repeating on inbound (replay_of) where replay_of is not null;

alter table deliveries
    -- 0 live, 1 tried before or held, 2 replayed by a job: the lower goes first.
    add column rank smallint not null default 0,
    add column ordering_key text,
    add column seq bigint,
    -- The job that made it.
    add column replay_id uuid,
    -- What is sent in place of the event's own body, after an edit.
    add column body bytea;
drop index deliveries_due;
create index deliveries_due on deliveries (tenant_id, rank, due_at) where state in ('pending', 'retrying');
-- What is held until its webhook is active again, webhook by webhook, oldest first. What waits for its predecessor in an
-- order is not among it: there may be much of it, and nothing but its predecessor releases it.
drop index deliveries_held;
create index deliveries_held on deliveries (webhook_id, id) where state = 'held' and reason <> 'order';
-- The log of a tenant, newest first: everything, and what is not as it should be.
create index deliveries_of_tenant on deliveries (tenant_id, id);
create index deliveries_in_trouble on deliveries (tenant_id, state, id)
    where state in ('retrying', 'held', 'dead', 'cancelled');
create index deliveries_repeating on deliveries (message_id) where replay_of is not null;
create index deliveries_of_job on deliveries (replay_id) where replay_id is not null and state = 'pending';
create index deliveries_ordered on deliveries (webhook_id, ordering_key, seq)
    where seq is not null and state in ('pending', 'retrying', 'held');

alter table attempts
    -- Lines of "name: value"; what a customer's header holds is masked.
    add column request_headers bytea,
    add column response_headers bytea,
    -- The address that was dialled.
    add column address text,
    -- How long each phase took; null where it did not happen. The first byte counts from the beginning.
    add column dns_us integer,
    add column connect_us integer,
    add column tls_us integer,
    add column first_byte_us integer;

-- A job that owes deliveries once more.
create table replays (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    state text not null check (state in ('running', 'paused', 'done', 'cancelled')),
    dry_run boolean not null,
    rate_per_second integer not null check (rate_per_second > 0),
    -- Which deliveries: each is null where it does not matter.
    status text,
    webhook_id uuid,
    event_type text,
    -- From this id on, and below that one: a span of time.
    from_id uuid not null,
    before_id uuid not null,
    -- How many there were when the job was made; null if they could not be counted in time.
    total bigint,
    made bigint not null default 0,
    skipped bigint not null default 0,
    -- The last delivery that has been dealt with; they go in order of ids.
    position uuid not null,
    -- Up to when its rate has been used.
    paced_at timestamptz not null,
    created_by uuid not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    finished_at timestamptz
);
create index replays_of_tenant on replays (tenant_id, id);
create index replays_running on replays (paced_at) where state = 'running';

-- What the hub has given up: deliveries, calls, and wake-ups that nobody could read.
create table dead_letters (
    -- The delivery's or call's own id; one of its own for a wake-up.
    id uuid primary key,
    -- Null for what concerns the platform's operator only.
    tenant_id uuid,
    kind text not null check (kind in ('delivery', 'inbound', 'wakeup')),
    -- The webhook or connector.
    source_id uuid,
    -- The event's type, the call's system, or the queue.
    label text not null,
    reason text not null,
    error_class text,
    status smallint,
    error text,
    -- Equal for letters that died of the same cause.
    fingerprint text not null,
    died_at timestamptz not null,
    disposition text check (disposition in ('resubmitted', 'discarded')),
    disposed_at timestamptz,
    disposed_by uuid,
    note text,
    -- What a resubmission made.
    successor_id uuid,
    -- The unreadable message.
    message bytea
);
create index dead_letters_log on dead_letters (tenant_id, id);
create index dead_letters_open on dead_letters (tenant_id, fingerprint, id) where disposition is null;

-- Who did what by hand; rows are only added.
create table audit (
    id uuid primary key,
    tenant_id uuid,
    at timestamptz not null,
    -- The key that was used; the nil id for the operator's key of the settings.
    actor uuid not null,
    action text not null,
    object_id uuid not null,
    detail text
);
create index audit_log on audit (tenant_id, id);
