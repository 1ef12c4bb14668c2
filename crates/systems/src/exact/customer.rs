//! `sync_customers`: the companies that orders are made for.

use std::fmt;

use super::code::Wrong;
use super::fields::{Fields, Names, code, flag, object, words};

/// The list of customers in a body.
pub(super) const LISTS: Names = &["customers"];

/// One customer.
#[derive(Clone, PartialEq, Eq)]
pub struct Customer {
    /// Exact's id, by which a repeat is the same customer.
    pub exact_customer_id: String,
    /// The name, as sent.
    pub name: String,
    /// The Dutch name, as sent.
    pub name_nl: Option<String>,
    /// An e-mail address, as sent.
    pub email: Option<String>,
    /// A telephone number, as sent.
    pub phone: Option<String>,
    /// Where it is.
    pub address: Option<Address>,
    /// Whether it is in use.
    pub is_active: bool,
}

/// A postal address, as sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// Street and number.
    pub street: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// Country, by whatever name.
    pub country: Option<String>,
}

/// It may name a person, so only the id prints.
impl fmt::Debug for Customer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Customer")
            .field("exact_customer_id", &self.exact_customer_id)
            .field("is_active", &self.is_active)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(***)")
    }
}

impl Customer {
    /// Reads one row.
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            exact_customer_id: fields.required(&["exact_customer_id"], code)?,
            name: fields.required(&["name"], words)?,
            name_nl: fields.optional(&["name_nl"], words)?,
            email: fields.optional(&["email"], words)?,
            phone: fields.optional(&["phone"], words)?,
            address: match fields.optional(&["address"], object)? {
                Some(address) => Some(Address::read(address).map_err(|wrong| wrong.under("address"))?),
                None => None,
            },
            is_active: fields.optional(&["is_active"], flag)?.unwrap_or(true),
        })
    }
}

impl Address {
    fn read(mut fields: Fields<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            street: fields.optional(&["street"], words)?,
            city: fields.optional(&["city"], words)?,
            postal_code: fields.optional(&["postal_code"], words)?,
            country: fields.optional(&["country"], words)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(row: &str) -> Result<Customer, String> {
        Customer::read(Fields::read(row.as_bytes()).unwrap()).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn two_fields_are_enough() {
        let customer =
            read(r#"{"exact_customer_id":" c ","name":"Acme","address":null,"email":"","vat":"x"}"#).unwrap();
        assert_eq!((customer.exact_customer_id.as_str(), customer.is_active), ("c", true));
        assert_eq!((customer.email, customer.address), (None, None));
    }

    #[test]
    fn a_row_is_refused_with_the_field_at_fault() {
        for (row, error) in [
            (r#"{"name":"Acme"}"#, "exact_customer_id: This field is required."),
            (r#"{"exact_customer_id":"c","name":" "}"#, "name: This field is required."),
            (
                r#"{"exact_customer_id":"c","name":"n","address":{"city":1}}"#,
                "address.city: This field must be a string.",
            ),
            (
                r#"{"exact_customer_id":"c","name":"n","address":"Amsterdam"}"#,
                "address: This must be an object of whole Unicode text.",
            ),
        ] {
            assert_eq!(read(row).unwrap_err(), error);
        }
    }

    #[test]
    fn nobody_is_named_in_a_log() {
        let customer =
            read(r#"{"exact_customer_id":"c","name":"Jane","address":{"city":"Delft"},"phone":"+31"}"#).unwrap();
        let printed = format!("{customer:?} {:?}", customer.address);
        assert!(!printed.contains("Jane") && !printed.contains("Delft") && !printed.contains("+31"));
    }
}
