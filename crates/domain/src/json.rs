//! Writes JSON text once, compact: no white space, UTF-8 unescaped, key order and numbers as they were sent.
//!
//! The result equals what `JSON.stringify(JSON.parse(text))` gives for strings, so a receiver that parses
//! and prints again checks the same bytes. Works on text, never on a tree, so nothing is rounded or reordered.

/// The deepest nesting that is accepted.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not JSON that we take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not JSON; the offset is in bytes.
    #[error("not valid JSON at byte {0}")]
    Syntax(usize),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Not UTF-8.
    #[error("not valid UTF-8")]
    NotUtf8,
}

/// Checks `text` against RFC 8259 and returns it compact.
pub fn compact(text: &[u8]) -> Result<Vec<u8>, Invalid> {
    std::str::from_utf8(text).map_err(|_| Invalid::NotUtf8)?;
    let mut writer = Writer { text, at: 0, out: Vec::with_capacity(text.len()) };
    writer.space();
    writer.value(0)?;
    writer.space();
    if writer.at == text.len() { Ok(writer.out) } else { Err(Invalid::Syntax(writer.at)) }
}

/// Appends `text` as a JSON string, as [`compact`] would write it.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for character in text.chars() {
        push_char(out, character);
    }
    out.push(b'"');
}

struct Writer<'t> {
    text: &'t [u8],
    at: usize,
    out: Vec<u8>,
}

impl Writer<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fail<T>(&self) -> Result<T, Invalid> {
        Err(Invalid::Syntax(self.at))
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'{') => self.list(depth, b'}', true),
            Some(b'[') => self.list(depth, b']', false),
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.fail(),
        }
    }

    /// An object (`keyed`) or an array, from its opening to its closing byte.
    fn list(&mut self, depth: usize, close: u8, keyed: bool) -> Result<(), Invalid> {
        if depth == MAX_DEPTH {
            return Err(Invalid::TooDeep);
        }
        self.copy_byte();
        self.space();
        if self.peek() == Some(close) {
            self.copy_byte();
            return Ok(());
        }
        loop {
            self.space();
            if keyed {
                if self.peek() != Some(b'"') {
                    return self.fail();
                }
                self.string()?;
                self.space();
                if self.peek() != Some(b':') {
                    return self.fail();
                }
                self.copy_byte();
                self.space();
            }
            self.value(depth + 1)?;
            self.space();
            match self.peek() {
                Some(b',') => self.copy_byte(),
                Some(byte) if byte == close => {
                    self.copy_byte();
                    return Ok(());
                }
                _ => return self.fail(),
            }
        }
    }

    fn copy_byte(&mut self) {
        self.out.push(self.text[self.at]);
        self.at += 1;
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Invalid> {
        if !self.text[self.at..].starts_with(word) {
            return self.fail();
        }
        self.out.extend_from_slice(word);
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return self.fail(),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.out.extend_from_slice(&self.text[start..self.at]);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail() } else { Ok(()) }
    }

    fn string(&mut self) -> Result<(), Invalid> {
        self.copy_byte();
        loop {
            let plain = self.text[self.at..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))
                .unwrap_or(self.text.len() - self.at);
            self.out.extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.copy_byte();
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return self.fail(),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        self.at += 1;
        let Some(kind) = self.peek() else { return self.fail() };
        self.at += 1;
        match kind {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => self.out.extend_from_slice(&[b'\\', kind]),
            b'/' => self.out.push(b'/'),
            b'u' => {
                let unit = self.unit()?;
                let pair = (0xd800..0xdc00).contains(&unit).then(|| self.low_half()).flatten();
                let code = pair.map_or(u32::from(unit), |low| {
                    0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00)
                });
                match char::from_u32(code) {
                    Some(character) => push_char(&mut self.out, character),
                    // Half of a surrogate pair is no character; it stays escaped, as JSON.stringify leaves it.
                    None => self.out.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
                }
            }
            _ => {
                self.at -= 1;
                return self.fail();
            }
        }
        Ok(())
    }

    /// Four hex digits at the cursor.
    fn unit(&mut self) -> Result<u16, Invalid> {
        let digits = self.text.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(unit) = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
        else {
            return self.fail();
        };
        self.at += 4;
        Ok(unit)
    }

    /// The low half of a surrogate pair, consumed only if it is one.
    fn low_half(&mut self) -> Option<u16> {
        if !self.text[self.at..].starts_with(b"\\u") {
            return None;
        }
        let back = self.at;
        self.at += 2;
        match self.unit() {
            Ok(unit) if (0xdc00..0xe000).contains(&unit) => Some(unit),
            _ => {
                self.at = back;
                None
            }
        }
    }
}

/// Writes one character of a string the way JSON.stringify does.
fn push_char(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\u{0}'..='\u{1f}' => out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes()),
        _ => {
            let mut buffer = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(json: &str) -> Result<String, Invalid> {
        compact(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn white_space_goes_and_everything_else_stays() {
        assert_eq!(
            text(" { \"b\" : [ 1.0 , 1e+2 , -0 ] , \"a\" : null }\n").unwrap(),
            r#"{"b":[1.0,1e+2,-0],"a":null}"#
        );
    }

    #[test]
    fn strings_are_unescaped_as_json_stringify_writes_them() {
        assert_eq!(text(r#""\u00e9\/\u0041\ud83d\ude00\u001F\n""#).unwrap(), "\"é/A😀\\u001f\\n\"");
        assert_eq!(text(r#""\ud83d x""#).unwrap(), r#""\ud83d x""#);
        assert_eq!(text(r#""\ud83d\u0041""#).unwrap(), r#""\ud83dA""#);
        assert_eq!(text(r#""\u0000\u0022\u005c""#).unwrap(), r#""\u0000\"\\""#);
    }

    #[test]
    fn what_is_not_json_is_refused_where_it_breaks() {
        for (bad, at) in [
            ("", 0),
            ("{", 1),
            ("{\"a\":}", 5),
            ("[1,]", 3),
            ("01", 1),
            ("1.", 2),
            ("tru", 0),
            ("\"a", 2),
            ("{} x", 3),
            ("\"\\x\"", 2),
            ("\"\\u12\"", 3),
            ("{a:1}", 1),
        ] {
            assert_eq!(text(bad), Err(Invalid::Syntax(at)), "{bad}");
        }
        assert_eq!(compact(b"\"\xff\""), Err(Invalid::NotUtf8));
        assert_eq!(text("\"a\tb\""), Err(Invalid::Syntax(2)));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(text(&deep(MAX_DEPTH)).is_ok());
        assert_eq!(text(&deep(MAX_DEPTH + 1)), Err(Invalid::TooDeep));
        assert_eq!(text(&deep(100_000)), Err(Invalid::TooDeep));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_value_is_never_altered(value in any_json()) {
            let pretty = serde_json::to_vec_pretty(&value).unwrap();
            let short = compact(&pretty).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<serde_json::Value>(&short).unwrap(), &value);
            prop_assert_eq!(compact(&short).unwrap(), short);
        }

        #[test]
        fn it_agrees_with_a_parser_on_what_is_json(bytes in prop::collection::vec(
            prop::sample::select(b"{}[]\",:0123456789eE+-.truefalsn \\u".to_vec()), 0..24)) {
            let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(compact(&bytes).is_ok(), theirs);
        }
    }
}
