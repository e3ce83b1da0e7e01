//! The tables: medians, and their ratios to the first row, which is the reference.

use std::fmt::Write;
use std::time::Duration;
use std::{env, fs, thread};

/// What one turn of a variant came to: how often per second, and `N` further figures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures<const N: usize> {
    pub(crate) per_second: f64,
    pub(crate) further: [f64; N],
}

/// The variants of a run and their figures, turn by turn.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    unit: &'static str,
    further: [&'static str; N],
    rows: Vec<(String, Vec<Figures<N>>)>,
}

impl<const N: usize> Table<N> {
    /// A table with this unit of what happens per second, and the headings of the further figures.
    pub(crate) fn new(unit: &'static str, further: [&'static str; N]) -> Self {
        Self {
            unit,
            further,
            rows: Vec::new(),
        }
    }

    /// Adds a turn of a variant. The first variant that has one is the reference.
    pub(crate) fn add(&mut self, variant: &str, figures: Figures<N>) {
        match self.rows.iter_mut().find(|(name, _)| name == variant) {
            Some((_, turns)) => turns.push(figures),
            None => self.rows.push((variant.to_owned(), vec![figures])),
        }
    }

    /// The table as text.
    pub(crate) fn text(&self) -> String {
        let width = self.rows.iter().map(|(name, _)| name.chars().count()).max();
        let width = width.unwrap_or_default();
        let mut text = format!(
            "{:width$}  {:>12}  {:>5}  {:>9}  {:>9}",
            "", self.unit, "ratio", "lowest", "highest"
        );
        for heading in self.further {
            let _ = write!(text, "  {heading:>8}");
        }
        let mut reference = None;
        for (name, turns) in &self.rows {
            let (lowest, median, highest) = spread(turns.iter().map(|turn| turn.per_second));
            let ratio = median / *reference.get_or_insert(median);
            let _ = write!(
                text,
                "\n{name:width$}  {:>12}  {ratio:>5.2}  {:>9}  {:>9}",
                rate(median),
                rate(lowest),
                rate(highest)
            );
            for column in 0..N {
                let (_, median, _) = spread(turns.iter().map(|turn| turn.further[column]));
                let _ = write!(text, "  {median:>8.2}");
            }
        }
        text
    }
}

/// Four digits tell all that a run can know.
fn rate(per_second: f64) -> String {
    let decimals = usize::from(per_second < 1000.0);
    format!("{per_second:.decimals$}")
}

/// The lowest, the median and the highest.
fn spread(figures: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (Some(lowest), Some(highest)) = (figures.first(), figures.last()) else {
        return (f64::NAN, f64::NAN, f64::NAN);
    };
    let middle = figures.len() / 2;
    let median = if figures.len() % 2 == 1 {
        figures[middle]
    } else {
        f64::midpoint(figures[middle - 1], figures[middle])
    };
    (*lowest, median, *highest)
}

/// How waits are distributed, in milliseconds.
pub(crate) fn distribution(rows: &mut [(impl AsRef<str>, Vec<Duration>)]) -> String {
    let widths = rows.iter().map(|(name, _)| name.as_ref().chars().count());
    let width = widths.max();
    let width = width.unwrap_or_default();
    let mut text = format!(
        "{:width$}  {:>8}  {:>8}  {:>8}  {:>8}  {:>8}",
        "", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "most ms"
    );
    for (name, waits) in rows {
        waits.sort_unstable();
        let _ = write!(text, "\n{:width$}", name.as_ref());
        for thousandth in [500, 900, 990, 999, 1000] {
            let index = waits.len().saturating_sub(1) * thousandth / 1000;
            let wait = waits.get(index).copied().unwrap_or_default();
            let _ = write!(text, "  {:>8.2}", wait.as_secs_f64() * 1000.0);
        }
    }
    text
}

/// On what and with which command the figures were taken.
pub(crate) fn machine_and_command() -> String {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| {
            rest.trim_matches([' ', '\t', ':'])
        });
    let arguments: Vec<String> = env::args().skip(1).collect();
    format!(
        "{cores} cores, {model}; cargo run --release -p bench -- {}",
        arguments.join(" ")
    )
}

/// The one place that prints.
#[expect(
    clippy::print_stdout,
    reason = "a table is what the program is run for"
)]
pub(crate) fn print(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_that_went_wrong_does_not_move_the_median() {
        assert_eq!(spread([9.0, 1.0, 8.0].into_iter()), (1.0, 8.0, 9.0));
        assert_eq!(spread([4.0, 1.0, 2.0, 9.0].into_iter()), (1.0, 3.0, 9.0));
    }

    #[test]
    fn a_distribution_is_made_of_waits_that_occurred() {
        let waits = (1..=1000).rev().map(Duration::from_millis).collect();
        let text = distribution(&mut [("a wait", waits)]);
        let row = text.lines().nth(1).unwrap();
        let figures: Vec<_> = row.split_whitespace().skip(2).collect();
        assert_eq!(figures, ["500.00", "900.00", "990.00", "999.00", "1000.00"]);
    }

    #[test]
    fn the_first_row_is_the_reference() {
        let mut table = Table::new("calls/s", ["p99 ms"]);
        for (variant, per_second) in [("bare", 2000.0), ("whole", 500.0)] {
            let figures = Figures {
                per_second,
                further: [1.5],
            };
            table.add(variant, figures);
        }
        assert_eq!(
            table.text(),
            "            calls/s  ratio     lowest    highest    p99 ms\n\
             bare           2000   1.00       2000       2000      1.50\n\
             whole         500.0   0.25      500.0      500.0      1.50"
        );
    }
}
