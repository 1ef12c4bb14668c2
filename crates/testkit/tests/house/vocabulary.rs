//! One word per thing: states in code, schema and diagrams; metrics, checks and reasons with what to do about them.

use std::collections::BTreeSet;

use busbar_domain::delivery::{DeadReason, HeldReason, STATES};
use busbar_domain::inbound::InboundState;
use busbar_domain::shop_order::ShopOrderState;
use busbar_domain::webhook::WebhookStatus;
use busbar_storage::replays::JobState;

use crate::documents::first_cells;
use crate::tree::{File, files, read};
use crate::{hold, seen_to_fail};

type Words = BTreeSet<String>;

fn words<'w>(list: impl IntoIterator<Item = &'w str>) -> Words {
    list.into_iter().map(str::to_owned).collect()
}

/// What `column` of `table` may hold, as the migrations say.
fn in_schema(migrations: &[File], table: &str, column: &str) -> Words {
    let text: String = migrations.iter().map(|file| file.text.as_str()).collect();
    let made = text.split(&format!("create table {table} (")).nth(1).unwrap_or_default();
    let made = made.split("\n);").next().unwrap_or_default();
    let list = made.split(&format!("check ({column} in (")).nth(1).and_then(|rest| rest.split(')').next());
    words(
        list.unwrap_or_default().split(',').map(|word| word.trim().trim_matches('\'')).filter(|word| !word.is_empty()),
    )
}

/// The states of the diagram below the heading `## <title>`.
fn in_diagram(document: &File, title: &str) -> Words {
    let part = document.text.split(&format!("\n## {title}\n")).nth(1).unwrap_or_default();
    let diagram = part.split("```mermaid").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let arrows = diagram.lines().filter_map(|line| line.split_once("-->"));
    let ends = arrows.flat_map(|(from, to)| [from.trim(), to.split(':').next().unwrap_or_default().trim()]);
    words(ends.filter(|state| *state != "[*]"))
}

fn differing(what: &str, code: &Words, others: &[(&str, Words)]) -> Vec<String> {
    let others = others.iter().filter(|(_, found)| found != code);
    others.map(|(place, found)| format!("the states of {what} are {code:?}, but in {place} {found:?}")).collect()
}

