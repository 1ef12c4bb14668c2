//! The management API as a service: what it opens, the routes it answers, and how it ends.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpServer, web};
use anyhow::Context as _;
use busbar_domain::Clock;
use busbar_egress::Policy;
use busbar_messaging::{Namespace, Publisher, QueueType};
use busbar_runtime::{Context, HealthHandle, Settings, problem, settings};
use busbar_storage::seal::Keyring;
use busbar_storage::snapshot::Changes;
use busbar_storage::{Config, Database, migrate};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::caller::prove;
use crate::desk::{Desk, Options};
use crate::once::once;
use crate::{api_keys, connectors, deliveries, documents, events, facade, ping, tenants, webhooks};

/// The longest body: configuration is small.
const MAX_BODY: usize = 256 * 1024;

/// Serves the management API until the shutdown says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let database_check = context.health.register("database");
    let schema_check = context.health.register("schema");
    let broker_check = context.health.register("broker");
    let listener_check = context.health.register("listener");

    let clock = Clock::system();
    let changes = Changes::default();
    let database = Database::new(&database_config(&settings, context.service), keyring(&settings)?)?;
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let mut background = JoinSet::new();
    background.spawn({
        let (database, clock, stop) = (database.clone(), clock.clone(), stop.clone());
        async move { database.watch(&clock, &stop, |answer| report(&database_check, answer)).await }
    });
    background.spawn({
        let (database, clock, stop, changes) = (database.clone(), clock.clone(), stop.clone(), changes.clone());
        async move { changes.watch(&database, &clock, &stop).await }
    });
    background.spawn({
        let (database, stop) = (database.clone(), stop.clone());
        async move { check_schema(&database, &stop, &schema_check).await }
    });
    let publisher = Publisher::start(broker_config(&settings)?, Arc::new(move |answer| report(&broker_check, answer)))?;

    let desk = Desk::new(Options {
        database: database.clone(),
        clock,
        changes,
        policy: policy(&settings)?,
        ingress_url: settings.ingress.public_url.clone(),
        operator_key: settings.admin.operator_key.clone(),
        publisher: publisher.clone(),
        public_openapi: None,
    });
    let listen = settings.admin.listen;
    let listener = TcpListener::bind(listen).with_context(|| format!("the admin listener cannot bind {listen}"))?;
    let shutdown = context.shutdown.clone();
    let grace = Duration::from_millis(settings.drain.deadline_ms).as_secs().max(1);
    let server = HttpServer::new(move || application(desk.clone()))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(grace)
        .listen(listener)?
        .run();
    let handle = server.handle();
    listener_check.up();
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => ended.context("the admin listener ended")?,
        () = shutdown.stop() => {
            drop(listener_check);
            let ((), ended) = tokio::join!(handle.stop(true), &mut server);
            ended.context("the admin listener ended")?;
        }
    }
    stop.cancel();
    publisher.close().await;
    while background.join_next().await.is_some() {}
    database.close().await;
    Ok(())
}

/// The application that answers the management API over `desk`.
pub fn application(
    desk: Desk,
) -> App<
    impl ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<BoxBody>, Error = Error, InitError = ()>,
> {
    App::new()
        .app_data(web::Data::new(desk))
        .app_data(web::Data::new(documents::AdminDocument::new()))
        .app_data(web::PayloadConfig::new(MAX_BODY))
        .configure(problem::configure(MAX_BODY))
        .into_utoipa_app()
        .configure(routes)
        .into_app()
        .service(documents::admin_document)
        .service(documents::public_document)
        .service(documents::page())
}

/// Every route of the management API; the `OpenAPI` document is collected from here.
pub(crate) fn routes(app: &mut ServiceConfig<'_>) {
    let api = utoipa_actix_web::scope("/api/v1").configure(|api| {
        api.service(tenants::create_tenant)
            .service(tenants::list_tenants)
            .service(tenants::get_tenant)
            .service(tenants::change_tenant)
            .service(api_keys::create_api_key)
            .service(api_keys::list_api_keys)
            .service(api_keys::revoke_api_key)
            .service(api_keys::rotate_api_key)
            .service(connectors::create_connector)
            .service(connectors::list_connectors)
            .service(connectors::get_connector)
            .service(connectors::change_connector)
            .service(connectors::delete_connector)
            .service(connectors::rotate_connector_secret)
            .service(webhooks::create_webhook)
            .service(webhooks::list_webhooks)
            .service(webhooks::get_webhook)
            .service(webhooks::replace_webhook)
            .service(webhooks::change_webhook)
            .service(webhooks::delete_webhook)
            .service(webhooks::control::rotate_webhook_secret)
            .service(webhooks::control::pause_webhook)
            .service(webhooks::control::resume_webhook)
            .service(ping::test_webhook)
            .service(deliveries::list_webhook_deliveries)
            .service(deliveries::list_deliveries)
            .service(deliveries::get_delivery)
            .service(events::list_events)
            .service(events::get_event)
            .service(facade::list_permit_webhooks)
            .service(facade::create_permit_webhook)
            .service(facade::get_permit_webhook)
            .service(facade::replace_permit_webhook)
            .service(facade::change_permit_webhook)
            .service(facade::delete_permit_webhook)
            .service(facade::log::test_permit_webhook)
            .service(facade::log::list_permit_deliveries);
    });
    app.service(api.wrap(from_fn(once)).wrap(from_fn(prove)));
}

fn report(check: &HealthHandle, answer: Result<(), String>) {
    match answer {
        Ok(()) => check.up(),
        Err(reason) => check.down(reason),
    }
}

/// Looks until the schema is the one that this program was written for.
async fn check_schema(database: &Database, stop: &CancellationToken, check: &HealthHandle) {
    loop {
        match migrate::check(database).await {
            Ok(()) => {
                check.up();
                return stop.cancelled().await;
            }
            Err(error) => check.down(error.to_string()),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn database_config(settings: &Settings, service: &str) -> Config {
    Config {
        url: settings.database.url.clone(),
        max_connections: settings.database.max_connections,
        statement_timeout: Duration::from_millis(settings.database.statement_timeout_ms),
        application_name: format!("busbar-{service}"),
    }
}

fn keyring(settings: &Settings) -> anyhow::Result<Keyring> {
    Ok(match &settings.secrets.master_key {
        Some(key) => Keyring::parse(key.expose_secret())?,
        None => Keyring::empty(),
    })
}

fn broker_config(settings: &Settings) -> anyhow::Result<busbar_messaging::Config> {
    Ok(busbar_messaging::Config {
        url: settings.broker.url.clone(),
        namespace: Namespace::parse(&settings.broker.namespace)?,
        queue_type: match settings.broker.queue_type {
            settings::QueueType::Classic => QueueType::Classic,
            settings::QueueType::Quorum => QueueType::Quorum,
        },
        backlog_limit: settings.broker.backlog_limit,
    })
}

fn policy(settings: &Settings) -> anyhow::Result<Policy> {
    let texts = |nets: &[_]| nets.iter().map(ToString::to_string).collect::<Vec<_>>();
    let egress = &settings.egress;
    Ok(Policy::parse(&texts(&egress.allow), &texts(&egress.deny), egress.require_https)?)
}
