//! Why the guard says no: a stable code for programs and a sentence for people.
//! The sentences name no address, since tenants read them.

use std::borrow::Cow;

use crate::range::AddressClass;
use crate::target::MAX_URL_LENGTH;

/// A request that the guard will not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The text is not an absolute URL, or holds characters that parsers disagree about.
    UrlInvalid,
    /// The URL is longer than [`MAX_URL_LENGTH`] bytes.
    UrlTooLong,
    /// Neither `http` nor `https`.
    SchemeNotAllowed,
    /// `http` where this hub sends over `https` only.
    HttpsRequired,
    /// A user name or password before the host.
    UserinfoNotAllowed,
    /// No host.
    HostMissing,
    /// A port that belongs to another protocol.
    PortNotAllowed,
    /// An address, literal or resolved, that may not be reached.
    AddressForbidden(AddressClass),
    /// A header that only the connection itself may set.
    HeaderNotAllowed,
}

impl Refusal {
    /// The code that API answers and delivery logs carry; never changes.
    pub fn code(self) -> &'static str {
        match self {
            Self::UrlInvalid => "URL_INVALID",
            Self::UrlTooLong => "URL_TOO_LONG",
            Self::SchemeNotAllowed => "SCHEME_NOT_ALLOWED",
            Self::HttpsRequired => "HTTPS_REQUIRED",
            Self::UserinfoNotAllowed => "USERINFO_NOT_ALLOWED",
            Self::HostMissing => "HOST_MISSING",
            Self::PortNotAllowed => "PORT_NOT_ALLOWED",
            Self::AddressForbidden(_) => "ADDRESS_FORBIDDEN",
            Self::HeaderNotAllowed => "HEADER_NOT_ALLOWED",
        }
    }

    /// What is wrong and what to change.
    pub fn sentence(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UrlInvalid => {
                "Give an absolute URL such as https://example.com/hook, without spaces, \
                 control characters or backslashes."
            }
            Self::UrlTooLong => {
                return Cow::Owned(format!("Give a URL of at most {MAX_URL_LENGTH} bytes."));
            }
            Self::SchemeNotAllowed => "Use a URL that begins with https:// or http://.",
            Self::HttpsRequired => "Use a URL that begins with https://.",
            Self::UserinfoNotAllowed => "Remove the user name and password from the URL; send credentials as a header.",
            Self::HostMissing => "Name a host in the URL.",
            Self::PortNotAllowed => "Use another port; this one belongs to a protocol other than HTTP.",
            Self::AddressForbidden(class) => {
                return Cow::Owned(format!(
                    "The URL leads to {}; use a host that is publicly reachable, or ask the \
                     hub's operator to allow its range.",
                    class.as_phrase()
                ));
            }
            Self::HeaderNotAllowed => {
                "Remove the header that belongs to the connection, such as Host, Content-Length \
                 or Connection."
            }
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence())
    }
}

impl std::error::Error for Refusal {}
