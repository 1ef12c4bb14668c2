//! Products, customers and orders: repeats change the same rows, and of two who make one order one is told.

use busbar_domain::id::{InboundId, ShopOrderId};
use busbar_domain::shop_order::{MaterialsStatus, Production, ShopOrderState};
use busbar_storage::customers::{self, NewCustomer};
use busbar_storage::products::{self, Filter, NewProduct, Product, ProductKey};
use busbar_storage::shop_orders::{self, Key, ShopOrder};
use busbar_storage::{PgConnection, answers};
use uuid::Uuid;

use crate::place::{Place, now};

fn product<'p>(place: &Place, id: &'p str, stock: Option<&'p str>) -> NewProduct<'p> {
    NewProduct {
        tenant: place.tenant,
        exact_item_id: id,
        item_code: id,
        name: id,
        name_nl: None,
        description: None,
        product_type: "HMI",
        is_active: true,
        item_group: None,
        barcode: None,
        stock,
    }
}

async fn known(conn: &mut PgConnection, place: &Place, id: &str) -> Product {
    let key = ProductKey { tenant: place.tenant, exact_item_id: Some(id), item_code: None };
    products::find(conn, &[key]).await.unwrap().remove(0).unwrap()
}

fn order(place: &Place, product: Product, wo_number: &str, exact_number: Option<&str>) -> ShopOrder {
    let now = now();
    ShopOrder {
        id: ShopOrderId::new(now),
        tenant: place.tenant,
        connector: None,
        wo_number: wo_number.to_owned(),
        exact_number: exact_number.map(str::to_owned),
        exact_link: None,
        state: ShopOrderState::Planned,
        product,
        customer: None,
        customer_name: None,
        batch_size: 2,
        planned_start: None,
        planned_end: None,
        production: Production::default(),
        notes: Some("a \"note\" with ø".to_owned()),
        materials_summary: Some("{\"in_stock\":1.50}".to_owned()),
        materials: MaterialsStatus::Pending,
        requested_at: None,
        request_event: None,
        answered_at: None,
        completion_requested_at: None,
        created_at: now,
        updated_at: now,
    }
}

#[tokio::test]
async fn a_product_is_one_row_and_its_stock_is_as_sent() {
    let place = Place::make().await;
    let mut conn = place.connection().await;
    let stocks = ["2544.5", "0.20", "-65.5", "1e2"];
    for stock in stocks {
        let rows = [product(&place, "a", Some("7")), product(&place, "b", None), product(&place, "a", Some(stock))];
        products::upsert(&mut conn, &rows, now()).await.unwrap();
        let filter = Filter { exact_item_id: Some("a"), item_code: None, before: Uuid::max(), limit: 10 };
        let shown = products::list(&mut conn, place.tenant, &filter).await.unwrap();
        let expected = if stock == "1e2" { "100" } else { stock };
        assert_eq!((shown.len(), shown[0].stock.as_deref()), (1, Some(expected)));
    }
    products::upsert(&mut conn, &[product(&place, "a", None)], now()).await.unwrap();
    let filter = Filter { exact_item_id: None, item_code: None, before: Uuid::max(), limit: 10 };
    let shown = products::list(&mut conn, place.tenant, &filter).await.unwrap();
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().any(|one| one.stock.as_deref() == Some("100")), "what is not sent stays");
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn an_order_that_names_a_customer_does_not_bring_it_back_into_use() {
    let place = Place::make().await;
    let mut conn = place.connection().await;
    let gone = NewCustomer { exact_customer_id: "c", name: Some("Acme"), is_active: Some(false), ..Default::default() };
    let named = NewCustomer { exact_customer_id: "c", ..Default::default() };
    for customer in [gone, named] {
        customers::upsert(&mut conn, &[(place.tenant, customer)], now()).await.unwrap();
    }
    let shown = customers::list(&mut conn, place.tenant, None, Uuid::max(), 10).await.unwrap();
    assert_eq!((shown.len(), shown[0].name.as_deref(), shown[0].is_active), (1, Some("Acme"), false));
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn of_two_orders_with_one_number_one_is_written() {
    let place = Place::make().await;
    let mut conn = place.connection().await;
    products::upsert(&mut conn, &[product(&place, "a", None)], now()).await.unwrap();
    let product = known(&mut conn, &place, "a").await;
    let first = order(&place, product.clone(), "W1", Some("SO-1"));
    let (same, other) =
        (order(&place, product.clone(), "W2", Some("SO-1")), order(&place, product, "W3", Some("SO-3")));
    assert_eq!(shop_orders::insert(&mut conn, &[&first]).await.unwrap(), [first.id.uuid()]);
    assert_eq!(shop_orders::insert(&mut conn, &[&same, &other]).await.unwrap(), [other.id.uuid()]);
    shop_orders::insert_items(&mut conn, &[(place.tenant, first.id, 1, 2)]).await.unwrap();
    let key = Key { tenant: place.tenant, id: None, exact_number: Some("SO-1"), wo_number: Some("W3") };
    let mut locked = shop_orders::lock(&mut conn, &[key]).await.unwrap();
    assert_eq!(locked.len(), 2);
    let mut found = locked.remove(0);
    assert_eq!((&found.notes, &found.materials_summary), (&first.notes, &first.materials_summary));
    found.state = ShopOrderState::ReadyToStart;
    shop_orders::save(&mut conn, &[&found], now()).await.unwrap();
    let again = shop_orders::find(&mut conn, place.tenant, found.id).await.unwrap().unwrap();
    assert_eq!(again.state, ShopOrderState::ReadyToStart);
    assert_eq!(shop_orders::list_items(&mut conn, first.id).await.unwrap().len(), 2);
    drop(conn);
    place.end().await;
}

#[tokio::test]
async fn an_answer_of_nobody_is_no_answer() {
    let place = Place::make().await;
    let mut conn = place.connection().await;
    let id = InboundId::new(now());
    assert_eq!(answers::find(&mut conn, &[id.uuid()]).await.unwrap(), []);
    assert_eq!(answers::find(&mut conn, &[]).await.unwrap(), []);
    drop(conn);
    place.end().await;
}
