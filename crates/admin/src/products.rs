//! `/products`: the catalogue as Exact tells it.

use actix_web::{HttpResponse, get, web};
use busbar_runtime::Problem;
use busbar_storage::products::{self, Filter, ProductRecord};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::sought;
use crate::paging::{List, Paging};

/// Which products are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProductQuery {
    /// With this id at Exact only.
    exact_item_id: Option<String>,
    /// With this code only.
    item_code: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A product.
#[derive(Serialize, ToSchema)]
struct ProductView {
    /// Its id.
    id: Uuid,
    /// Exact's id.
    exact_item_id: String,
    /// The code that people know it by.
    item_code: String,
    /// The name.
    name: String,
    /// The Dutch name.
    name_nl: Option<String>,
    /// What it is.
    description: Option<String>,
    /// `SDM_ECO`, `SENSOR`, `MLA`, `HMI` or `TRANSMITTER`.
    product_type: String,
    /// Whether it is in use.
    is_active: bool,
    /// The id of its group at Exact.
    item_group: Option<String>,
    /// The code on its label.
    barcode: Option<String>,
    /// How much of it there is, exactly as sent; it may be less than nothing.
    #[schema(value_type = Option<f64>)]
    stock: Option<Box<RawValue>>,
    /// When Exact spoke of it last.
    synced_at: DateTime<Utc>,
}

impl From<ProductRecord> for ProductView {
    fn from(record: ProductRecord) -> Self {
        Self {
            id: record.id,
            exact_item_id: record.exact_item_id,
            item_code: record.item_code,
            name: record.name,
            name_nl: record.name_nl,
            description: record.description,
            product_type: record.product_type,
            is_active: record.is_active,
            item_group: record.item_group,
            barcode: record.barcode,
            stock: record.stock.and_then(|stock| RawValue::from_string(stock).ok()),
            synced_at: record.synced_at,
        }
    }
}

/// The tenant's products, newest first.
#[utoipa::path(tag = "exact", responses(
    (status = 200, body = List<ProductView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/products")]
pub(crate) async fn list_products(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<ProductQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let filter = Filter {
        exact_item_id: sought("/exact_item_id", query.exact_item_id.as_deref())?,
        item_code: sought("/item_code", query.item_code.as_deref())?,
        before: paging.before,
        limit: paging.fetch(),
    };
    let found = desk.read(async |conn| products::list(conn, caller.tenant, &filter).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |one| one.id, ProductView::from)))
}
