//! `sync_products`: items of the catalogue, in the documented shape or as Zapier finds them at Exact.

use super::code::Wrong;
use super::config::Config;
use super::fields::{Fields, Names, code, flag, missing, number, words};
use super::mapping;
use super::number::Number;
use crate::members::text;
use crate::refusal::{Fault, INVALID_VALUE};
use serde_json::value::RawValue;

/// The lists of products that a body may have; the documented name stands first.
pub(super) const LISTS: Names = &["products", "Items", "items"];

const EXACT_ITEM_ID: Names = &["exact_item_id", "Items ID", "items_id", "ID"];
const ITEM_CODE: Names = &["item_code", "Items Code", "items_code", "Code"];
const NAME: Names = &["name", "Items Description", "items_description", "Description"];
const ITEM_GROUP: Names = &["item_group", "items_group", "Items Item Group", "items_item_group", "ItemGroup"];
const BARCODE: Names = &["barcode", "Items Barcode", "items_barcode", "Barcode"];
const STOCK: Names = &["stock", "Items Stock", "items_stock", "Stock"];

/// The kinds of product that the production app knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProductType {
    /// `SDM_ECO`.
    SdmEco,
    /// `SENSOR`.
    Sensor,
    /// `MLA`.
    Mla,
    /// `HMI`.
    Hmi,
    /// `TRANSMITTER`.
    Transmitter,
}

impl ProductType {
    /// Every type, in the order of the contract.
    pub const ALL: [Self; 5] = [Self::SdmEco, Self::Sensor, Self::Mla, Self::Hmi, Self::Transmitter];

    /// The type's name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SdmEco => "SDM_ECO",
            Self::Sensor => "SENSOR",
            Self::Mla => "MLA",
            Self::Hmi => "HMI",
            Self::Transmitter => "TRANSMITTER",
        }
    }

    /// Reads a type's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What a value that is none of them is told.
    pub(super) fn sentence() -> String {
        format!("This must be one of {}.", Self::ALL.map(Self::as_str).join(", "))
    }
}

/// One item of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// Exact's id, by which a repeat is the same product.
    pub exact_item_id: String,
    /// The code that people know it by.
    pub item_code: String,
    /// The name, as sent.
    pub name: String,
    /// The Dutch name, as sent.
    pub name_nl: Option<String>,
    /// What it is, as sent.
    pub description: Option<String>,
    /// Its kind: the one sent, its group's, or the connector's default.
    pub product_type: ProductType,
    /// Whether it is in use.
    pub is_active: bool,
    /// The id of its group at Exact.
    pub item_group: Option<String>,
    /// The code on its label.
    pub barcode: Option<String>,
    /// How much of it there is, which may be less than nothing, as written.
    pub stock: Option<Number>,
}

impl Product {
    /// Reads one row.
    pub(super) fn read(mut fields: Fields<'_>, config: &Config) -> Result<Self, Wrong> {
        let exact_item_id = fields.required(EXACT_ITEM_ID, code)?;
        let item_code = fields.required(ITEM_CODE, code)?;
        let name = fields.required(NAME, words)?;
        let sent = fields.optional(&["product_type"], kind)?;
        let item_group = fields.optional(ITEM_GROUP, code)?;
        let product_type = mapping::product_type(sent, item_group.as_deref(), config);
        Ok(Self {
            exact_item_id,
            item_code,
            name,
            name_nl: fields.optional(&["name_nl"], words)?,
            description: fields.optional(&["description"], words)?,
            product_type: product_type.ok_or_else(|| missing("product_type"))?,
            is_active: fields.optional(&["is_active"], flag)?.unwrap_or(true),
            item_group,
            barcode: fields.optional(BARCODE, code)?,
            stock: fields.optional(STOCK, number)?,
        })
    }
}

fn kind(value: &RawValue) -> Result<Option<ProductType>, Fault> {
    let name = text(value)?;
    let name = name.trim();
    if name.is_empty() {
        return Ok(None);
    }
    ProductType::parse(name).map(Some).ok_or_else(|| (INVALID_VALUE, ProductType::sentence().into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(row: &str) -> Result<Product, String> {
        let config = Config { default_product_type: Some(ProductType::Hmi), ..Config::default() };
        Product::read(Fields::read(row.as_bytes()).unwrap(), &config).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn every_spelling_is_the_same_product() {
        let documented =
            read(r#"{"exact_item_id":"i","item_code":"c","name":"n","item_group":"g","barcode":"b","stock":-0.50}"#);
        let product = documented.clone().unwrap();
        assert_eq!((product.product_type, product.is_active), (ProductType::Hmi, true));
        assert_eq!(product.stock.unwrap().as_str(), "-0.50");
        for other in [
            r#"{"Items ID":"i","Items Code":"c","Items Description":"n","Items Item Group":"g","Items Barcode":"b","Items Stock":-0.50}"#,
            r#"{"items_id":"i","items_code":"\tc","items_description":"n","items_item_group":"g","items_barcode":"b","items_stock":"-0.50"}"#,
            r#"{"ID":"i","Code":" c ","Description":"n","Description_DN50":"2\"","ItemGroup":"g","Barcode":"b","Stock":-0.50}"#,
            r#"{"exact_item_id":"i","item_code":"c","name":"n","items_group":"g","barcode":"b","stock":-0.50,"is_active":null}"#,
        ] {
            assert_eq!(read(other), documented, "{other}");
        }
    }

    #[test]
    fn a_row_is_refused_with_the_field_at_fault() {
        for (row, error) in [
            (r#"{"ID":"i","Code":" ","Description":"n"}"#, "item_code: This field is required."),
            (r#"{"exact_item_id":null,"item_code":"c","name":"n"}"#, "exact_item_id: This field is required."),
            (r#"{"ID":"i","Code":"c","Description":""}"#, "name: This field is required."),
            (r#"{"ID":7,"Code":"c","Description":"n"}"#, "ID: This field must be a string."),
            (r#"{"ID":"i","ID":"j","Code":"c","Description":"n"}"#, "ID: This field may be there only once."),
            (
                r#"{"ID":"i","Code":"c","Description":"n","product_type":"CAR"}"#,
                "product_type: This must be one of SDM_ECO, SENSOR, MLA, HMI, TRANSMITTER.",
            ),
            (
                r#"{"ID":"i","Code":"c","Description":"n","is_active":"no"}"#,
                "is_active: This field must be true or false.",
            ),
            (
                r#"{"ID":"i","Code":"c","Description":"n","Stock":"many"}"#,
                "Stock: This field must be a decimal number of at most 40 characters.",
            ),
        ] {
            assert_eq!(read(row).unwrap_err(), error);
        }
        let none =
            Product::read(Fields::read(br#"{"ID":"i","Code":"c","Description":"n"}"#).unwrap(), &Config::default());
        assert_eq!(none.unwrap_err(), missing("product_type"));
    }
}
