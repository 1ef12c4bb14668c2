//! How the hub keeps what Exact sends, and a connector's settings without what is secret in them.

use busbar_domain::shop_order::MaterialsStatus;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::assignment::MaterialBatch;
use super::number::Number;
use super::work_order::{Material, MaterialsSummary};

/// The section of the settings that has secrets.
const DIRECT: &str = "direct";

/// The secrets of that section.
const SECRETS: [&str; 3] = ["client_secret", "refresh_token", "webhook_secret"];

/// What those secrets are sent to: with another one of these they have to be given again.
const TARGETS: [&str; 3] = ["base_url", "auth_url", "token_url"];

/// Settings in two parts: what may be shown, and what is secret, if anything is. Both are compact JSON.
///
/// `config` has been checked: [`super::Config::parse`].
pub fn split(config: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut public = members(config);
    let mut secrets = Map::new();
    if let Some(Value::Object(direct)) = public.get_mut(DIRECT) {
        for name in SECRETS {
            if let Some(secret) = direct.shift_remove(name) {
                secrets.insert(name.to_owned(), secret);
            }
        }
    }
    (bytes(&public), (!secrets.is_empty()).then(|| bytes(&secrets)))
}

/// The settings that `sent` stand for where it leaves out secrets: those that are stored are put in their places.
///
/// They go only to where they went: `None` if another address is named and a secret is left out.
pub fn completed(sent: &[u8], stored: &[u8], secrets: Option<&[u8]>) -> Option<Vec<u8>> {
    let (mut sent, stored) = (members(sent), members(stored));
    let secrets = secrets.map(members).unwrap_or_default();
    let (Some(Value::Object(direct)), Some(Value::Object(before))) = (sent.get_mut(DIRECT), stored.get(DIRECT)) else {
        return Some(bytes(&sent));
    };
    let is_elsewhere = TARGETS.iter().any(|name| direct.get(*name) != before.get(*name));
    for (name, secret) in secrets {
        if !direct.contains_key(&name) {
            if is_elsewhere {
                return None;
            }
            direct.insert(name, secret);
        }
    }
    Some(bytes(&sent))
}

/// Stored settings as far as actions need them: without the section whose secrets are kept elsewhere.
pub fn for_actions(config: &[u8]) -> Vec<u8> {
    let mut public = members(config);
    public.shift_remove(DIRECT);
    bytes(&public)
}

fn members(config: &[u8]) -> Map<String, Value> {
    serde_json::from_slice(config).unwrap_or_default()
}

fn bytes(members: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(members).unwrap_or_default()
}

#[derive(Serialize)]
struct SummaryText<'s> {
    #[serde(skip_serializing_if = "Option::is_none")]
    projected_stock: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_stock: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shortage: Option<Box<RawValue>>,
    items: Vec<MaterialText<'s>>,
}

#[derive(Serialize)]
struct MaterialText<'m> {
    material_code: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    material_name: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_qty: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available_qty: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
}

#[derive(Serialize)]
struct BatchText<'b> {
    material_code: &'b str,
    batch_number: &'b str,
}

/// A summary of materials as JSON, its numbers as they were sent.
pub fn summary_text(summary: &MaterialsSummary) -> String {
    let text = SummaryText {
        projected_stock: raw(summary.projected_stock.as_ref()),
        in_stock: raw(summary.in_stock.as_ref()),
        shortage: raw(summary.shortage.as_ref()),
        items: summary.items.iter().map(material_text).collect(),
    };
    serde_json::to_string(&text).unwrap_or_default()
}

fn material_text(material: &Material) -> MaterialText<'_> {
    MaterialText {
        material_code: &material.material_code,
        material_name: material.material_name.as_deref(),
        required_qty: raw(material.required_qty.as_ref()),
        available_qty: raw(material.available_qty.as_ref()),
        status: material.status.map(MaterialsStatus::as_str),
    }
}

/// The materials of one item with their batches, as JSON.
pub fn batches_text(batches: &[MaterialBatch]) -> String {
    let text = |batch: &MaterialBatch| {
        serde_json::to_string(&BatchText { material_code: &batch.material_code, batch_number: &batch.batch_number })
    };
    let texts: Vec<String> = batches.iter().filter_map(|batch| text(batch).ok()).collect();
    format!("[{}]", texts.join(","))
}

fn raw(number: Option<&Number>) -> Option<Box<RawValue>> {
    RawValue::from_string(number?.as_str().to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::config::Config;

    const WHOLE: &[u8] = include_bytes!("fixtures/config.json");

    #[test]
    fn settings_and_their_secrets_part_and_come_together_again() {
        let whole = busbar_domain::json::compact(WHOLE).unwrap();
        let (public, secrets) = split(&whole);
        let shown = String::from_utf8(public.clone()).unwrap();
        for name in SECRETS {
            assert!(!shown.contains(name), "{shown}");
        }
        let again = completed(&public, &public, secrets.as_deref()).unwrap();
        assert_eq!(Config::parse(&again), Config::parse(&whole));
        assert_eq!(split(b"{}"), (b"{}".to_vec(), None));
        assert!(Config::parse(&for_actions(&public)).unwrap().direct.is_none());
    }

    #[test]
    fn a_secret_does_not_follow_to_another_address() {
        let (public, secrets) = split(&busbar_domain::json::compact(WHOLE).unwrap());
        let mut moved: Value = serde_json::from_slice(&public).unwrap();
        moved[DIRECT]["base_url"] = "https://elsewhere.example".into();
        let moved = moved.to_string();
        assert_eq!(completed(moved.as_bytes(), &public, secrets.as_deref()), None);
    }

    #[test]
    fn numbers_are_kept_as_they_were_sent() {
        let number = |text: &str| Number::parse(text).ok();
        let material = Material {
            material_code: "M".to_owned(),
            material_name: None,
            required_qty: number("10.50"),
            available_qty: number("-0"),
            status: None,
        };
        let summary =
            MaterialsSummary { projected_stock: number("1e2"), in_stock: None, shortage: None, items: vec![material] };
        let text = r#"{"projected_stock":1e2,"items":[{"material_code":"M","required_qty":10.50,"available_qty":-0}]}"#;
        assert_eq!(summary_text(&summary), text);
        let batch = MaterialBatch { material_code: "M\"".to_owned(), batch_number: "B".to_owned() };
        assert_eq!(batches_text(&[batch]), r#"[{"material_code":"M\"","batch_number":"B"}]"#);
    }
}
