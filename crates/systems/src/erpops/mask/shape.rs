//! Shapes that are told by their characters alone: addresses, host names, dates, groups of digits.

use std::net::Ipv6Addr;

/// The first position from `start` on that `fits` refuses.
pub(super) fn end_of(bytes: &[u8], start: usize, fits: impl Fn(u8) -> bool) -> usize {
    bytes[start..].iter().position(|byte| !fits(*byte)).map_or(bytes.len(), |length| start + length)
}

/// Whether addresses of all kinds may hold this byte.
pub(super) const fn is_address(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'.' | b'_' | b'-' | b'+' | b'%' | b'\'')
}

/// The end of `start..end` without the punctuation at its end.
pub(super) fn without_punctuation(bytes: &[u8], start: usize, end: usize) -> usize {
    let last = bytes[start..end].iter().rposition(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    last.map_or(start, |last| start + last + 1)
}

/// The end of an e-mail address' domain that begins at `start`.
pub(super) fn mail_domain(bytes: &[u8], start: usize) -> Option<usize> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'.' | b'-');
    let end = without_punctuation(bytes, start, end_of(bytes, start, fits));
    let domain = &bytes[start..end];
    let begins_well = domain.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    (begins_well && domain.iter().any(|byte| !byte.is_ascii_digit() && *byte != b'.')).then_some(end)
}

/// Last labels that only internal names have.
const INTERNAL_ENDS: [&str; 9] =
    ["local", "lan", "internal", "corp", "intranet", "localdomain", "home", "private", "intra"];

/// Labels that make a name internal although it ends as public ones do.
const INTERNAL_MIDDLES: [&str; 5] = ["corp", "internal", "intra", "intranet", "lan"];

/// First labels of names in code, which stack traces are full of.
const CODE_BEGINS: [&str; 8] = ["com", "org", "net", "java", "javax", "jdk", "sun", "oracle"];

/// Whether `name` is that of an internal host.
pub(super) fn is_internal_host(name: &str) -> bool {
    let is_one_of = |label: &str, labels: &[&str]| labels.iter().any(|known| known.eq_ignore_ascii_case(label));
    let Some((rest, end)) = name.rsplit_once('.') else { return false };
    if rest.is_empty() || rest.ends_with('.') {
        return false;
    }
    let public_end = (2..=3).contains(&end.len()) && end.bytes().all(|byte| byte.is_ascii_alphabetic());
    let mut labels = rest.split('.');
    let first = labels.next().unwrap_or_default();
    is_one_of(end, &INTERNAL_ENDS)
        || (public_end && !is_one_of(first, &CODE_BEGINS) && labels.any(|label| is_one_of(label, &INTERNAL_MIDDLES)))
}

/// Whether `name` can be a host's name of one label: it has letters and digits.
pub(super) fn is_host_like(name: &str) -> bool {
    name.bytes().any(|byte| byte.is_ascii_digit()) && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
}