/// The texts between `start` and the next quote.
fn quoted<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.split(start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// Every metric that the sources name.
fn metrics(sources: &[File]) -> Words {
    let mut found = Words::new();
    for file in sources.iter().filter(|file| file.path.contains("/src/")) {
        let calls = ["counter!(\"", "gauge!(\"", "histogram!(\""];
        let starts: &[&str] = if file.path.ends_with("/metric.rs") { &["= \""] } else { &calls };
        let names = starts.iter().flat_map(|start| quoted(file.code(), start));
        found.extend(names.filter(|name| name.starts_with("busbar_")).map(str::to_owned));
    }
    found
}

/// Every readiness check that the sources register under a name that is written there.
fn checks(sources: &[File]) -> Words {
    let services = sources.iter().filter(|file| file.path.contains("/src/"));
    let starts = ["context.health.register(\"", "health_report(health, \"", "health_report(&context.health, \""];
    words(services.flat_map(|file| starts.iter().flat_map(|start| quoted(file.code(), start))))
}

/// Every word with which the processor gives a call up: `reason: "word"`, or `format!("word: ...")`.
fn inbound_reasons(source: &str) -> Words {
    let plain = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let told = quoted(source, "format!(\"").into_iter().filter_map(|text| text.split_once(": {")).map(|(word, _)| word);
    words(quoted(source, "reason: \"").into_iter().chain(told).filter(plain))
}

/// Words without a row of `| `word` | meaning | remedy |`.
fn without_remedy(what: &str, words: &Words, document: &File) -> Vec<String> {
    let has_row = |word: &String| {
        let start = format!("| `{word}` |");
        let row = document.text.lines().find(|line| line.starts_with(&start));
        row.is_some_and(|row| row.trim_matches('|').split('|').filter(|cell| !cell.trim().is_empty()).count() >= 3)
    };
    let missing = words.iter().filter(|word| !has_row(word));
    missing.map(|word| format!("{} has no row with a remedy for the {what} {word}", document.path)).collect()
}

fn unknown_metrics(known: &Words, document: &File) -> Vec<String> {
    let named = first_cells(&document.text).filter(|cell| cell.starts_with("busbar_"));
    let unknown = named.filter(|name| !known.contains(*name));
    unknown.map(|name| format!("{} has {name}, which nothing measures", document.path)).collect()
}

#[test]
fn states_are_the_same_in_code_schema_and_diagrams() {
    let (migrations, diagrams) = (files("migrations", ".sql"), read("docs/states.md"));
    let places = |table: &str, column: &str, title: &str| {
        [("the schema", in_schema(&migrations, table, column)), ("docs/states.md", in_diagram(&diagrams, title))]
    };
    let inbound = words(InboundState::ALL.map(InboundState::as_str));
    hold(&differing("inbound", &inbound, &places("inbound", "state", "Inbound call")));
    hold(&differing("a delivery", &words(STATES), &places("deliveries", "state", "Delivery")));
    let webhook = words(WebhookStatus::ALL.map(WebhookStatus::as_str));
    hold(&differing("a webhook", &webhook, &places("webhooks", "status", "Webhook")));
    let order = words(ShopOrderState::ALL.map(ShopOrderState::as_str));
    hold(&differing("a shop order", &order, &places("shop_orders", "state", "Shop order")));
    let replay = words(JobState::ALL.map(JobState::as_str));
    hold(&differing("a replay", &replay, &places("replays", "state", "Replay")));
    // The schema alone lists the states of an event; no code needs them as an enum.
    let [(_, event), diagram] = places("events", "state", "Event");
    assert!(!event.is_empty(), "the schema does not say which states an event has");
    hold(&differing("an event", &event, &[diagram]));

    let diagram = File::new("s.md", "\n## Delivery\n```mermaid\n[*] --> pending\npending --> lost : never\n```\n");
    seen_to_fail(&differing("x", &words(["pending"]), &[("s.md", in_diagram(&diagram, "Delivery"))]), "lost");
    let schema = File::new("1.sql", "create table x (\n state text check (state in ('a', 'b')),\n b int\n);");
    assert_eq!(in_schema(&[schema], "x", "state"), words(["a", "b"]));
}

#[test]
fn what_is_measured_is_explained() {
    let (sources, document) = (files("crates", ".rs"), read("docs/operations.md"));
    let found = metrics(&sources);
    assert!(found.len() > 15, "metrics are not found any more: {found:?}");
    hold(&without_remedy("metric", &found, &document));
    hold(&unknown_metrics(&found, &document));

    let source = File::new("crates/x/src/metric.rs", "pub(crate) const DONE: &str = \"busbar_done_total\";");
    let document = File::new("o.md", "| `busbar_undone_total` | a | b |\n| `busbar_done_total` | What was done. | |\n");
    let found = metrics(&[source]);
    seen_to_fail(&without_remedy("metric", &found, &document), "busbar_done_total");
    seen_to_fail(&unknown_metrics(&found, &document), "busbar_undone_total");
}

#[test]
fn every_readiness_check_is_explained() {
    let found = checks(&files("crates", ".rs"));
    assert!(found.len() > 4, "checks are not found any more: {found:?}");
    hold(&without_remedy("check", &found, &read("docs/operations.md")));
    let source = File::new("crates/x/src/lib.rs", "let up = context.health.register(\"moon\");");
    seen_to_fail(&without_remedy("check", &checks(&[source]), &File::new("o.md", "")), "moon");
}

#[test]
fn every_reason_has_its_remedy() {
    let document = read("docs/operations.md");
    let dead = words(DeadReason::ALL.map(DeadReason::as_str));
    hold(&without_remedy("dead letter", &dead, &document));
    hold(&without_remedy("held reason", &words(HeldReason::ALL.map(HeldReason::as_str)), &document));
    let processor = files("crates/processor/src", ".rs");
    let inbound: Words = processor.iter().flat_map(|file| inbound_reasons(file.code())).collect();
    assert!(inbound.len() >= 3, "reasons are not found any more: {inbound:?}");
    hold(&without_remedy("dead call", &inbound, &document));

    let source = "Ended::Dead { reason: \"lost\".to_owned() }; format!(\"refused: {error}\"); format!(\"{a} is {b}\")";
    assert_eq!(inbound_reasons(source), words(["lost", "refused"]));
    seen_to_fail(&without_remedy("dead call", &words(["lost"]), &File::new("o.md", "| `lost` | Gone. |\n")), "lost");
}
