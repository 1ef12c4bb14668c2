//! What a receiver that never answers costs the others: pairs of rounds, alike but for the black hole's silence.
//! Each round has a hub of its own, and each pair begins with the other kind, so that drift falls on both alike.

use busbar_runtime::Settings;

use crate::bench::round::{Plan, Round};
use crate::bench::{Options, report, through_a_hub};

/// Two rounds at the same rate.
pub(super) struct Pair {
    /// The black hole answers like the rest.
    pub(super) answering: Round,
    /// The black hole never answers.
    pub(super) silent: Round,
}

impl Pair {
    /// The healthy webhooks' end-to-end p99 with the black hole silent, as a multiple of that with it answering.
    pub(super) fn ratio(&self) -> f64 {
        self.silent.end_to_end.p99.as_secs_f64() / self.answering.end_to_end.p99.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Measures and prints; answers whether every promise was kept.
pub(super) async fn run(options: &Options, settings: &Settings, count: u32) -> anyhow::Result<bool> {
    anyhow::ensure!(options.blackhole_share > 0.0, "--pairs needs a --blackhole-share above 0");
    let plan = Plan::new(options);
    let mut pairs = Vec::new();
    for number in 0..count {
        let first_is_silent = number % 2 == 1;
        let first = through_a_hub(options, settings, &plan, first_is_silent).await?;
        let second = through_a_hub(options, settings, &plan, !first_is_silent).await?;
        let (answering, silent) = if first_is_silent { (second, first) } else { (first, second) };
        let pair = Pair { answering, silent };
        if !options.json {
            report::pair(number + 1, &pair)?;
        }
        pairs.push(pair);
    }
    report::pairs(options, &pairs)?;
    Ok(pairs.iter().all(|pair| pair.answering.verdict.is_kept() && pair.silent.verdict.is_kept()))
}

/// The middle one of some numbers, or the mean of both middle ones; 0 if there are none.
pub(super) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.get(middle) {
        None => 0.0,
        Some(upper) if numbers.len() % 2 == 1 => *upper,
        Some(upper) => f64::midpoint(numbers[middle - 1], *upper),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }
}
