//! `/customers`: the companies that orders are made for, as Exact tells them.

use actix_web::{HttpResponse, get, web};
use busbar_runtime::Problem;
use busbar_storage::customers::{self, CustomerRecord};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::caller::{Authorized, scope};
use crate::desk::At;
use crate::error::ApiError;
use crate::fields::sought;
use crate::paging::{List, Paging};

/// Which customers are listed.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CustomerQuery {
    /// With this id at Exact only.
    exact_customer_id: Option<String>,
    /// 1 to 200, by default 50.
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A customer.
#[derive(Serialize, ToSchema)]
struct CustomerView {
    /// Its id.
    id: Uuid,
    /// Exact's id.
    exact_customer_id: String,
    /// The name; null while only an order has named it, by its id.
    name: Option<String>,
    /// The Dutch name.
    name_nl: Option<String>,
    /// An e-mail address.
    email: Option<String>,
    /// A telephone number.
    phone: Option<String>,
    /// Where it is.
    address: AddressView,
    /// Whether it is in use.
    is_active: bool,
    /// When Exact spoke of it last.
    synced_at: DateTime<Utc>,
}

/// A postal address.
#[derive(Serialize, ToSchema)]
struct AddressView {
    /// Street and number.
    street: Option<String>,
    /// Town.
    city: Option<String>,
    /// Postal code.
    postal_code: Option<String>,
    /// Country, by whatever name.
    country: Option<String>,
}

impl From<CustomerRecord> for CustomerView {
    fn from(record: CustomerRecord) -> Self {
        Self {
            id: record.id,
            exact_customer_id: record.exact_customer_id,
            name: record.name,
            name_nl: record.name_nl,
            email: record.email,
            phone: record.phone,
            address: AddressView {
                street: record.street,
                city: record.city,
                postal_code: record.postal_code,
                country: record.country,
            },
            is_active: record.is_active,
            synced_at: record.synced_at,
        }
    }
}

/// The tenant's customers, newest first.
#[utoipa::path(tag = "exact", responses(
    (status = 200, body = List<CustomerView>),
    (status = 422, body = Problem, description = "A parameter is invalid"),
))]
#[get("/customers")]
pub(crate) async fn list_customers(
    desk: At,
    caller: Authorized<scope::Read>,
    query: web::Query<CustomerQuery>,
) -> Result<HttpResponse, ApiError> {
    let paging = Paging::parse(query.limit, query.cursor.as_deref())?;
    let (tenant, id) = (caller.tenant, sought("/exact_customer_id", query.exact_customer_id.as_deref())?);
    let found = desk.read(async |conn| customers::list(conn, tenant, id, paging.before, paging.fetch()).await).await?;
    Ok(HttpResponse::Ok().json(paging.page(found, |one| one.id, CustomerView::from)))
}
