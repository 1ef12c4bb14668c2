//! Masks what text may tell about people and networks before it leaves the hub.
//!
//! One pass from left to right; every look ahead is bounded or consumed, so time is linear in the text.
//! Counts, exit codes, HTTP codes, times and versions stay, since operators need them.

mod context;
mod number;
mod shape;

use std::borrow::Cow;

use context::Context;

/// Stands for an e-mail address.
pub const EMAIL_TOKEN: &str = "[EMAIL_REDACTED]";
/// Stands for an identifier: a social security number, a labelled or a long number.
pub const ID_TOKEN: &str = "[ID_REDACTED]";
/// Stands for an IPv4 or IPv6 address.
pub const IP_TOKEN: &str = "[IP_REDACTED]";
/// Stands for an internal host's name.
pub const HOST_TOKEN: &str = "[HOST_REDACTED]";

/// Masks a text.
pub fn mask(text: &str) -> Cow<'_, str> {
    Scanner::new(text, Context::default()).scan()
}

/// Masks a text that stands under `name`, as `emplid` in metadata: the name says what the text is.
pub fn mask_member<'t>(name: &'t str, text: &'t str) -> Cow<'t, str> {
    Scanner::new(text, Context::under(name)).scan()
}

/// Whether whatever stands under `name` identifies a person, even a short number.
pub fn names_person(name: &str) -> bool {
    Context::under(name).labels_person()
}

struct Scanner<'t> {
    text: &'t str,
    /// Where the scan stands; everything before is decided.
    at: usize,
    /// Up to where the text is in `out`.
    copied: usize,
    out: String,
    context: Context<'t>,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str, context: Context<'t>) -> Self {
        Self { text, at: 0, copied: 0, out: String::new(), context }
    }

    fn scan(mut self) -> Cow<'t, str> {
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            if byte.is_ascii_alphanumeric() || !byte.is_ascii() {
                self.run();
            } else if byte == b':' {
                self.colon();
            } else {
                self.at += 1;
            }
        }
        if self.copied == 0 {
            return Cow::Borrowed(self.text);
        }
        self.out.push_str(&self.text[self.copied..]);
        Cow::Owned(self.out)
    }

    /// Decides a run of the characters that addresses are made of.
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let end = shape::end_of(bytes, start, shape::is_address);
        if let Some(end) = shape::ipv6(self.text, start) {
            return self.replace(end, IP_TOKEN);
        }
        if bytes.get(end) == Some(&b'@')
            && let Some(end) = shape::mail_domain(bytes, end + 1)
        {
            return self.replace(end, EMAIL_TOKEN);
        }
        let name_end = shape::without_punctuation(bytes, start, end);
        let name = &self.text[start..name_end];
        if shape::is_internal_host(name) || (self.context.labels_host(self.text, start) && shape::is_host_like(name)) {
            return self.replace(name_end, HOST_TOKEN);
        }
        while self.at < end {
            if bytes[self.at].is_ascii_alphanumeric() {
                self.word();
            } else {
                self.at += 1;
            }
        }
    }

    /// An IPv6 address may begin with two colons.
    fn colon(&mut self) {
        let bytes = self.text.as_bytes();
        let follows_a_word = self.at > 0 && bytes[self.at - 1].is_ascii_alphanumeric();
        if bytes.get(self.at + 1) == Some(&b':')
            && !follows_a_word
            && let Some(end) = shape::ipv6(self.text, self.at)
        {
            return self.replace(end, IP_TOKEN);
        }
        self.at += 1;
    }

    /// Decides one word of ASCII letters and digits.
    fn word(&mut self) {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let end = shape::end_of(bytes, start, |byte| byte.is_ascii_alphanumeric());
        if let Some(end) = shape::uuid(bytes, start).or_else(|| shape::date(bytes, start)) {
            self.context.forget();
            self.at = end;
            return;
        }
        if let Some(end) = shape::ipv4(bytes, start)
            && !self.context.labels_version(self.text, start)
        {
            return self.replace(end, IP_TOKEN);
        }
        if let Some(end) = self.labelled(start, end) {
            let label = self.context;
            self.replace(end, ID_TOKEN);
            self.context = label.with_identifier(end);
            return;
        }
        if let Some(end) = number::identifier(self.text, start, end, &self.context) {
            return self.replace(end, ID_TOKEN);
        }
        self.context.push(self.text, start, end);
        self.at = end;
    }

    /// The end of an identifier that the words before it, or its own first letters, call one.
    fn labelled(&self, start: usize, end: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        if number::is_measured(bytes, start, end) {
            return None;
        }
        if self.context.labels_value(self.text, start, end) {
            return shape::labelled_value(bytes, start);
        }
        let bare = bytes[start..end].iter().all(u8::is_ascii_digit) && end - start >= number::LONG_FOR_A_PERSON;
        if bare && self.context.names_human(self.text, start) && !number::is_first_of(bytes, start, end) {
            return Some(end);
        }
        let digits = start + bytes[start..end].iter().position(u8::is_ascii_digit)?;
        let (label, value) = (&self.text[start..digits], &bytes[digits..end]);
        (context::is_label("", label) && value.iter().all(u8::is_ascii_digit)).then_some(end)
    }

    fn replace(&mut self, end: usize, token: &str) {
        self.out.push_str(&self.text[self.copied..self.at]);
        self.out.push_str(token);
        self.copied = end;
        self.at = end;
        self.context.forget();
    }
}

#[cfg(test)]
mod tests;
