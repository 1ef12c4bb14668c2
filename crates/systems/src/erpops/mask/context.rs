//! What the words before a number say about it.

/// The words just passed, as long as nothing but light punctuation stands between them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context<'t> {
    /// The word before the last.
    before: &'t str,
    /// The last word.
    last: &'t str,
    /// Where the last word, or the identifier that it labelled, ends in the text.
    end: usize,
    /// Whether an identifier follows the label already, so that a list of them may go on.
    in_list: bool,
}

/// What one person may be called in a label.
const PEOPLE: [&str; 20] = [
    "employee",
    "empl",
    "emp",
    "person",
    "personnel",
    "worker",
    "staff",
    "member",
    "user",
    "payroll",
    "national",
    "tax",
    "badge",
    "patient",
    "associate",
    "applicant",
    "candidate",
    "contractor",
    "dependent",
    "security",
];

/// Those of them after whom a bare number of some length is theirs.
const HUMANS: [&str; 10] =
    ["employee", "empl", "emp", "person", "worker", "patient", "associate", "applicant", "candidate", "contractor"];

/// What follows the person in a label.
const NUMBERS: [&str; 8] = ["id", "ids", "number", "numbers", "no", "nr", "num", "nbr"];

/// Labels of one word.
const LABELS: [&str; 6] = ["ssn", "ssns", "pernr", "badge", "nino", "sin"];

/// Words after which a number counts or measures something.
const COUNTS: [&str; 18] = [
    "count",
    "total",
    "processed",
    "depth",
    "size",
    "length",
    "offset",
    "duration",
    "took",
    "elapsed",
    "rc",
    "latency",
    "throughput",
    "timeout",
    "attempts",
    "retries",
    "exit",
    "http",
];

/// Things that are counted; before the number only where a colon or an equals sign says so.
const COUNTED: [&str; 20] = [
    "records",
    "rows",
    "items",
    "messages",
    "events",
    "entries",
    "lines",
    "files",
    "bytes",
    "transactions",
    "employees",
    "workers",
    "documents",
    "requests",
    "calls",
    "jobs",
    "times",
    "retries",
    "attempts",
    "errors",
];

/// What has a code that is no secret.
const CODED: [&str; 7] = ["exit", "return", "error", "status", "http", "result", "reason"];

/// Words after which four numbers with dots are a version.
const VERSIONS: [&str; 5] = ["version", "release", "ver", "build", "peopletools"];

/// The longest punctuation between a label and its value.
const MAX_GAP: usize = 6;

impl<'t> Context<'t> {
    /// The context at the beginning of a text that stands under `name`.
    pub(super) fn under(name: &'t str) -> Self {
        let mut context = Self::default();
        let mut words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        if let Some(last) = words.next_back() {
            context.last = last;
            context.before = words.next_back().unwrap_or_default();
        }
        context
    }

    /// Nothing before counts any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes the word at `start..end`; words that only join keep what stands before them.
    pub(super) fn push(&mut self, text: &'t str, start: usize, end: usize) {
        let word = &text[start..end];
        let near = self.gap(text, start).is_some();
        if near && is_one_of(word, &["is", "was", "and", "or"]) {
            self.end = end;
            return;
        }
        *self = Self { before: if near { self.last } else { "" }, last: word, end, in_list: false };
    }

    /// The context after an identifier that this one labelled, ending at `end`.
    pub(super) const fn with_identifier(mut self, end: usize) -> Self {
        self.end = end;
        self.in_list = true;
        self
    }

    /// The punctuation between the last word and `start`, if it is light.
    fn gap(&self, text: &'t str, start: usize) -> Option<&'t str> {
        let gap = text.as_bytes().get(self.end..start).filter(|gap| gap.len() <= MAX_GAP)?;
        let light = |byte: u8| {
            let list = self.in_list && matches!(byte, b',' | b';' | b'/' | b'&' | b')' | b']');
            let abbreviated = byte == b'.' && is_one_of(self.last, &["no", "nr", "nbr"]);
            matches!(byte, b' ' | b'\t' | b':' | b'=' | b'#' | b'_' | b'-' | b'"' | b'\'' | b'(' | b'[' | b'\\')
                || list
                || abbreviated
        };
        if self.last.is_empty() || !gap.iter().all(|byte| light(*byte)) {
            return None;
        }
        text.get(self.end..start)
    }

    /// Whether the words just passed are the label of a person's identifier.
    pub(super) fn labels_person(&self) -> bool {
        is_label(self.before, self.last)
    }

    /// Whether the word at `start..end` is the value of such a label, or goes on with a list of values.
    pub(super) fn labels_value(&self, text: &'t str, start: usize, end: usize) -> bool {
        let Some(gap) = self.gap(text, start) else { return false };
        let labelled = self.labels_person() || (gap.contains('#') && is_one_of(self.last, &PEOPLE));
        let listed = !self.in_list || (end - start >= 4 && text.as_bytes()[start].is_ascii_digit());
        labelled && listed
    }

    /// Whether the last word is a person, so that a bare number behind it is that person's.
    pub(super) fn names_human(&self, text: &'t str, start: usize) -> bool {
        self.gap(text, start).is_some() && is_one_of(self.last, &HUMANS)
    }

    /// Whether `host=` or `hostname:` stands before `start`.
    pub(super) fn labels_host(&self, text: &'t str, start: usize) -> bool {
        let marked = self.gap(text, start).is_some_and(|gap| gap.is_empty() || gap.contains([':', '=']));
        marked && is_one_of(self.last, &["host", "hostname"])
    }

    /// Whether what begins at `start` is a version.
    pub(super) fn labels_version(&self, text: &'t str, start: usize) -> bool {
        self.gap(text, start).is_some() && is_one_of(self.last, &VERSIONS)
    }

    /// Whether the words before `start` say that a count, a measure or a code follows.
    pub(super) fn counts(&self, text: &'t str, start: usize) -> bool {
        let Some(gap) = self.gap(text, start) else { return false };
        let named = gap.is_empty() || gap.contains([':', '=']);
        is_one_of(self.last, &COUNTS)
            || (named && is_one_of(self.last, &COUNTED))
            || (is_one_of(self.last, &["code", "status"]) && is_one_of(self.before, &CODED))
            || is_one_of(self.last, &["exitcode", "errorcode", "statuscode"])
            || (is_one_of(self.last, &["of"]) && is_digits(self.before))
    }

    /// The last word, if only one character stands between it and `start`.
    pub(super) fn joined(&self, start: usize) -> Option<&'t str> {
        (start == self.end + 1 && !self.last.is_empty()).then_some(self.last)
    }
}

/// Whether two words, or one in which they are joined, label a person's identifier.
pub(super) fn is_label(before: &str, last: &str) -> bool {
    let joined = |person: &&str| {
        let (head, tail) = (last.get(..person.len()), last.get(person.len()..));
        head.is_some_and(|head| head.eq_ignore_ascii_case(person)) && tail.is_some_and(|tail| is_one_of(tail, &NUMBERS))
    };
    is_one_of(last, &LABELS) || (is_one_of(last, &NUMBERS) && is_one_of(before, &PEOPLE)) || PEOPLE.iter().any(joined)
}

/// Whether `word` is the name of something that is counted.
pub(super) fn is_counted(word: &str) -> bool {
    is_one_of(word, &COUNTED)
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}
