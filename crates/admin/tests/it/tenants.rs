//! Tenants, by the operator.

use serde_json::json;

use crate::hub::Hub;

#[actix_web::test]
async fn a_tenant_is_made_with_the_key_of_its_first_admin() {
    let hub = Hub::start().await;
    let body = json!({ "name": "Acme", "plan": "free" });
    let made = hub.call(&hub.operator, "POST", "/api/v1/tenants", Some(body)).await.expect(201);
    assert_eq!((&made["name"], &made["plan"]), (&json!("Acme"), &json!("free")));
    let key = made["admin_key"].as_str().unwrap();
    hub.call(key, "GET", "/api/v1/webhooks", None).await.expect(200);

    let path = format!("/api/v1/tenants/{}", made["id"].as_str().unwrap());
    let found = hub.call(&hub.operator, "GET", &path, None).await;
    assert!(!found.text.contains("bb_"));
    found.expect(200);
    let changed = hub.call(&hub.operator, "PATCH", &path, Some(json!({ "plan": "enterprise" }))).await.expect(200);
    assert_eq!((&changed["name"], &changed["plan"]), (&json!("Acme"), &json!("enterprise")));
    let listed = hub.call(&hub.operator, "GET", "/api/v1/tenants", None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    hub.end().await;
}

#[actix_web::test]
async fn what_is_wrong_with_a_tenant_is_said_field_by_field() {
    let hub = Hub::start().await;
    let post = async |body| hub.call(&hub.operator, "POST", "/api/v1/tenants", Some(body)).await;
    let answer = post(json!({ "name": " ", "plan": "gold" })).await;
    assert_eq!(answer.faults(), [("/name".into(), "BLANK".into()), ("/plan".into(), "UNKNOWN_PLAN".into())]);
    answer.expect(422);
    let answer = post(json!({})).await;
    assert_eq!(answer.faults(), [("/name".into(), "REQUIRED".into()), ("/plan".into(), "REQUIRED".into())]);
    let answer = post(json!({ "name": "n", "plan": "free", "is_admin": true })).await;
    assert_eq!(answer.expect(400)["code"], "UNKNOWN_FIELD");
    hub.end().await;
}

#[actix_web::test]
async fn a_list_goes_on_where_its_cursor_says() {
    let hub = Hub::start().await;
    for number in 0..5 {
        hub.tenant(&format!("tenant {number}")).await;
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/tenants?limit=2".to_owned();
    loop {
        let page = hub.call(&hub.operator, "GET", &path, None).await.expect(200);
        let rows = page["data"].as_array().unwrap();
        assert!(rows.len() <= 2);
        names.extend(rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/tenants?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["tenant 4", "tenant 3", "tenant 2", "tenant 1", "tenant 0"]);
    for (query, status) in [("limit=0", 422), ("limit=201", 422), ("limit=x", 400), ("cursor=x", 400), ("page=2", 400)]
    {
        hub.call(&hub.operator, "GET", &format!("/api/v1/tenants?{query}"), None).await.expect(status);
    }
    hub.end().await;
}
