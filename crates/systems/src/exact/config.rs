//! What the owner of an Exact connector may set. A key that is not known is refused, so that a slip is seen at once.
//!
//! Nothing here prints a secret.

use std::collections::HashMap;
use std::fmt;

use busbar_domain::json;
use busbar_domain::secret::Secret;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::product::ProductType;
use crate::members::{Members, text};
use crate::refusal::{Fault, FieldRefusal, INVALID_TYPE, INVALID_VALUE, Refusals, UNKNOWN_FIELD, Unreadable, fault};

/// The longest token, in bytes; those of Exact are far longer than a secret that a person chooses.
pub const MAX_TOKEN_LEN: usize = 8 * 1024;

/// The most item groups that have a product type of their own.
pub const MAX_ITEM_GROUPS: usize = 10_000;

/// The most roles that hear of one thing.
pub const MAX_ROLES: usize = 20;

/// The settings of one connector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The product type of an item whose group has none.
    pub default_product_type: Option<ProductType>,
    /// The product types of Exact's item groups.
    pub product_type_by_item_group: HashMap<Uuid, ProductType>,
    /// Who hears of what.
    pub notify: Notify,
    /// How to reach Exact Online itself, where Zapier does not stand between.
    pub direct: Option<Direct>,
}

/// The roles that are told of an order's progress; the tenant says whose addresses they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Who hears that an order's materials are complete.
    pub ready_to_start: Vec<String>,
    /// Who hears that an order is in production.
    pub in_progress: Vec<String>,
}

/// The roles that the system in the field tells.
impl Default for Notify {
    fn default() -> Self {
        Self {
            ready_to_start: vec!["admin".to_owned(), "supervisor".to_owned()],
            in_progress: vec!["operator".to_owned()],
        }
    }
}

/// The registration of an app at Exact Online, for one division.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// Where the API is, such as `https://start.exactonline.nl`, without a slash at its end.
    pub base_url: String,
    /// Where a person grants access.
    pub auth_url: String,
    /// Where tokens are made and renewed.
    pub token_url: String,
    /// The administration.
    pub division: u32,
    /// The app.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: Secret,
    /// The token that the next access token is made with; each renewal replaces it.
    pub refresh_token: Option<Token>,
    /// The secret of Exact's own notifications, which is not the app's.
    pub webhook_secret: Option<Secret>,
}

/// A token of OAuth; it does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The only door for a token.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = (1..=MAX_TOKEN_LEN).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        valid.then(|| Self(text.to_owned()))
    }

    /// The plaintext: for sealing, and for sending.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl Config {
    /// Reads the settings; all that is wrong with them is told at once.
    pub fn parse(config: &[u8]) -> Result<Self, Vec<FieldRefusal>> {
        let unreadable = |unreadable: Unreadable| vec![FieldRefusal::from(unreadable)];
        let compact = json::compact(config).map_err(|invalid| unreadable(invalid.into()))?;
        let mut root = Section { at: &[], members: Members::read(&compact).map_err(unreadable)? };
        let mut wrong = Refusals::default();
        let default_product_type = root.optional("default_product_type", product_type, &mut wrong);
        let product_type_by_item_group = root
            .object("product_type_by_item_group", &["product_type_by_item_group"], &mut wrong)
            .map(|groups| item_groups(groups, &mut wrong))
            .unwrap_or_default();
        let notify = root.object("notify", &["notify"], &mut wrong).map(|notify| self::notify(notify, &mut wrong));
        let direct = root.object("direct", &["direct"], &mut wrong).map(|direct| self::direct(direct, &mut wrong));
        root.end(&mut wrong);
        if !wrong.is_empty() {
            return Err(wrong.into_vec());
        }
        Ok(Self {
            default_product_type,
            product_type_by_item_group,
            notify: notify.unwrap_or_default(),
            direct: direct.flatten(),
        })
    }
}

/// One object of the settings, and where it is.
struct Section<'b> {
    at: &'static [&'static str],
    members: Members<'b>,
}

