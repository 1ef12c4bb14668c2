//! From Zapier's items, which name no product type, to products, which have one; and what columns of JSON hold.

use busbar_domain::json::push_string;
use uuid::Uuid;

use super::assignment::MaterialBatch;
use super::config::Config;
use super::number::Number;
use super::product::ProductType;
use super::work_order::{Material, MaterialsSummary};

/// The product type of an item: the one that was sent, else its group's, else the connector's default.
///
/// With none of them the row is refused.
pub fn product_type(sent: Option<ProductType>, item_group: Option<&str>, config: &Config) -> Option<ProductType> {
    let by_group = || {
        let group = Uuid::try_parse(item_group?).ok()?;
        config.product_type_by_item_group.get(&group).copied()
    };
    sent.or_else(by_group).or(config.default_product_type)
}

impl MaterialsSummary {
    /// Compact JSON in the shape of the contract, with null for what was not sent.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Object::default();
        out.number("projected_stock", self.projected_stock.as_ref());
        out.number("in_stock", self.in_stock.as_ref());
        out.number("shortage", self.shortage.as_ref());
        out.list("items", self.items.iter().map(Material::to_object));
        out.end()
    }
}

impl Material {
    fn to_object(&self) -> Object {
        let mut out = Object::default();
        out.text("material_code", Some(&self.material_code));
        out.text("material_name", self.material_name.as_deref());
        out.number("required_qty", self.required_qty.as_ref());
        out.number("available_qty", self.available_qty.as_ref());
        out.text("status", self.status.map(busbar_domain::shop_order::MaterialsStatus::as_str));
        out
    }
}

impl MaterialBatch {
    /// Compact JSON of an item's materials: `[{"material_code","batch_number"}]`.
    pub fn list_to_json(materials: &[Self]) -> Vec<u8> {
        let objects = materials.iter().map(|material| {
            let mut out = Object::default();
            out.text("material_code", Some(&material.material_code));
            out.text("batch_number", Some(&material.batch_number));
            out
        });
        array(objects)
    }
}

/// An object that is being written, with its numbers as they are.
#[derive(Default)]
struct Object(Vec<u8>);

impl Object {
    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
        push_string(&mut self.0, name);
        self.0.push(b':');
    }

    fn text(&mut self, name: &str, text: Option<&str>) {
        self.name(name);
        match text {
            Some(text) => push_string(&mut self.0, text),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn number(&mut self, name: &str, number: Option<&Number>) {
        self.name(name);
        self.0.extend_from_slice(number.map_or("null", Number::as_str).as_bytes());
    }

    fn list(&mut self, name: &str, objects: impl Iterator<Item = Self>) {
        self.name(name);
        self.0.extend_from_slice(&array(objects));
    }

    fn end(mut self) -> Vec<u8> {
        self.0.push(b'}');
        self.0
    }
}

fn array(objects: impl Iterator<Item = Object>) -> Vec<u8> {
    let mut out = vec![b'['];
    for object in objects {
        if out.len() > 1 {
            out.push(b',');
        }
        out.extend_from_slice(&object.end());
    }
    out.push(b']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use busbar_domain::json;
    use busbar_domain::shop_order::MaterialsStatus;

    #[test]
    fn what_was_sent_wins_then_the_group_then_the_default() {
        let group = "9a1f3f8e-5c3d-4a2b-8f62-0d4f0c1b2a3e";
        let mut config =
            Config::parse(format!(r#"{{"product_type_by_item_group":{{"{group}":"SENSOR"}}}}"#).as_bytes()).unwrap();
        let upper = group.to_uppercase();
        assert_eq!(product_type(Some(ProductType::Hmi), Some(group), &config), Some(ProductType::Hmi));
        assert_eq!(product_type(None, Some(&upper), &config), Some(ProductType::Sensor));
        assert_eq!(product_type(None, Some("pumps"), &config), None);
        assert_eq!(product_type(None, None, &config), None);
        config.default_product_type = Some(ProductType::Mla);
        assert_eq!(product_type(None, Some("pumps"), &config), Some(ProductType::Mla));
        assert_eq!(product_type(None, Some(group), &config), Some(ProductType::Sensor));
    }

    #[test]
    fn a_column_holds_what_was_sent() {
        let material = Material {
            material_code: "MAT-001".to_owned(),
            material_name: Some("Transducer \"Unit\"".to_owned()),
            required_qty: Number::parse("10.50").ok(),
            available_qty: None,
            status: Some(MaterialsStatus::Partial),
        };
        let mut summary = MaterialsSummary {
            projected_stock: Number::parse("100").ok(),
            in_stock: None,
            shortage: None,
            items: vec![],
        };
        assert_eq!(summary.to_json(), br#"{"projected_stock":100,"in_stock":null,"shortage":null,"items":[]}"#);
        summary.items = vec![material.clone(), material];
        let json = summary.to_json();
        assert_eq!(json::compact(&json).unwrap(), json);
        let one = r#"{"material_code":"MAT-001","material_name":"Transducer \"Unit\"","required_qty":10.50,"available_qty":null,"status":"partial"}"#;
        assert!(String::from_utf8(json).unwrap().ends_with(&format!(r#""items":[{one},{one}]}}"#)));
        let batch = MaterialBatch { material_code: "M".to_owned(), batch_number: "B".to_owned() };
        assert_eq!(MaterialBatch::list_to_json(&[batch]), br#"[{"material_code":"M","batch_number":"B"}]"#);
        assert_eq!(MaterialBatch::list_to_json(&[]), b"[]");
    }
}
