//! URLs that lead inside: refused by every door that takes one, with nothing stored.

use busbar_storage::seal::Keyring;
use serde_json::{Value, json};

use crate::hub::{Hub, Tenant};

/// One of each form: other spellings of an address, addresses that wrap another, names, schemes, user info, ports.
const FORBIDDEN: [&str; 48] = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://0/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://127.0.0.1:8080/",
    "http://127%2e0.0.1/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
    "http://１２７.０.０.１/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::169.254.169.254]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001::1]/",
    "http://[fe80::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[100::1]/",
    "http://[5f00::1]/",
    "http://[3fff::1]/",
    "http://localhost/",
    "http://app.localhost./",
    "http://ＬＯＣＡＬＨＯＳＴ/",
    "http://user:pass@example.com/",
    "http://@example.com/",
    "http://example.com\\@10.0.0.1/",
    "http://exam\tple.com/",
    "http://example.com/\n",
    "http://[fe80::1%25lo]/",
    "ftp://example.com/",
    "file:///etc/passwd",
    "http://example.com:22/",
    "http://example.com:25/",
    "http:example.com",
    "//example.com/",
];

/// Sends a body to create, to change and to replace a webhook, at one of the two APIs; answers the statuses.
async fn everywhere(hub: &Hub, tenant: &Tenant, (api, id): (&str, &str), body: &Value) -> [(u16, String); 3] {
    let one = format!("{api}{id}/");
    let one = if api.contains("ptw") { one.as_str() } else { one.trim_end_matches('/') };
    let many = api.trim_end_matches('/');
    let mut answers = Vec::new();
    for (method, path) in [("POST", many), ("PATCH", one), ("PUT", one)] {
        let answer = hub.call(&tenant.key, method, path, Some(body.clone())).await;
        answers.push((answer.status.as_u16(), answer.text));
    }
    answers.try_into().unwrap()
}

#[actix_web::test]
async fn a_url_that_leads_inside_is_refused_everywhere_and_nothing_is_stored() {
    let hub = Hub::start_with(&[], Keyring::parse(&Keyring::generate(1)).unwrap()).await;
    let tenant = hub.tenant("Acme").await;
    let good = json!({ "name": "n", "url": "https://example.com/hook", "dialect": "ptw" });
    let made = hub.call(&tenant.key, "POST", "/api/v1/webhooks", Some(good)).await.expect(201);
    let id = made["id"].as_str().unwrap();
    for url in FORBIDDEN {
        let body = json!({ "name": "n", "url": url });
        for (status, text) in everywhere(&hub, &tenant, ("/api/v1/webhooks/", id), &body).await {
            assert_eq!(status, 422, "{url}: {text}");
            assert!(text.contains("\"/url\""), "{url}: {text}");
        }
        let body = json!({ "name": "n", "url": url, "secret": "s" });
        for (status, text) in everywhere(&hub, &tenant, ("/api/v1/ptw/webhooks/", id), &body).await {
            assert_eq!(status, 400, "{url}: {text}");
            assert!(text.starts_with("{\"url\":["), "{url}: {text}");
        }
    }
    let listed = hub.call(&tenant.key, "GET", "/api/v1/webhooks", None).await.expect(200);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["url"], "https://example.com/hook");
    hub.end().await;
}
