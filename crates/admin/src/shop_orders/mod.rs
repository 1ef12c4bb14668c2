//! `/shop-orders`: the app's side of what is produced; a new order is asked for at Exact.

pub(crate) mod change;
mod view;

use actix_web::{HttpResponse, get, post, web};
use busbar_domain::Timestamp;
use busbar_domain::id::{EventId, ShopOrderId, TenantId};
use busbar_domain::shop_order::{MaterialsStatus, Production, ShopOrderState, WoNumber};
use busbar_domain::trace::TraceContext;
use busbar_runtime::{FieldError, Problem};
use busbar_storage::accept::Owed;
use busbar_storage::customers::{self, NewCustomer};
use busbar_storage::products::{self, ProductKey};
use busbar_storage::shop_orders::{self, Filter, ShopOrder};
use busbar_storage::{PgConnection, settle};
use busbar_systems::exact::announcement::{Cause, event};
use busbar_systems::exact::outbound::{CREATE_REQUESTED, CreateRequested, ProductOf};
use busbar_systems::exact::work_order::MAX_BATCH_SIZE;
use chrono::{Datelike as _, NaiveDate, TimeDelta};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::{At, Desk};
use crate::error::ApiError;
use crate::fields::{Faults, sought};
use crate::paging::{List, Paging};
use crate::shop_orders::view::{OrderDetailView, OrderView};

/// The longest notes, in bytes.
const MAX_NOTES: usize = 8 * 1024;
/// The longest name of a product or customer, in bytes.
const MAX_NAME: usize = 255;
/// How many numbers are tried for an order that is made in a busy millisecond.
const MOST_NUMBERS: i64 = 1000;

/// An order to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OrderToCreate {
    /// What is made.
    product: Option<ProductToMake>,
    /// How many are made: 1 to 10,000.
    #[schema(minimum = 1, maximum = 10_000)]
    batch_size: Option<u32>,
    /// When it is meant to begin.
    #[schema(value_type = Option<String>, format = Date)]
    planned_start_date: Option<String>,
    /// When it is meant to end.
    #[schema(value_type = Option<String>, format = Date)]
    planned_end_date: Option<String>,
    /// What else there is to say.
    notes: Option<String>,
    /// For whom.
    customer: Option<CustomerToServe>,
}

/// A product by one of its names.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ProductToMake {
    /// Exact's id, which counts first.
    exact_item_id: Option<String>,
    /// The code that people know it by.
    item_code: Option<String>,
}

/// A customer as far as an order tells.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CustomerToServe {
    /// Exact's id.
    exact_customer_id: Option<String>,
    /// The name.
    name: Option<String>,
}

/// Which orders are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OrderQuery {
    /// In this state only, such as `PENDING`.
    status: Option<String>,
    /// With this number of Exact's only.
    exact_shop_order_number: Option<String>,
    /// With this number of ours only.
    wo_number: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A new order, which is asked for at Exact.
#[derive(Serialize, ToSchema)]
struct CreatedOrder {
    /// Its id, which Exact's side calls `work_order_id`.
    id: Uuid,
    /// Our own number of it.
    wo_number: String,
    /// `PENDING`.
    status: &'static str,
}

/// What a body asks for, once it has been checked.
struct Wanted {
    exact_item_id: Option<String>,
    item_code: Option<String>,
    batch_size: u32,
    planned_start: Option<NaiveDate>,
    planned_end: Option<NaiveDate>,
    notes: Option<String>,
    customer: Option<String>,
    customer_name: Option<String>,
}

/// A text that may be missing; blank is as good as nothing.
fn text(faults: &mut Faults, pointer: &str, text: Option<&str>, longest: usize) -> Option<String> {
    let text = text.filter(|text| !text.trim().is_empty())?;
    if text.len() > longest || text.contains('\0') {
        faults.add(pointer, "INVALID_FIELD", format!("This field has at most {longest} bytes and no NUL."));
        return None;
    }
    Some(text.to_owned())
}

/// A day, as `2024-01-15`.
pub(crate) fn date(faults: &mut Faults, pointer: &str, text: Option<&str>) -> Option<NaiveDate> {
    let text = text?;
    let date = (text.len() == 10).then(|| text.parse().ok()).flatten();
    let date = date.filter(|date: &NaiveDate| date.year() > 0);
    if date.is_none() {
        faults.add(pointer, "INVALID_FIELD", "This field is a date such as 2024-01-15.");
    }
    date
}

