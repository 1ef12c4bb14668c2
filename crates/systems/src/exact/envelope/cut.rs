//! Cuts a printed list into objects and members, at every place that looks like a boundary, without a judgement.
//!
//! Every true boundary bears `': `, so what bears it and is no boundary is a text that cannot be trusted. Linear in
//! the size of the list, since each place is looked at once and a key is short.

/// What stands between a key and its value.
const MARK: &str = "': ";

/// What stands between two objects.
const NEXT_OBJECT: &str = "}, {";

/// What stands between two members.
const NEXT_MEMBER: &str = ", ";

/// The longest key, in bytes.
const MAX_KEY_LEN: usize = 100;

/// The most members of one object.
const MAX_MEMBERS: usize = 64;

/// A value as it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'t> {
    /// A text, between its quotes.
    Text(&'t str),
    /// A number, as written.
    Number(&'t str),
    /// `True` or `False`.
    Flag(bool),
    /// `None`.
    Null,
    /// Nothing of the kind, so one of its ends is not where it seems to be.
    Torn,
}

/// What stands between two boundaries of objects.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Piece<'t> {
    /// Its members, in order.
    pub(super) members: Vec<(&'t str, Value<'t>)>,
    /// Whether something in it looks like a member and is none.
    pub(super) torn: bool,
}

/// What stands between the brackets of the list `name`, which has a line of its own in `printed`.
///
/// It ends at the last bracket that ends a line, so that no text in it can end it.
pub(super) fn list<'t>(printed: &'t str, name: &str) -> Option<&'t str> {
    let begin = printed.match_indices(name).find_map(|(at, _)| {
        let own_line = at == 0 || printed[..at].ends_with('\n');
        let list = printed[at + name.len()..].strip_prefix(": [")?;
        (own_line && list.starts_with(['{', ']'])).then_some(list)
    })?;
    if begin.starts_with(']') {
        return Some("");
    }
    let ends_line = |at: usize| begin[at + 2..].is_empty() || begin[at + 2..].starts_with(['\n', '\r']);
    let end = begin.rmatch_indices("}]").map(|(at, _)| at).find(|at| ends_line(*at))?;
    Some(&begin[..=end])
}

/// The pieces of a list, which begins with the brace of its first object and ends with that of its last.
pub(super) fn pieces(list: &str) -> Vec<Piece<'_>> {
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let Some(inside) = list.strip_suffix('}') else { return pieces };
    let mut open = Open { key: "", value: 0 };
    for (quote, _) in inside.match_indices(MARK) {
        // The quote that opens a value ends nothing.
        if quote == open.value && !pieces.is_empty() {
            continue;
        }
        match Boundary::before(inside, open.value, quote) {
            Some(boundary) => {
                if let Some(piece) = pieces.last_mut() {
                    piece.push(open.key, &inside[open.value..boundary.at]);
                }
                if boundary.object || pieces.is_empty() {
                    pieces.push(Piece { torn: !boundary.object, ..Piece::default() });
                }
                open = Open { key: boundary.key, value: quote + MARK.len() };
            }
            None => match pieces.last_mut() {
                Some(piece) => piece.torn = true,
                None => pieces.push(Piece { torn: true, ..Piece::default() }),
            },
        }
    }
    match pieces.last_mut() {
        Some(piece) => piece.push(open.key, &inside[open.value..]),
        None => pieces.push(Piece { torn: true, ..Piece::default() }),
    }
    pieces
}

/// The member whose value is being looked for the end of.
struct Open<'t> {
    key: &'t str,
    value: usize,
}

/// Where a key begins that ends at a mark.
struct Boundary<'t> {
    /// Where the value before it ends.
    at: usize,
    /// Whether it begins an object.
    object: bool,
    key: &'t str,
}

impl<'t> Boundary<'t> {
    /// The boundary whose key ends at `quote`, if nothing of it reaches before `floor`.
    fn before(inside: &'t str, floor: usize, quote: usize) -> Option<Self> {
        let near = &inside.as_bytes()[floor..quote];
        let length = near.iter().rev().take(MAX_KEY_LEN + 1).position(|byte| *byte == b'\'')?;
        let opening = quote - length - 1;
        let key = &inside[opening + 1..quote];
        let before = &inside[floor..opening];
        if floor == 0 && before == "{" {
            return Some(Self { at: 0, object: true, key });
        }
        let boundary = |value: &str, object| Self { at: floor + value.len(), object, key };
        match before.strip_suffix(NEXT_OBJECT) {
            Some(value) => Some(boundary(value, true)),
            None => before.strip_suffix(NEXT_MEMBER).map(|value| boundary(value, false)),
        }
    }
}

