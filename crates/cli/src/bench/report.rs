//! The benchmark's result, as a table for people or as one JSON object.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use busbar_sandbox::load::{Latency, Verdict};
use serde_json::{Value, json};

use crate::bench::machine::Cost;
use crate::bench::pairs::{Pair, median};
use crate::bench::round::Round;
use crate::bench::{Options, Path};

/// Reads one figure of a round.
type Figure = fn(&Round) -> String;

const MIB: u64 = 1_024 * 1_024;

/// Prints a single round, and the ceiling beside it.
pub(super) fn single(options: &Options, round: &Round, raw: Option<&Round>) -> io::Result<()> {
    if options.json {
        let mut whole = json!({ "load": load(options), "hub": object(round) });
        if let Some(raw) = raw {
            whole["raw"] = object(raw);
        }
        return print(&format!("{whole}\n"));
    }
    print(&table(options, round, raw))
}

/// Prints one pair as soon as it is measured.
pub(super) fn pair(number: u32, pair: &Pair) -> io::Result<()> {
    let Pair { answering, silent } = pair;
    print(&format!(
        "pair {number:>2}: healthy end to end p99 {} ms with the black hole answering, {} ms with it silent, ratio {:.2}\n",
        milliseconds(answering.end_to_end.p99),
        milliseconds(silent.end_to_end.p99),
        pair.ratio(),
    ))
}

/// Prints what all pairs say together.
pub(super) fn pairs(options: &Options, pairs: &[Pair]) -> io::Result<()> {
    let ratio = median(pairs.iter().map(Pair::ratio).collect());
    if options.json {
        let each = pairs.iter().map(|pair| {
            json!({ "answering": object(&pair.answering), "silent": object(&pair.silent), "p99_ratio": pair.ratio() })
        });
        let whole = json!({ "load": load(options), "pairs": each.collect::<Vec<_>>(), "median_p99_ratio": ratio });
        return print(&format!("{whole}\n"));
    }
    let mut text = format!("\nmedian of the ratios of {} pairs: {ratio:.2}\n\n", pairs.len());
    for (number, pair) in pairs.iter().enumerate() {
        for (kind, round) in [("answering", &pair.answering), ("silent", &pair.silent)] {
            let holes = thousands(round.swallowed);
            let _ =
                writeln!(text, "{:>2} {kind:<10} {}, black hole requests {holes}", number + 1, ledger(&round.verdict));
        }
    }
    print(&text)
}

fn table(options: &Options, round: &Round, raw: Option<&Round>) -> String {
    let mut text = headline(options);
    let _ = writeln!(text, "\n{:<28}{:>14}{:>14}", "", "hub", if raw.is_some() { "raw" } else { "" });
    let rows: [(&str, Figure); 6] = [
        ("accepted per second", |round| rate(round.accepted_per_second)),
        ("acknowledged p50 ms", |round| milliseconds(round.ack.p50)),
        ("acknowledged p99 ms", |round| milliseconds(round.ack.p99)),
        ("end to end per second", |round| rate(round.delivered_per_second)),
        ("end to end p50 ms", |round| milliseconds(round.end_to_end.p50)),
        ("end to end p99 ms", |round| milliseconds(round.end_to_end.p99)),
    ];
    // Without a webhook nothing has an end.
    let shown = if options.accept_only { 3 } else { rows.len() };
    for (name, figure) in rows.into_iter().take(shown) {
        let ceiling = raw.map(figure).unwrap_or_default();
        let _ = writeln!(text, "{name:<28}{:>14}{ceiling:>14}", figure(round));
    }

    let _ = writeln!(text, "\n{:<28}{:>14}{:>14}", "process", "CPU us/event", "peak MiB");
    for cost in &round.costs {
        let _ = writeln!(text, "{}", cost_row(cost, round.verdict.acked));
    }
    let sum = total(round).map_or_else(|| "not known".to_owned(), |cpu| micros(cpu, round.verdict.acked));
    let _ = writeln!(text, "{:<28}{sum:>14}", "all of these");
    let _ = writeln!(text, "{}  (not counted)", cost_row(&round.own, round.verdict.acked));

    let _ = writeln!(text, "\nledger: {}", ledger(&round.verdict));
    if round.swallowed > 0 {
        let _ = writeln!(text, "the black hole got {} requests", thousands(round.swallowed));
    }
    let refused = round.outcome.answers.iter().filter(|(status, _)| !(200..300).contains(*status));
    for (status, count) in refused {
        let _ = writeln!(text, "answered {status}: {}", thousands(*count));
    }
    if round.outcome.unanswered > 0 {
        let _ = writeln!(text, "not answered: {}", thousands(round.outcome.unanswered));
    }
    text
}