/// Notes a span of days that ends before it begins.
pub(crate) fn in_order(faults: &mut Faults, pointer: &str, start: Option<NaiveDate>, end: Option<NaiveDate>) {
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        faults.add(pointer, "INVALID_FIELD", "This day lies before the first one.");
    }
}

impl OrderToCreate {
    fn check(&self) -> Result<Wanted, ApiError> {
        let mut faults = Faults::default();
        let product = self.product.as_ref();
        let id = product.and_then(|product| product.exact_item_id.as_deref());
        let code = product.and_then(|product| product.item_code.as_deref());
        let exact_item_id = text(&mut faults, "/product/exact_item_id", id, MAX_NAME);
        let item_code = text(&mut faults, "/product/item_code", code, MAX_NAME);
        if exact_item_id.is_none() && item_code.is_none() {
            faults.add("/product", "REQUIRED", "A product is named by its exact_item_id or its item_code.");
        }
        let batch_size = self.batch_size.filter(|size| (1..=MAX_BATCH_SIZE).contains(size));
        if batch_size.is_none() {
            let code = if self.batch_size.is_none() { "REQUIRED" } else { "OUT_OF_RANGE" };
            faults.add("/batch_size", code, format!("batch_size is 1 to {MAX_BATCH_SIZE}."));
        }
        let planned_start = date(&mut faults, "/planned_start_date", self.planned_start_date.as_deref());
        let planned_end = date(&mut faults, "/planned_end_date", self.planned_end_date.as_deref());
        in_order(&mut faults, "/planned_end_date", planned_start, planned_end);
        let notes = text(&mut faults, "/notes", self.notes.as_deref(), MAX_NOTES);
        let customer = self.customer.as_ref();
        let id = customer.and_then(|customer| customer.exact_customer_id.as_deref());
        let name = customer.and_then(|customer| customer.name.as_deref());
        let customer = text(&mut faults, "/customer/exact_customer_id", id, MAX_NAME);
        let customer_name = text(&mut faults, "/customer/name", name, MAX_NOTES);
        let wanted = batch_size.map(|batch_size| Wanted {
            exact_item_id,
            item_code,
            batch_size,
            planned_start,
            planned_end,
            notes,
            customer,
            customer_name,
        });
        Ok(faults.finish(wanted)?)
    }
}

