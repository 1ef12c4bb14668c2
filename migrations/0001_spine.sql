-- The spine: tenants and their configuration, inbound calls, events, deliveries, attempts.
--
-- inbound, events and deliveries are partitioned by id (UUIDv7, so by time); attempts by the id of their
-- delivery, so that an attempt lies and leaves with it. Ids are made by the writer before the insert.

create table tenants (
    id uuid primary key,
    name text not null,
    plan text not null check (plan in ('free', 'professional', 'enterprise')),
    -- Bumped by every change of a webhook, connector or key, in the transaction that changes it.
    config_version bigint not null default 1,
    config_changed_at timestamptz not null,
    created_at timestamptz not null
);
create index tenants_config_changed on tenants (config_changed_at);

create table api_keys (
    id uuid primary key,
    -- Null for a key of the platform's operator.
    tenant_id uuid references tenants (id),
    key_id text not null unique,
    name text not null,
    hash bytea not null,
    scopes text[] not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz
);
create index api_keys_of_tenant on api_keys (tenant_id, id);

create table connectors (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    system text not null,
    name text not null,
    config bytea not null,
    -- Sealed: AES-256-GCM with the row's identity as associated data.
    secret bytea not null,
    old_secret bytea,
    old_secret_until timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
create index connectors_of_tenant on connectors (tenant_id, id) where deleted_at is null;

create table webhooks (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    name text not null,
    url text not null,
    events text[] not null,
    dialect text not null,
    project text,
    status text not null check (status in ('active', 'paused', 'disabled', 'broken')),
    status_reason text,
    secret bytea not null,
    old_secret bytea,
    old_secret_until timestamptz,
    timeout_ms integer not null,
    retry_max_attempts integer not null,
    retry_first_ms bigint not null,
    retry_factor integer not null,
    retry_max_ms bigint not null,
    max_in_flight integer,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz
);
create index webhooks_of_tenant on webhooks (tenant_id, id) where deleted_at is null;

-- Uniqueness across partitions, and for a time only: written by the routes that deduplicate.
create table first_seen (
    tenant_id uuid not null,
    scope text not null,
    key text not null,
    id uuid not null,
    digest bytea,
    expires_at timestamptz not null,
    primary key (tenant_id, scope, key)
);
create index first_seen_expiry on first_seen (expires_at);

create table inbound (
    id uuid not null primary key,
    tenant_id uuid not null,
    connector_id uuid not null,
    system text not null,
    state text not null check (state in ('received', 'processed', 'failed', 'dead')),
    due_at timestamptz not null,
    failures smallint not null default 0,
    reason text,
    received_at timestamptz not null,
    finished_at timestamptz,
    trace bytea not null,
    body bytea not null
) partition by range (id);
alter table inbound alter column body set storage external;
create index inbound_due on inbound (due_at) where state in ('received', 'failed');
create index inbound_log on inbound (tenant_id, id);

create table events (
    id uuid not null primary key,
    tenant_id uuid not null,
    type text not null,
    subject text,
    project text,
    ordering_key text,
    occurred_at timestamptz not null,
    accepted_at timestamptz not null,
    state text not null check (state in ('accepted', 'spreading')),
    -- A wide fan-out: when it may be woken, and the last webhook that it has reached.
    due_at timestamptz,
    spread_after uuid,
    inbound_id uuid,
    trace bytea not null,
    payload bytea not null
) partition by range (id);
alter table events alter column payload set storage external;
create index events_due on events (due_at) where state = 'spreading';
create index events_log on events (tenant_id, id);

create table deliveries (
    id uuid not null primary key,
    tenant_id uuid not null,
    event_id uuid not null,
    webhook_id uuid not null,
    -- The webhook-id header: the same on every attempt and replay of one event to one webhook.
    message_id uuid not null,
    replay_of uuid,
    -- A test ping: one attempt, whatever the webhook's status.
    test boolean not null default false,
    state text not null check (state in ('pending', 'retrying', 'succeeded', 'held', 'dead', 'cancelled')),
    due_at timestamptz not null,
    claim_no integer not null default 0,
    -- Claims that nobody finished, counted from the last finished one.
    crashes smallint not null default 0,
    lease_until timestamptz,
    attempts integer not null default 0,
    last_status smallint,
    last_error text,
    reason text,
    finished_at timestamptz
) partition by range (id);
create index deliveries_due on deliveries (tenant_id, due_at) where state in ('pending', 'retrying');
create index deliveries_held on deliveries (webhook_id) where state = 'held';
create index deliveries_log on deliveries (webhook_id, id);

create table attempts (
    delivery_id uuid not null,
    number integer not null,
    started_at timestamptz not null,
    duration_us bigint not null,
    status smallint,
    error_class text,
    error text,
    response_body bytea,
    primary key (delivery_id, number)
) partition by range (delivery_id);
alter table attempts alter column response_body set storage external;

-- The smallest UUIDv7 of a moment: 48 bits of milliseconds, then zeros.
create function first_id_at(moment timestamptz) returns uuid
language sql immutable strict parallel safe as $$
    select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- Makes the weekly partitions from the week of "now" on, and the default one that catches what they miss.
-- Answers how many were made. Safe on many callers at once.
create function make_partitions(now timestamptz, weeks_ahead integer) returns integer
language plpgsql as $$
declare
    parent text;
    week timestamptz;
    part text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtext('busbar.make_partitions.' || current_schema()));
    foreach parent in array array['inbound', 'events', 'deliveries', 'attempts'] loop
        for i in 0 .. weeks_ahead loop
            week := date_trunc('week', now at time zone 'utc') at time zone 'utc' + i * interval '7 days';
            part := parent || '_' || to_char(week at time zone 'utc', 'IYYY"w"IW');
            if to_regclass(part) is null then
                execute format(
                    'create table %I partition of %I for values from (%L) to (%L)',
                    part, parent, first_id_at(week), first_id_at(week + interval '7 days'));
                made := made + 1;
                if parent = 'deliveries' then
                    execute format('alter table %I set (fillfactor = 60)', part);
                    -- Rows change two or three times within seconds; dead versions must not pile up.
                    execute format('alter table %I set (autovacuum_vacuum_scale_factor = 0.05)', part);
                end if;
            end if;
        end loop;
        part := parent || '_rest';
        if to_regclass(part) is null then
            execute format('create table %I partition of %I default', part, parent);
            made := made + 1;
        end if;
    end loop;
    return made;
end
$$;

select make_partitions(now(), 1);

-- The delivery log of a tenant goes through its webhooks, deleted ones included.
create index webhooks_log on webhooks (tenant_id, id);

-- Answers to requests with an Idempotency-Key, kept for their repeats; sealed, since some show a secret once.
create table idempotency (
    -- The nil id for requests of the platform's operator that name no tenant.
    tenant_id uuid not null,
    route text not null,
    key text not null,
    digest bytea not null,
    -- The request that is answered first.
    owner uuid not null,
    -- Null while that request is under way.
    status smallint,
    content_type text,
    -- The answer's own key, sealed, and the answer under it.
    data_key bytea,
    answer bytea,
    expires_at timestamptz not null,
    primary key (tenant_id, route, key)
);
create index idempotency_expiry on idempotency (expires_at);