impl<'t> Piece<'t> {
    fn push(&mut self, key: &'t str, printed: &'t str) {
        let value = Value::read(printed);
        self.torn |= value == Value::Torn || self.members.len() == MAX_MEMBERS;
        if self.members.len() < MAX_MEMBERS {
            self.members.push((key, value));
        }
    }

    /// The value of `key`.
    pub(super) fn value(&self, key: &str) -> Option<Value<'t>> {
        self.members.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }
}

impl<'t> Value<'t> {
    fn read(printed: &'t str) -> Self {
        if let Some(text) = printed.strip_prefix('\'') {
            return text.strip_suffix('\'').map_or(Self::Torn, Self::Text);
        }
        match printed {
            "None" => Self::Null,
            "True" => Self::Flag(true),
            "False" => Self::Flag(false),
            _ if is_number(printed) => Self::Number(printed),
            _ => Self::Torn,
        }
    }
}

fn is_number(printed: &str) -> bool {
    let digits = printed.strip_prefix('-').unwrap_or(printed);
    digits.starts_with(|first: char| first.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte))
        && busbar_domain::json::compact(printed.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members<'t>(piece: &Piece<'t>) -> Vec<(&'t str, Value<'t>)> {
        assert!(!piece.torn, "{piece:?}");
        piece.members.clone()
    }

    #[test]
    fn a_list_stands_in_a_line_of_its_own() {
        let printed = "Ratelimit: {'Daily': 1}\nfound: True\nitems: [{'A': 1}, {'A': 'x'}]\nskiptoken: ";
        assert_eq!(list(printed, "items"), Some("{'A': 1}, {'A': 'x'}"));
        assert_eq!(list("items: []\nskiptoken: ", "items"), Some(""));
        assert_eq!(list("items: [{'A': 'x}]\ny: '}]", "items"), Some("{'A': 'x}]\ny: '}"));
        for none in ["", "items", "items: ", "items: [", "items: [{'A': 1}", "other items: [{'A': 1}]", "items: ['A']"]
        {
            assert_eq!(list(none, "items"), None, "{none}");
        }
    }

    #[test]
    fn texts_end_where_the_next_member_begins() {
        let pieces = pieces(
            "{'A': -0.50, 'B': None, 'C': 'Pipe 2'' x 3''', 'D': True}, {'A': '', 'B': 'it's, {'x'}', 'C': '\\n'}",
        );
        assert_eq!(
            members(&pieces[0]),
            [
                ("A", Value::Number("-0.50")),
                ("B", Value::Null),
                ("C", Value::Text("Pipe 2'' x 3''")),
                ("D", Value::Flag(true)),
            ]
        );
        assert_eq!(
            members(&pieces[1]),
            [("A", Value::Text("")), ("B", Value::Text("it's, {'x'}")), ("C", Value::Text("\\n"))]
        );
        assert_eq!(pieces[0].value("D"), Some(Value::Flag(true)));
    }

    #[test]
    fn what_looks_like_a_member_and_is_none_tears_a_piece() {
        for torn in [
            "{'A': 'x': y', 'B': 1}",
            "{'A': 'x, 'B': 1', 'C': 2}",
            "{'A': 1 , 'B': 2}",
            "{'A': nan}",
            "{'A': {'B': 1}}",
            "{'A': '}",
            "{'A': x}",
            "{A: 1}",
            "'A': 1}",
            "{}",
        ] {
            assert!(pieces(torn).iter().any(|piece| piece.torn), "{torn}");
        }
        let long = format!("{{'{}': 1}}", "k".repeat(MAX_KEY_LEN + 1));
        assert!(pieces(&long)[0].torn);
        assert!(pieces("").is_empty());
    }

    #[test]
    fn a_text_may_begin_like_a_value() {
        let pieces = pieces("{'A': ': x', 'B': 1}");
        assert_eq!(members(&pieces[0]), [("A", Value::Text(": x")), ("B", Value::Number("1"))]);
    }
}