impl<'b> Section<'b> {
    /// A setting that may be missing; what is wrong with it is noted.
    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'b RawValue) -> Result<T, Fault>,
        wrong: &mut Refusals,
    ) -> Option<T> {
        let value = self.members.optional(name).and_then(|value| value.map(read).transpose());
        value.unwrap_or_else(|fault| {
            wrong.note(&[self.at, &[name]].concat(), fault);
            None
        })
    }

    /// A setting that must be there; what is wrong with it is noted.
    fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&'b RawValue) -> Result<T, Fault>,
        wrong: &mut Refusals,
    ) -> Option<T> {
        let value = self.members.required(name).and_then(read);
        value.map_err(|fault| wrong.note(&[self.at, &[name]].concat(), fault)).ok()
    }

    /// A setting that holds further ones.
    fn object(&mut self, name: &str, at: &'static [&'static str], wrong: &mut Refusals) -> Option<Section<'b>> {
        let read = |value: &'b RawValue| {
            let members = Members::read(value.get().as_bytes());
            members.map_err(|_| fault(INVALID_TYPE, "This setting must be an object."))
        };
        self.optional(name, read, wrong).map(|members| Section { at, members })
    }

    /// Refuses what nobody has asked for.
    fn end(self, wrong: &mut Refusals) {
        for (name, _) in self.members.rest() {
            wrong.note(&[self.at, &[&name]].concat(), fault(UNKNOWN_FIELD, "This setting is not known."));
        }
    }
}

fn item_groups(groups: Section<'_>, wrong: &mut Refusals) -> HashMap<Uuid, ProductType> {
    let groups = groups.members.rest();
    if groups.len() > MAX_ITEM_GROUPS {
        let sentence = format!("This setting may have at most {MAX_ITEM_GROUPS} item groups.");
        wrong.note(&["product_type_by_item_group"], (INVALID_VALUE, sentence.into()));
        return HashMap::new();
    }
    let mut types = HashMap::with_capacity(groups.len());
    for (name, value) in groups {
        let group = Uuid::try_parse(&name).map_err(|_| fault(INVALID_VALUE, "An item group is named by its UUID."));
        match group.and_then(|group| Ok((group, product_type(value)?))) {
            Ok((group, kind)) => {
                if types.insert(group, kind).is_some() {
                    let twice = fault(INVALID_VALUE, "This item group may be there only once.");
                    wrong.note(&["product_type_by_item_group", &name], twice);
                }
            }
            Err(fault) => wrong.note(&["product_type_by_item_group", &name], fault),
        }
    }
    types
}

fn notify(mut section: Section<'_>, wrong: &mut Refusals) -> Notify {
    let usual = Notify::default();
    let notify = Notify {
        ready_to_start: section.optional("ready_to_start", roles, wrong).unwrap_or(usual.ready_to_start),
        in_progress: section.optional("in_progress", roles, wrong).unwrap_or(usual.in_progress),
    };
    section.end(wrong);
    notify
}

fn direct(mut section: Section<'_>, wrong: &mut Refusals) -> Option<Direct> {
    let base_url = section.required("base_url", url, wrong);
    let auth_url = section.optional("auth_url", url, wrong);
    let token_url = section.optional("token_url", url, wrong);
    let division = section.required("division", division, wrong);
    let client_id = section.required("client_id", client_id, wrong);
    let client_secret = section.required("client_secret", secret, wrong);
    let refresh_token = section.optional("refresh_token", token, wrong);
    let webhook_secret = section.optional("webhook_secret", secret, wrong);
    section.end(wrong);
    let base_url = base_url?;
    Some(Direct {
        auth_url: auth_url.unwrap_or_else(|| format!("{base_url}/api/oauth2/auth")),
        token_url: token_url.unwrap_or_else(|| format!("{base_url}/api/oauth2/token")),
        base_url,
        division: division?,
        client_id: client_id?,
        client_secret: client_secret?,
        refresh_token,
        webhook_secret,
    })
}

fn product_type(value: &RawValue) -> Result<ProductType, Fault> {
    ProductType::parse(&text(value)?).ok_or_else(|| (INVALID_VALUE, ProductType::sentence().into()))
}

fn roles(value: &RawValue) -> Result<Vec<String>, Fault> {
    let roles: Vec<String> = serde_json::from_str(value.get())
        .map_err(|_| fault(INVALID_TYPE, "This setting must be an array of names of roles."))?;
    let named = |role: &String| (1..=100).contains(&role.len()) && role.trim() == role && !role.contains('\0');
    if roles.len() > MAX_ROLES || !roles.iter().all(named) {
        let sentence =
            "This setting must have at most 20 names of roles, each of 1 to 100 bytes without space around it.";
        return Err(fault(INVALID_VALUE, sentence));
    }
    Ok(roles)
}

/// An address of Exact; whether plain `http` may be called is the way out's decision.
fn url(value: &RawValue) -> Result<String, Fault> {
    let text = text(value)?;
    let url = text.trim_end_matches('/');
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let plain =
        url.len() <= 2048 && url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}?#@".contains(&byte));
    if host.is_empty() || !plain {
        return Err(fault(INVALID_VALUE, "This setting must be an https URL without a query, a fragment or a user."));
    }
    Ok(url.to_owned())
}

