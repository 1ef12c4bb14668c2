//! The sections of the settings, one struct each; a field's doc comment is its documentation everywhere.
//! Defaults live in `defaults.toml`, never here.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de};

/// Name, type and meaning of one field, recorded by [`section!`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) meaning: &'static str,
}

/// Declares a section and records its fields, so that documentation cannot drift from the struct.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident {
            $($(#[doc = $meaning:literal])+ $(#[serde($($how:tt)+)])? $key:ident: $kind:ty,)+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $meaning])+ $(#[serde($($how)+)])? pub $key: $kind,)+
        }

        impl $name {
            pub(super) const FIELDS: &'static [Field] = &[$(Field {
                name: stringify!($key),
                kind: stringify!($kind),
                meaning: concat!($($meaning),+),
            },)+];
        }
    };
}

section! {
    /// PostgreSQL, the truth.
    Database {
        /// Where PostgreSQL is: `postgres://user:password@host:port/database`.
        url: SecretString,
        /// The most connections that one process opens.
        max_connections: u32,
        /// A statement that runs longer is cancelled; milliseconds.
        statement_timeout_ms: u64,
    }
}

section! {
    /// RabbitMQ, which carries wake-ups.
    Broker {
        /// Where RabbitMQ is: `amqp://` or `amqps://user:password@host:port/vhost`, the vhost percent-encoded.
        url: SecretString,
        /// The prefix of every queue; 1 to 40 of `a-z 0-9 _ . -`.
        namespace: String,
        /// The type of every queue: `classic` on a single node, `quorum` on a cluster.
        queue_type: QueueType,
        /// From this many waiting ids in a queue on, only the scheduler publishes to it, tenants in turn; ids.
        backlog_limit: u32,
    }
}

section! {
    /// The public door.
    Ingress {
        /// The address that the outside world reaches.
        listen: SocketAddr,
        /// The address of `/livez`, `/readyz` and `/metrics`; never public. All services in one process share it.
        ops_listen: SocketAddr,
        /// The URL under which the outside world reaches `listen`; a connector's `inbound_url` is built on it.
        public_url: String,
        /// Threads that serve HTTP; 0 is one per core.
        workers: usize,
        /// The longest request body; bytes.
        max_body_bytes: usize,
        /// A client must have sent its request's head by then; milliseconds.
        header_timeout_ms: u64,
        /// A client must have sent its request's body by then; milliseconds.
        body_timeout_ms: u64,
        /// Calls that may wait for the next group commit; one more is answered 503.
        commit_queue: usize,
        /// A call that is not durable by then is answered 503; milliseconds.
        commit_timeout_ms: u64,
        /// The most connections open at once.
        max_connections: usize,
    }
}

section! {
    /// The management API.
    Admin {
        /// The address that operators, subscribers and the console reach.
        listen: SocketAddr,
        /// The URL under which `listen` is reached; where answers point at what is kept is built on it.
        public_url: String,
        /// The address of `/livez`, `/readyz` and `/metrics`; never public.
        ops_listen: SocketAddr,
        /// A key of the platform's operator, good for every tenant, beside those that `busbar keys` makes.
        operator_key: Option<SecretString>,
    }
}

section! {
    /// The worker of inbound calls and jobs.
    Processor {
        /// The address of `/livez`, `/readyz` and `/metrics`; never public.
        ops_listen: SocketAddr,
        /// The queues that this process consumes, without the namespace.
        queues: Vec<String>,
        /// The most rows handled in one transaction.
        batch: u32,
    }
}

section! {
    /// The worker that sends webhooks.
    Delivery {
        /// The address of `/livez`, `/readyz` and `/metrics`; never public.
        ops_listen: SocketAddr,
        /// The most attempts in flight in one process.
        max_in_flight: usize,
        /// The most attempts in flight to one webhook from one process.
        max_in_flight_per_webhook: usize,
        /// Deliveries that may wait in memory for one webhook; what is beyond stays in the database.
        lane_queue: usize,
        /// An attempt that has not ended by then has failed; milliseconds. A webhook may ask for less.
        timeout_ms: u64,
        /// How much of an answer's body is read and kept; bytes.
        response_cap_bytes: usize,
        /// After so many failed attempts in a row a webhook is called by single probes only, until one succeeds.
        circuit_failures: u32,
        /// The first of those failures must lie at least so far back; milliseconds.
        circuit_window_ms: u64,
        /// Wake-ups that the broker hands out before it waits for acknowledgements.
        prefetch: u16,
    }
}