/// The end of an IPv6 address that begins at `start`.
pub(super) fn ipv6(text: &str, start: usize) -> Option<usize> {
    const LONGEST: usize = 45;
    let bytes = text.as_bytes();
    let reach = &bytes[start..bytes.len().min(start + LONGEST + 2)];
    let length = reach.iter().position(|byte| !(byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')));
    let mut end = start + length.unwrap_or(reach.len());
    // A full stop or a colon behind an address belongs to the sentence.
    for _ in 0..3 {
        let address = text.get(start..end)?;
        let stands_alone = !bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
        if stands_alone && address.parse::<Ipv6Addr>().is_ok_and(|address| !address.is_unspecified()) {
            return Some(end);
        }
        if !address.ends_with([':', '.']) {
            return None;
        }
        end -= 1;
    }
    None
}

/// The end of an IPv4 address that begins at `start`.
pub(super) fn ipv4(bytes: &[u8], start: usize) -> Option<usize> {
    if start > 0 && bytes[start - 1] == b'.' {
        return None;
    }
    let mut at = start;
    for group in 0..4 {
        if group > 0 {
            if bytes.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
        let digits = bytes[at..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        let value = bytes[at..at + digits].iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
        if !(1..=3).contains(&digits) || value > 255 {
            return None;
        }
        at += digits;
    }
    let goes_on = match bytes.get(at) {
        Some(b'.') => bytes.get(at + 1).is_some_and(u8::is_ascii_digit),
        Some(byte) => byte.is_ascii_alphanumeric(),
        None => false,
    };
    (!goes_on).then_some(at)
}

/// The end of a UUID that begins at `start`.
pub(super) fn uuid(bytes: &[u8], start: usize) -> Option<usize> {
    const LENGTH: usize = 36;
    let text = bytes.get(start..start + LENGTH)?;
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    let goes_on = bytes.get(start + LENGTH).is_some_and(u8::is_ascii_alphanumeric);
    (fits && !goes_on).then_some(start + LENGTH)
}

/// Whether `word` is a hash or a trace id: long, hexadecimal, letters and digits well mixed.
pub(super) fn is_hash(word: &[u8]) -> bool {
    let changes = word.windows(2).filter(|pair| pair[0].is_ascii_digit() != pair[1].is_ascii_digit()).count();
    word.len() >= 16 && changes >= 4 && word.iter().all(u8::is_ascii_hexdigit)
}

/// The end of a date such as `2026-04-20` that begins at `start`.
pub(super) fn date(bytes: &[u8], start: usize) -> Option<usize> {
    let text = bytes.get(start..start + 10)?;
    let dashes = text[4] == b'-' && text[7] == b'-';
    let goes_on = bytes.get(start + 10).is_some_and(u8::is_ascii_digit);
    let mut compact = [0; 8];
    for (to, from) in compact.iter_mut().zip(text.iter().filter(|byte| **byte != b'-')) {
        *to = *from;
    }
    (dashes && !goes_on && is_compact_date(&compact)).then_some(start + 10)
}

/// Whether `word` is a date such as `20260420`.
pub(super) fn is_compact_date(word: &[u8]) -> bool {
    word.len() == 8
        && word.iter().all(u8::is_ascii_digit)
        && (b"19" == &word[..2] || b"20" == &word[..2])
        && (b"01".as_slice()..=b"12").contains(&&word[4..6])
        && (b"01".as_slice()..=b"31").contains(&&word[6..])
}

/// Whether `word` is a time of day such as `030000`.
pub(super) fn is_compact_time(word: &[u8]) -> bool {
    word.len() == 6
        && word.iter().all(u8::is_ascii_digit)
        && &word[..2] <= b"23".as_slice()
        && &word[2..4] <= b"59".as_slice()
        && &word[4..] <= b"60".as_slice()
}

/// Whether `word` is a moment such as `20260420T030000Z`.
pub(super) fn is_compact_moment(word: &[u8]) -> bool {
    let word = word.strip_suffix(b"Z").unwrap_or(word);
    word.len() == 15 && word[8] == b'T' && is_compact_date(&word[..8]) && is_compact_time(&word[9..])
}

/// Digits in groups that everybody knows: social security, payment card and telephone numbers.
const GROUPS: [&[usize]; 3] = [&[3, 2, 4], &[4, 4, 4, 4], &[3, 3, 4]];

/// The end of such groups that begin at `start`, one separator throughout.
pub(super) fn groups(bytes: &[u8], start: usize) -> Option<usize> {
    GROUPS.iter().find_map(|sizes| {
        let separator = *bytes.get(start + sizes[0])?;
        if !matches!(separator, b'-' | b' ' | b'.') {
            return None;
        }
        let mut at = start;
        for (group, size) in sizes.iter().enumerate() {
            if group > 0 {
                if bytes.get(at) != Some(&separator) {
                    return None;
                }
                at += 1;
            }
            if !bytes.get(at..at + size)?.iter().all(u8::is_ascii_digit) {
                return None;
            }
            at += size;
        }
        let goes_on = bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
        (!goes_on).then_some(at)
    })
}

/// The end of groups of digits joined by hyphens that begin at `start` and have `fewest` digits in all.
pub(super) fn hyphenated(bytes: &[u8], start: usize, fewest: usize) -> Option<usize> {
    let (mut at, mut end, mut digits, mut groups) = (start, start, 0, 0);
    loop {
        let group_end = end_of(bytes, at, |byte| byte.is_ascii_digit());
        let goes_on = bytes.get(group_end).is_some_and(u8::is_ascii_alphabetic);
        if group_end == at || goes_on {
            break;
        }
        digits += group_end - at;
        groups += 1;
        end = group_end;
        if bytes.get(group_end) != Some(&b'-') {
            break;
        }
        at = group_end + 1;
    }
    (groups > 1 && digits >= fewest).then_some(end)
}

/// The end of a labelled value that begins at `start`: words joined by hyphens, up to the last with a digit.
pub(super) fn labelled_value(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut end) = (start, None);
    loop {
        let word_end = end_of(bytes, at, |byte| byte.is_ascii_alphanumeric());
        if bytes[at..word_end].iter().any(u8::is_ascii_digit) {
            end = Some(word_end);
        }
        let joined =
            bytes.get(word_end) == Some(&b'-') && bytes.get(word_end + 1).is_some_and(u8::is_ascii_alphanumeric);
        if !joined {
            return end;
        }
        at = word_end + 1;
    }
}

/// `end`, or the end of the decimals behind it.
pub(super) fn with_fraction(bytes: &[u8], end: usize) -> usize {
    let decimals = bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
    if decimals { end_of(bytes, end + 1, |byte| byte.is_ascii_digit()) } else { end }
}