fn division(value: &RawValue) -> Result<u32, Fault> {
    let division = value.get().parse().ok().filter(|division| *division > 0);
    division.ok_or(fault(INVALID_VALUE, "This setting must be the number of a division."))
}

fn client_id(value: &RawValue) -> Result<String, Fault> {
    let text = text(value)?;
    let valid = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then(|| text.into_owned()).ok_or(fault(INVALID_VALUE, "This setting must have 1 to 255 visible characters."))
}

fn secret(value: &RawValue) -> Result<Secret, Fault> {
    Secret::parse(&text(value)?)
        .map_err(|invalid| (INVALID_VALUE, format!("This setting is no secret: {invalid}.").into()))
}

fn token(value: &RawValue) -> Result<Token, Fault> {
    Token::parse(&text(value)?).ok_or(fault(INVALID_VALUE, "This setting must have 1 to 8192 visible characters."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = include_str!("fixtures/config.json");

    fn refused(config: &str) -> Vec<(String, &'static str)> {
        let refusals = Config::parse(config.as_bytes()).unwrap_err();
        assert!(refusals.iter().all(|refusal| refusal.sentence.ends_with('.')));
        refusals.into_iter().map(|refusal| (refusal.pointer, refusal.code)).collect()
    }

    #[test]
    fn every_setting_is_read_and_no_secret_prints() {
        let config = Config::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(config.default_product_type, Some(ProductType::SdmEco));
        let group = Uuid::parse_str("9a1f3f8e-5c3d-4a2b-8f62-0d4f0c1b2a3e").unwrap();
        assert_eq!(config.product_type_by_item_group.get(&group), Some(&ProductType::Sensor));
        assert_eq!((config.notify.ready_to_start.len(), config.notify.in_progress.len()), (1, 0));
        let direct = config.direct.as_ref().unwrap();
        assert_eq!(direct.base_url, "https://start.exactonline.nl");
        assert_eq!(direct.auth_url, "https://start.exactonline.nl/api/oauth2/auth");
        assert_eq!(direct.token_url, "https://start.exactonline.nl/api/oauth2/token");
        assert_eq!((direct.division, direct.refresh_token.as_ref().unwrap().expose()), (2_256_995, "stampNL001.renew"));
        let printed = format!("{config:?}");
        for secret in ["app-secret", "stampNL001", "hook-secret"] {
            assert!(WHOLE.contains(secret) && !printed.contains(secret), "{secret}");
        }
    }

    #[test]
    fn nothing_must_be_set() {
        let config = Config::parse(b"{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.notify.ready_to_start, ["admin", "supervisor"]);
        assert_eq!(config.notify.in_progress, ["operator"]);
        let nulls = br#"{"default_product_type":null,"product_type_by_item_group":null,"notify":null,"direct":null}"#;
        assert_eq!(Config::parse(nulls).unwrap(), config);
    }

    #[test]
    fn a_key_that_is_not_known_is_named() {
        assert_eq!(
            refused(
                r#"{"a/b":1,"notify":{"ready":[]},"direct":{"base_url":"https://x","division":1,"client_id":"c","client_secret":"s","secret":"t"}}"#
            ),
            [
                ("/notify/ready".to_owned(), UNKNOWN_FIELD),
                ("/direct/secret".to_owned(), UNKNOWN_FIELD),
                ("/a~1b".to_owned(), UNKNOWN_FIELD),
            ]
        );
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let wrong = r#"{"default_product_type":"CAR","product_type_by_item_group":{"pumps":"MLA",
            "9a1f3f8e-5c3d-4a2b-8f62-0d4f0c1b2a3e":"mla"},"notify":{"ready_to_start":["a",1],"in_progress":[" b"]},
            "direct":{"base_url":"ftp://x","auth_url":"https://u@x","division":0,"client_secret":" ","refresh_token":""}}"#;
        let pointers: Vec<_> = refused(wrong).into_iter().map(|(pointer, _)| pointer).collect();
        assert_eq!(
            pointers,
            [
                "/default_product_type",
                "/product_type_by_item_group/pumps",
                "/product_type_by_item_group/9a1f3f8e-5c3d-4a2b-8f62-0d4f0c1b2a3e",
                "/notify/ready_to_start",
                "/notify/in_progress",
                "/direct/base_url",
                "/direct/auth_url",
                "/direct/division",
                "/direct/client_id",
                "/direct/client_secret",
                "/direct/refresh_token",
            ]
        );
        assert_eq!(refused("[]"), [(String::new(), "NOT_AN_OBJECT")]);
        assert_eq!(refused(r#"{"direct":[]}"#), [("/direct".to_owned(), INVALID_TYPE)]);
    }
}