section! {
    /// What starts by clock.
    Scheduler {
        /// The address of `/livez`, `/readyz` and `/metrics`; never public.
        ops_listen: SocketAddr,
        /// The pause between two looks for what is due; milliseconds.
        tick_ms: u64,
        /// The most rows released in one statement.
        batch: u32,
        /// Retries, work that was held and replays are woken at this pace at most, so that live traffic goes first; rows per second and process.
        late_per_second: u32,
        /// A webhook whose receiver has failed for so long is broken: it is owed everything and gets nothing until it is resumed; hours.
        broken_after_hours: u32,
        /// A shop order for which Exact was asked for so long without an answer is overdue; seconds.
        shop_order_overdue_seconds: u32,
        /// So long before its planned start a shop order that is ready is reminded of; days.
        shop_order_remind_days: u32,
        /// How far ahead table partitions are made; weeks.
        partition_weeks_ahead: u32,
    }
}

section! {
    /// Where the hub may connect to on behalf of its tenants.
    Egress {
        /// Networks that are reachable although they are not public, as CIDR: `10.1.0.0/16`.
        #[serde(deserialize_with = "networks")]
        allow: Vec<IpNet>,
        /// Networks that are refused although they are public, as CIDR; they win over `allow`.
        #[serde(deserialize_with = "networks")]
        deny: Vec<IpNet>,
        /// Whether a URL without TLS is refused.
        require_https: bool,
        /// The name servers that are asked, `10.0.0.53` or `10.0.0.53:5353`; the system's while the list is empty.
        #[serde(deserialize_with = "servers")]
        name_servers: Vec<SocketAddr>,
        /// A PEM file of certificate authorities that are trusted beside the system's, read at the start.
        ca_file: Option<PathBuf>,
    }
}

section! {
    /// Secrets at rest.
    Secrets {
        /// The keys that seal stored secrets: `<version>:<base64 of 32 bytes>`, several separated by commas. The first seals, all of them open.
        master_key: Option<SecretString>,
    }
}

section! {
    /// What is written to stderr.
    Log {
        /// `human` for a terminal, `json` for a collector.
        format: LogFormat,
        /// What is written, in the words of `tracing`'s env filter: `info`, `info,busbar_delivery=debug`.
        filter: String,
    }
}

section! {
    /// Trace export.
    Telemetry {
        /// An OpenTelemetry collector's HTTP address, to which `/v1/traces` is added; without it nothing is traced.
        otlp_endpoint: Option<String>,
        /// The share of traces that begin here and are exported; 0.0 to 1.0.
        sample_ratio: f64,
    }
}

section! {
    /// What happens between SIGTERM and exit.
    Drain {
        /// How long work is still accepted while `/readyz` already says no; milliseconds since the signal.
        ready_off_ms: u64,
        /// What is not finished by then is left to another process; milliseconds since the signal.
        deadline_ms: u64,
    }
}

/// The type of the broker's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum QueueType {
    /// One node holds the queue.
    Classic,
    /// Several nodes agree on the queue.
    Quorum,
}

impl TryFrom<String> for QueueType {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "classic" => Ok(Self::Classic),
            "quorum" => Ok(Self::Quorum),
            _ => Err(format!("`{text}` is neither `classic` nor `quorum`")),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LogFormat {
    /// Lines for a person.
    Human,
    /// One JSON object per line.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "human" => Ok(Self::Human),
            "json" => Ok(Self::Json),
            _ => Err(format!("`{text}` is neither `human` nor `json`")),
        }
    }
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts
        .iter()
        .map(|text| text.parse().map_err(|_| de::Error::custom(format!("`{text}` is not a network in CIDR notation"))))
        .collect()
}

/// The port of a name server that is given without one.
const DNS_PORT: u16 = 53;

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let server = |text: &String| match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, DNS_PORT)),
        Err(_) => text.parse().map_err(|_| de::Error::custom(format!("`{text}` is not the address of a name server"))),
    };
    texts.iter().map(server).collect()
}
