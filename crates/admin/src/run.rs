//! The management API as a service: what it opens, the routes it answers, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpServer, web};
use anyhow::Context as _;
use busbar_runtime::{Context, Parts, Settings, parts, problem};
use chrono::TimeDelta;
use tokio::task::JoinSet;
use utoipa_actix_web::AppExt;
use utoipa_actix_web::service_config::ServiceConfig;

use crate::caller::prove;
use crate::desk::{Desk, Options};
use crate::once::once;
use crate::{
    api_keys, audit, connectors, customers, dead_letters, deliveries, documents, events, facade, inbound, ping,
    products, replays, shop_orders, tenants, webhooks,
};

/// The longest body: configuration is small.
const MAX_BODY: usize = 256 * 1024;

/// The public door's document, as `busbar openapi` wrote it.
const PUBLIC_OPENAPI: &str = include_str!("../../../docs/api/public/v1/openapi.json");

/// Serves the management API until the shutdown says stop.
pub async fn run(settings: Arc<Settings>, context: Context) -> anyhow::Result<()> {
    let parts = Parts::open(&settings, &context).await?;
    let publisher = parts::publisher(&settings, &context.health)?;
    let listening = context.health.register("listener");
    let desk = Desk::new(Options {
        database: parts.database.clone(),
        clock: parts.clock.clone(),
        changes: parts.changes.clone(),
        shop_order_patience: TimeDelta::seconds(settings.scheduler.shop_order_overdue_seconds.into()),
        policy: parts::egress_policy(&settings)?,
        ingress_url: settings.ingress.public_url.clone(),
        operator_key: settings.admin.operator_key.clone(),
        publisher: publisher.clone(),
        public_openapi: PUBLIC_OPENAPI,
    });
    let listen = settings.admin.listen;
    let server = HttpServer::new(move || application(desk.clone()))
        .workers(1)
        .disable_signals()
        .shutdown_timeout(Duration::from_millis(settings.drain.deadline_ms).as_secs().max(1))
        .bind(listen)
        .with_context(|| format!("the admin listener cannot bind {listen}"))?
        .run();
    listening.up();
    let handle = server.handle();
    let mut stopper = JoinSet::new();
    stopper.spawn({
        let shutdown = context.shutdown.clone();
        async move {
            shutdown.stop().await;
            handle.stop(true).await;
        }
    });
    server.await.context("the admin listener ended")?;
    publisher.close().await;
    parts.close().await;
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
            .service(deliveries::detail::get_delivery)
            .service(deliveries::control::replay_delivery)
            .service(deliveries::control::cancel_delivery)
            .service(events::list_events)
            .service(events::get_event)
            .service(inbound::list_inbound)
            .service(inbound::detail::get_inbound)
            .service(inbound::replay::replay_inbound)
            .service(dead_letters::list_dead_letters)
            .service(dead_letters::get_dead_letter)
            .service(dead_letters::disposal::resubmit_dead_letter)
            .service(dead_letters::disposal::discard_dead_letter)
            .service(dead_letters::disposal::resubmit_dead_letters)
            .service(dead_letters::disposal::discard_dead_letters)
            .service(audit::list_audit)
            .service(replays::create_replay)
            .service(replays::list_replays)
            .service(replays::get_replay)
            .service(replays::pause_replay)
            .service(replays::resume_replay)
            .service(replays::cancel_replay)
            .service(shop_orders::create_shop_order)
            .service(shop_orders::list_shop_orders)
            .service(shop_orders::get_shop_order)
            .service(shop_orders::change::change_shop_order)
            .service(shop_orders::change::complete_shop_order_item)
            .service(shop_orders::change::request_shop_order_again)
            .service(products::list_products)
            .service(customers::list_customers)
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