/// Writes the order with its items and asks Exact for it, in this transaction.
async fn make(
    conn: &mut PgConnection,
    desk: &Desk,
    tenant: TenantId,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(ShopOrder, Owed), ApiError> {
    let (exact_item_id, item_code) = (wanted.exact_item_id.as_deref(), wanted.item_code.as_deref());
    let found = products::find(conn, &[ProductKey { tenant, exact_item_id, item_code }]).await?;
    let Some(product) = found.into_iter().flatten().next() else {
        let detail = "There is no such product; it comes from Exact with sync_products.";
        return Err(vec![FieldError::new("/product", "PRODUCT_NOT_FOUND", detail)].into());
    };
    if let Some(exact_customer_id) = wanted.customer.as_deref() {
        let name = wanted.customer_name.as_deref();
        let customer = NewCustomer { exact_customer_id, name, ..NewCustomer::default() };
        customers::upsert(conn, &[(tenant, customer)], now).await?;
    }
    let order = ShopOrder {
        id: ShopOrderId::new(now),
        tenant,
        connector: None,
        wo_number: String::new(),
        exact_number: None,
        exact_link: None,
        state: ShopOrderState::Pending,
        product,
        customer: wanted.customer.clone(),
        customer_name: wanted.customer_name.clone(),
        batch_size: wanted.batch_size,
        planned_start: wanted.planned_start,
        planned_end: wanted.planned_end,
        production: Production::default(),
        notes: wanted.notes.clone(),
        materials_summary: None,
        materials: MaterialsStatus::Pending,
        requested_at: Some(now),
        request_event: Some(EventId::new(now)),
        answered_at: None,
        completion_requested_at: None,
        created_at: now,
        updated_at: now,
    };
    let order = number(conn, order, now).await?;
    shop_orders::insert_items(conn, &[(tenant, order.id, 1, order.batch_size)]).await?;
    let mut request = event(CREATE_REQUESTED, &order.wo_number, request(&order), cause(tenant, now));
    request.id = order.request_event.unwrap_or(request.id);
    let owed = settle::publish(conn, desk.plans(), vec![request], now).await?;
    Ok((order, owed))
}

/// Writes the order under the first number from this millisecond on that nobody else has.
async fn number(conn: &mut PgConnection, mut order: ShopOrder, now: Timestamp) -> Result<ShopOrder, ApiError> {
    for later in 0..MOST_NUMBERS {
        WoNumber::pending(now + TimeDelta::milliseconds(later)).as_str().clone_into(&mut order.wo_number);
        if !shop_orders::insert(conn, &[&order]).await?.is_empty() {
            return Ok(order);
        }
    }
    Err(Problem::unavailable(1).into())
}

fn request(order: &ShopOrder) -> bytes::Bytes {
    let request = CreateRequested {
        work_order_id: order.id.uuid(),
        wo_number: &order.wo_number,
        product: ProductOf {
            exact_item_id: &order.product.exact_item_id,
            item_code: &order.product.item_code,
            name: &order.product.name,
        },
        batch_size: order.batch_size,
        planned_start_date: order.planned_start,
        planned_end_date: order.planned_end,
        notes: order.notes.as_deref(),
    };
    request.payload()
}

/// What an event follows from that somebody caused here.
pub(crate) fn cause(tenant: TenantId, now: Timestamp) -> Cause {
    Cause { tenant, inbound: None, trace: TraceContext::root(), at: now }
}

/// Makes an order and asks Exact for it, as the event `shopOrder.create.requested`.
#[utoipa::path(tag = "exact", responses(
    (status = 201, body = CreatedOrder),
    (status = 422, body = Problem, description = "A field is invalid, or there is no such product"),
))]
#[post("/shop-orders")]
pub(crate) async fn create_shop_order(
    desk: At,
    caller: Authorized<scope::Admin>,
    body: web::Json<OrderToCreate>,
) -> Result<HttpResponse, ApiError> {
    let (wanted, now) = (body.check()?, desk.now());
    let (order, owed) = desk.write(async |conn| make(conn, &desk, caller.tenant, &wanted, now).await).await?;
    desk.wake(&owed);
    let created =
        CreatedOrder { id: order.id.uuid(), wo_number: order.wo_number, status: ShopOrderState::Pending.as_str() };
    Ok(HttpResponse::Created().json(created))
}

/// The tenant's orders, newest first.
#[utoipa::path(tag = "exact", responses(
    (status = 200, body = List<OrderView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/shop-orders")]
pub(crate) async fn list_shop_orders(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<OrderQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let state = query.status.as_deref().map(ShopOrderState::parse);
    if state == Some(None) {
        let names = ShopOrderState::ALL.map(ShopOrderState::as_str).join(", ");
        return Err(vec![FieldError::new("/status", "UNKNOWN_STATUS", format!("A status is one of {names}."))].into());
    }
    let filter = Filter {
        state: state.flatten(),
        exact_number: sought("/exact_shop_order_number", query.exact_shop_order_number.as_deref())?,
        wo_number: sought("/wo_number", query.wo_number.as_deref())?,
        before: paging.before,
        limit: paging.fetch(),
    };
    let found = desk.read(async |conn| shop_orders::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |order| order.id.uuid(), |order| OrderView::new(&desk, order))))
}

/// One order with its items.
#[utoipa::path(tag = "exact", responses((status = 200, body = OrderDetailView), (status = 404, body = Problem)))]
#[get("/shop-orders/{id}")]
pub(crate) async fn get_shop_order(
    desk: At,
    caller: Authorized<scope::Read>,
    id: web::Path<Uuid>,
) -> Result<HttpResponse, ApiError> {
    let id = ShopOrderId::from(*id);
    let found = desk.read(async |conn| shop_orders::find(conn, caller.tenant, id).await).await?;
    let order = found.ok_or_else(ApiError::not_found)?;
    let items = desk.read(async |conn| shop_orders::list_items(conn, id).await).await?;
    Ok(HttpResponse::Ok().json(OrderDetailView::new(&desk, order, items)))
}