fn headline(options: &Options) -> String {
    let pace = options.rate.map_or_else(|| "as fast as they are taken".to_owned(), |rate| format!("{rate} per second"));
    let webhooks = match options.healthy_webhooks() {
        0 => "no webhook".to_owned(),
        1 => "1 webhook".to_owned(),
        count => format!("{count} webhooks"),
    };
    let mut text = format!(
        "{} events of {} bytes through {} over {} connections, {pace}, {webhooks}",
        thousands(options.events()),
        options.payload_bytes,
        door(options.path),
        options.connections,
    );
    if options.blackhole_share > 0.0 {
        let _ = write!(text, ", {} of the events to a black hole", options.blackhole_share);
    }
    text.push('\n');
    text
}

const fn door(path: Path) -> &'static str {
    match path {
        Path::Events => "events",
        Path::Ptw => "ptw",
        Path::Erpops => "erpops",
    }
}

fn cost_row(cost: &Cost, events: u64) -> String {
    let unknown = || "n/a".to_owned();
    let cpu = cost.cpu.map_or_else(unknown, |cpu| micros(cpu, events));
    let memory = cost.memory.map_or_else(unknown, |bytes| (bytes / MIB).to_string());
    format!("{:<28}{cpu:>14}{memory:>14}", cost.name)
}

pub(super) fn ledger(verdict: &Verdict) -> String {
    let Verdict { attempted, acked, delivered, lost, duplicated, relabelled, unexpected, corrupt, recovered } =
        *verdict;
    let figures = [
        ("attempted", attempted),
        ("acked", acked),
        ("delivered", delivered),
        ("lost", lost),
        ("duplicated", duplicated),
        ("with another id", relabelled),
        ("unexpected", unexpected),
        ("corrupt", corrupt),
        ("recovered", recovered),
    ];
    figures.map(|(name, figure)| format!("{name} {}", thousands(figure))).join(", ")
}

fn load(options: &Options) -> Value {
    json!({
        "path": door(options.path),
        "events": options.events(),
        "rate": options.rate,
        "webhooks": options.healthy_webhooks(),
        "payload_bytes": options.payload_bytes,
        "connections": options.connections,
        "blackhole_share": options.blackhole_share,
    })
}

fn object(round: &Round) -> Value {
    let verdict = &round.verdict;
    let latency = |latency: &Latency| {
        json!({
            "p50_ms": latency.p50.as_secs_f64() * 1e3,
            "p99_ms": latency.p99.as_secs_f64() * 1e3,
            "max_ms": latency.max.as_secs_f64() * 1e3,
        })
    };
    let answer = |(status, count): (&u16, &u64)| json!({ "status": status, "count": count });
    let cost = |cost: &Cost| {
        let cpu = cost.cpu.map(|cpu| micros_per(cpu, verdict.acked));
        json!({ "process": cost.name, "cpu_us_per_event": cpu, "peak_bytes": cost.memory })
    };
    json!({
        "accepted_per_second": round.accepted_per_second,
        "end_to_end_per_second": round.delivered_per_second,
        "ack": latency(&round.ack),
        "end_to_end": latency(&round.end_to_end),
        "cpu_us_per_event": total(round).map(|cpu| micros_per(cpu, verdict.acked)),
        "processes": round.costs.iter().map(cost).collect::<Vec<_>>(),
        "generator_and_receiver": cost(&round.own),
        "answers": round.outcome.answers.iter().map(answer).collect::<Vec<_>>(),
        "unanswered": round.outcome.unanswered,
        "black_hole_requests": round.swallowed,
        "ledger": {
            "attempted": verdict.attempted,
            "acked": verdict.acked,
            "delivered": verdict.delivered,
            "lost": verdict.lost,
            "duplicated": verdict.duplicated,
            "relabelled": verdict.relabelled,
            "unexpected": verdict.unexpected,
            "corrupt": verdict.corrupt,
            "recovered": verdict.recovered,
        },
    })
}

/// The CPU time of all processes of a round, if each is known.
fn total(round: &Round) -> Option<Duration> {
    if round.costs.is_empty() {
        return None;
    }
    round.costs.iter().map(|cost| cost.cpu).sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn micros_per(cpu: Duration, events: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / events.max(1) as f64
}

fn micros(cpu: Duration, events: u64) -> String {
    format!("{:.1}", micros_per(cpu, events))
}

pub(super) fn milliseconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64() * 1e3)
}

pub(super) fn rate(per_second: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is small and positive")]
    thousands(per_second.round() as u64)
}

pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn large_numbers_are_readable() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
