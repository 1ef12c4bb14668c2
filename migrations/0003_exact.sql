-- Exact: the catalogue, the customers and the shop orders that it shares with the production app, and answers to calls.

alter table inbound
    -- What the caller is told, where the answer is made by the processing: a status and a body.
    add column answer_status smallint,
    add column answer bytea;

alter table connectors
    -- Codes of the secrets, by which the bare path of the receiver finds their connector; only secrets that the hub
    -- has made have one.
    add column secret_code bytea,
    add column old_secret_code bytea,
    -- What is secret in the configuration, sealed like the secret.
    add column config_secrets bytea;
create unique index connectors_by_code on connectors (secret_code) where secret_code is not null;
create unique index connectors_by_old_code on connectors (old_secret_code) where old_secret_code is not null;

create table products (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    exact_item_id text not null,
    item_code text not null,
    name text not null,
    name_nl text,
    description text,
    product_type text not null,
    is_active boolean not null,
    item_group text,
    barcode text,
    -- As sent: neither rounded nor padded.
    stock numeric,
    created_at timestamptz not null,
    synced_at timestamptz not null,
    constraint products_key unique (tenant_id, exact_item_id)
);
create index products_of_tenant on products (tenant_id, id);
create index products_by_item_code on products (tenant_id, item_code);

create table customers (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    exact_customer_id text not null,
    -- Null while only an order has named the customer, by its id.
    name text,
    name_nl text,
    email text,
    phone text,
    street text,
    city text,
    postal_code text,
    country text,
    is_active boolean not null,
    created_at timestamptz not null,
    synced_at timestamptz not null,
    constraint customers_key unique (tenant_id, exact_customer_id)
);
create index customers_of_tenant on customers (tenant_id, id);

create table shop_orders (
    id uuid primary key,
    tenant_id uuid not null references tenants (id),
    -- The connector through which Exact spoke of the order last.
    connector_id uuid references connectors (id),
    -- Our own number of the order.
    wo_number text not null,
    exact_shop_order_number text,
    exact_shop_order_link text,
    state text not null check (state in ('PENDING', 'PLANNED', 'PARTIAL_MATERIALS', 'READY_TO_START', 'IN_PROGRESS',
        'COMPLETED')),
    product_id uuid not null references products (id),
    customer_id uuid references customers (id),
    -- As the order names its customer, whether or not Exact gives it an id.
    customer_name text,
    batch_size integer not null check (batch_size > 0),
    planned_start_date date,
    planned_end_date date,
    production_start_date date,
    production_end_date date,
    notes text,
    -- JSON, its numbers as sent.
    materials_summary text,
    materials_issued_status text not null check (materials_issued_status in ('pending', 'partial', 'complete')),
    -- When Exact was asked to make the order, with which event, and when it answered.
    requested_at timestamptz,
    request_event_id uuid,
    answered_at timestamptz,
    -- When it was reported that the answer is overdue, and that production is to begin.
    overdue_reported_at timestamptz,
    start_reminded_at timestamptz,
    completion_requested_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint shop_orders_by_wo_number unique (tenant_id, wo_number)
);
create unique index shop_orders_by_exact_number on shop_orders (tenant_id, exact_shop_order_number)
    where exact_shop_order_number is not null;
create index shop_orders_of_tenant on shop_orders (tenant_id, id);
create index shop_orders_waiting on shop_orders (requested_at) where state = 'PENDING';
create index shop_orders_ready on shop_orders (planned_start_date)
    where state = 'READY_TO_START' and start_reminded_at is null;

create table shop_order_items (
    order_id uuid not null references shop_orders (id),
    -- Its place in the batch, from 1.
    position integer not null check (position > 0),
    tenant_id uuid not null,
    serial_number text,
    batch_number text,
    -- JSON: its materials with their batches.
    materials text,
    completed_at timestamptz,
    primary key (order_id, position)
);
