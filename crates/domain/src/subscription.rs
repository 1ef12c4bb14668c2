//! Which webhooks an event is owed to: planned in memory, checked by version when the event is written.

use std::cell::OnceCell;
use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::event::{EventType, Label, NewEvent};
use crate::filter::{Facts, Filter};
use crate::id::{DeliveryId, WebhookId};

/// Which events a webhook hears: a name, or a pattern in which `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

/// Why a text cannot be a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event name or pattern has 1 to 120 characters: letters, digits, '_', '-', '.', ':', and '*' for any text")]
pub struct InvalidPattern;

impl Pattern {
    /// The only door for a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'*');
        let valid = (1..=120).contains(&text.len()) && text.bytes().all(plain);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidPattern) }
    }

    /// The pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern names exactly one event type.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether `name` fits the pattern.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|head| name.strip_prefix(head)) else {
            return false;
        };
        let mut last = None;
        for part in parts {
            if let Some(part) = last.replace(part) {
                let Some(at) = rest.find(part) else { return false };
                rest = &rest[at + part.len()..];
            }
        }
        last.map_or(rest.is_empty(), |tail| rest.ends_with(tail))
    }
}

/// One webhook's subscription.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The webhook that listens.
    pub webhook: WebhookId,
    /// The events that it hears.
    pub patterns: Vec<Pattern>,
    /// The one project that it hears; all of them if there is none.
    pub project: Option<Label>,
    /// What must be true of an event besides.
    pub filter: Option<Filter>,
}

impl Subscription {
    fn hears_project(&self, project: Option<&Label>) -> bool {
        self.project.is_none() || self.project.as_ref() == project
    }
}

/// The most deliveries that one event brings into the transaction that makes it; a wider fan-out is spread later.
pub const WIDEST: usize = 1000;

/// An event with the deliveries that it owes.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The event.
    pub event: NewEvent,
    /// One delivery for each webhook that hears it; none if it is to be spread.
    pub owed: Vec<(DeliveryId, WebhookId)>,
    /// Whether the fan-out is wider than [`WIDEST`] and left to the processor.
    pub spreading: bool,
}

/// The subscriptions of one tenant at one version of its configuration.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions {
    version: i64,
    all: Vec<Subscription>,
    exact: HashMap<String, Vec<usize>>,
    patterned: Vec<usize>,
}

impl Subscriptions {
    /// The subscriptions as they stand at `version`; disabled webhooks are not among them.
    pub fn new(version: i64, all: Vec<Subscription>) -> Self {
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut patterned = Vec::new();
        for (at, subscription) in all.iter().enumerate() {
            if subscription.patterns.iter().all(Pattern::is_exact) {
                for pattern in &subscription.patterns {
                    let list = exact.entry(pattern.as_str().to_owned()).or_default();
                    // A name written twice is still owed once.
                    if list.last() != Some(&at) {
                        list.push(at);
                    }
                }
            } else {
                patterned.push(at);
            }
        }
        Self { version, all, exact, patterned }
    }

    /// The version that an insert must still find.
    pub const fn version(&self) -> i64 {
        self.version
    }

    /// Plans the deliveries of `event`, with ids that sort at `now`.
    pub fn plan(&self, event: NewEvent, now: Timestamp) -> Planned {
        let owed: Vec<_> = self
            .owed(&event.kind, event.project.as_ref(), || event.facts())
            .take(WIDEST + 1)
            .map(|webhook| (DeliveryId::new(now), webhook))
            .collect();
        let spreading = owed.len() > WIDEST;
        Planned { event, owed: if spreading { Vec::new() } else { owed }, spreading }
    }

    /// The webhooks that an event is owed to, each once; `facts` are made only where a filter asks for them.
    pub fn owed<'s>(
        &'s self,
        kind: &'s EventType,
        project: Option<&'s Label>,
        facts: impl Fn() -> Facts + 's,
    ) -> impl Iterator<Item = WebhookId> + 's {
        let known = OnceCell::new();
        let exact = self.exact.get(kind.as_str()).map_or(&[][..], Vec::as_slice);
        let patterned = self
            .patterned
            .iter()
            .filter(|at| self.all[**at].patterns.iter().any(|pattern| pattern.matches(kind.as_str())));
        exact
            .iter()
            .chain(patterned)
            .map(|at| &self.all[*at])
            .filter(move |subscription| subscription.hears_project(project))
            .filter(move |subscription| {
                subscription.filter.as_ref().is_none_or(|filter| filter.passes(known.get_or_init(&facts)))
            })
            .map(|subscription| subscription.webhook)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(patterns: &[&str], project: Option<&str>) -> Subscription {
        Subscription {
            webhook: WebhookId::new(crate::Clock::system().now()),
            patterns: patterns.iter().map(|p| Pattern::parse(p).unwrap()).collect(),
            project: project.map(|p| Label::parse(p).unwrap()),
            filter: None,
        }
    }

    fn owed(all: &[Subscription], kind: &str, project: Option<&str>) -> Vec<WebhookId> {
        let project = project.map(|p| Label::parse(p).unwrap());
        let kind = EventType::parse(kind).unwrap();
        let facts = || Facts::new(kind.as_str(), None, None, None, crate::Clock::system().now(), b"{\"n\":1}");
        Subscriptions::new(1, all.to_vec()).owed(&kind, project.as_ref(), facts).collect()
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("permit_*", "permit_approved", true),
            ("permit_*", "permit", false),
            ("*", "anything", true),
            ("workorder.*", "workorder.created", true),
            ("*.failed", "erpops.integration.failed", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*ab*b", "aab", false),
            ("a*ab*b", "aabb", true),
            ("permit_approved", "permit_approved", true),
            ("permit_approved", "permit_approved2", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_webhook_without_a_project_hears_all() {
        let all = [
            subscription(&["permit_approved"], Some("1")),
            subscription(&["permit_approved"], Some("2")),
            subscription(&["permit_*"], None),
        ];
        assert_eq!(owed(&all, "permit_approved", Some("1")), [all[0].webhook, all[2].webhook]);
        assert_eq!(owed(&all, "permit_approved", None), [all[2].webhook]);
        assert_eq!(owed(&all, "permit_rejected", Some("2")), [all[2].webhook]);
    }

    #[test]
    fn a_filter_must_be_true_of_the_event() {
        let mut all = [subscription(&["a"], None), subscription(&["a"], None), subscription(&["*"], None)];
        all[0].filter = Some(Filter::parse("event.data.n == 1").unwrap());
        all[1].filter = Some(Filter::parse("event.data.n == 2").unwrap());
        assert_eq!(owed(&all, "a", None), [all[0].webhook, all[2].webhook]);
    }

    #[test]
    fn an_event_is_owed_once_to_each() {
        let all = [subscription(&["a", "a", "*"], None), subscription(&["a", "a"], None), subscription(&[], None)];
        assert_eq!(owed(&all, "a", None), [all[1].webhook, all[0].webhook]);
    }
}
