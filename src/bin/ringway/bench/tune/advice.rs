//! The suggestion: options as text that can be pasted, a reason for each from the numbers, and what to be wary of.
//!
//! Finds the numbers in the rows; the decisions are in `decide`.

use super::decide::{self, Inline, Length, Waiting, pairs};
use super::parked::Span;
use crate::bench::plan::{Mode, System};
use crate::bench::report::Row;
use crate::bench::schedule::Outcome;
use serde::Serialize;
use std::fmt::Write as _;

/// What follows from the rows; what could not be found out is absent.
#[derive(Debug, Default, Serialize)]
pub struct Suggestion {
    /// Rust, to paste; none if nothing is known.
    pub options: Option<String>,
    pub capacity: Option<u64>,
    /// None: the default.
    pub inline: Option<usize>,
    /// `park`, or `spin then park`.
    pub wait: Option<&'static str>,
    pub budget_us: Option<u64>,
    /// The numbers behind it.
    pub reasons: Vec<String>,
    pub caveats: Vec<String>,
    /// Nothing says that another run would say something else.
    pub decisive: bool,
    /// Pairs of processors that were not measured.
    pub pairs_left_out: usize,
    #[serde(skip)]
    nearness: Option<String>,
}

/// What the runs of a row may differ by.
const STEADY: f64 = 0.25;

/// From the rows of a tuning and what its runs saw; `cpus` are the processors that may be used, none if it is one.
pub fn suggest(rows: &[Row], outcome: &Outcome, cpus: &[usize]) -> Suggestion {
    let probes = outcome.histories.iter().flatten().map(|history| {
        let runs = history.runs.iter();
        runs.flat_map(|run| [run.probes.0, run.probes.1]).collect::<Vec<_>>()
    });
    let moved = decide::moved(&probes.collect::<Vec<_>>());
    let mut suggestion = of_rows(rows, cpus.len());
    suggestion.be_wary(rows, moved, cpus.len());
    suggestion
}

fn of_rows(rows: &[Row], processors: usize) -> Suggestion {
    let mut suggestion = Suggestion::default();
    let near = suggestion.look_at_pairs(rows, processors);
    suggestion.choose_capacity(rows);
    suggestion.choose_inline(rows);
    suggestion.choose_waiting(rows, processors, near.map(|round_trip| round_trip / 2.0));
    let mode = rows.iter().find_map(|row| row.cell.mode);
    suggestion.options = suggestion.paste(mode.unwrap_or(Mode::Mpmc));
    suggestion
}

fn millions(rate: f64) -> String {
    format!("{:.3}", rate / 1e6)
}

fn us(ns: f64) -> String {
    format!("{:.2} us", ns / 1000.0)
}

impl Suggestion {
    /// Gives the round trip of the nearest pair.
    fn look_at_pairs(&mut self, rows: &[Row], processors: usize) -> Option<f64> {
        let measured = rows.iter().filter_map(|row| Some((row.cell.cpus?, row.p50? as f64)));
        let measured: Vec<_> = measured.collect();
        let stated = rows.iter().filter(|row| row.cell.cpus.is_some()).count();
        self.pairs_left_out = (processors * processors.saturating_sub(1) / 2).saturating_sub(stated);
        let found = pairs(&measured)?;
        let [a, b] = found.nearest;
        let mut text = format!(
            "a cache line there and back, between {} of cores: min {:.0} ns ({a} and {b}), median {:.0}, max {:.0}",
            if measured.len() == 1 { "one pair".into() } else { format!("{} pairs", measured.len()) },
            found.min,
            found.median,
            found.max
        );
        if self.pairs_left_out > 0 {
            let _ = write!(text, "; {} pairs left out", self.pairs_left_out);
        }
        self.nearness = Some(text);
        Some(found.min)
    }

    fn choose_capacity(&mut self, rows: &[Row]) {
        let of_capacities = rows.iter().filter(|row| row.cell.system == System::Ringway);
        let rates: Vec<_> = of_capacities.filter_map(|row| Some((row.cell.capacity?, row.msgs_per_s?))).collect();
        let Some(chosen) = decide::smallest_capacity(&rates) else { return };
        self.capacity = Some(chosen.slots);
        self.reasons.push(format!(
            "capacity {}: the smallest with {:.0} % of the most: {} of {} million messages a second",
            chosen.slots,
            decide::ENOUGH * 100.0,
            millions(chosen.rate),
            millions(chosen.best)
        ));
    }

    fn choose_inline(&mut self, rows: &[Row]) {
        let of_bytes = || rows.iter().filter(|row| row.cell.system == System::RingwayBytes);
        let mut sizes: Vec<usize> = of_bytes().map(|row| row.cell.size).collect();
        sizes.dedup();
        let rate = |size, whole| {
            let row = of_bytes().find(|row| row.cell.size == size && (row.cell.inline == Some(size)) == whole)?;
            row.msgs_per_s
        };
        let of = |&bytes: &usize| Length { bytes, inline: rate(bytes, true), blocks: rate(bytes, false) };
        let lengths: Vec<Length> = sizes.iter().map(of).collect();
        let slots = self.capacity.unwrap_or(super::USUAL_CAPACITY);
        let Some(chosen) = decide::inline(&lengths, slots) else { return };
        let known = lengths.iter().filter_map(|length| Some((length.bytes, length.times()?)));
        let all: Vec<String> = known.map(|(bytes, times)| format!("{bytes} bytes {times:.2} x")).collect();
        let gained = format!("beside blocks, in the slots: {}", all.join(", "));
        self.reasons.push(match chosen {
            Inline::Default => format!("inline: the default, {} bytes; {gained}", decide::DEFAULT_INLINE),
            Inline::Bytes(bytes) => {
                self.inline = Some(bytes);
                let kib = (slots * bytes as u64).div_ceil(1024);
                format!("inline {bytes} (of bytes; at least {kib} KiB of slots): {gained}")
            }
        });
    }

    fn choose_waiting(&mut self, rows: &[Row], processors: usize, hand_over_ns: Option<f64>) {
        let parked = rows.iter().find(|row| row.cell.system == System::Futex);
        let median = |of: fn(&Row) -> Option<Span>| parked.and_then(of).map(|span| span.median);
        let cpu = median(|row| row.wake.sleep_wake_cpu_ns);
        let (call, to_run) = (median(|row| row.wake.wake_call_ns), median(|row| row.wake.wake_to_run_ns));
        let Some(waiting) = decide::waiting(processors, cpu, hand_over_ns) else { return };
        let costs = match (cpu, call, to_run) {
            (Some(cpu), Some(call), Some(to_run)) => format!(
                "a sleep and its wake-up take {} of processor time; the waker's call {}, and the other runs after {}",
                us(cpu),
                us(call),
                us(to_run)
            ),
            _ => "what a sleep costs is not known".into(),
        };
        match waiting {
            Waiting::Park => {
                self.wait = Some("park");
                self.reasons.push(match processors < 2 {
                    true => format!("park: on one processor spinning only keeps the other side from running; {costs}"),
                    false => format!("park: between running processes a hand-over takes as long; {costs}"),
                });
            }
            Waiting::Spin { budget_us } => {
                self.wait = Some("spin then park");
                self.budget_us = Some(budget_us);
                let mut reason = format!("budget {budget_us} us: {costs}; spinning longer costs more than sleeping");
                if let Some(longer) = to_run.map(|ns| (ns / 1000.0).ceil()).filter(|us| *us > budget_us as f64) {
                    let _ = write!(reason, " (for the lowest latency rather than processor time: {longer} us)");
                }
                self.reasons.push(reason);
            }
        }
    }

    fn paste(&self, mode: Mode) -> Option<String> {
        if self.capacity.is_none() && self.wait.is_none() {
            return None;
        }
        let mut text = format!("Options::new({})", self.capacity.unwrap_or(super::USUAL_CAPACITY));
        if mode.single_producer() {
            text.push_str("\n    .producers(Side::Single)");
        }
        if mode.single_consumer() {
            text.push_str("\n    .consumers(Side::Single)");
        }
        if let Some(bytes) = self.inline {
            let _ = write!(text, "\n    .inline({bytes})");
        }
        match (self.wait, self.budget_us) {
            (_, Some(us)) => {
                let budget = format!("Duration::from_micros({us})");
                let _ = write!(text, "\n    .wait_policy(WaitPolicy::SpinThenPark {{ budget: {budget} }})");
            }
            (Some(_), None) => text.push_str("\n    .wait_policy(WaitPolicy::Park)"),
            (None, None) => {}
        }
        Some(text)
    }

    fn be_wary(&mut self, rows: &[Row], moved: usize, processors: usize) {
        if processors < 2 {
            self.caveats.push("one processor: there are no pairs of cores, and every wait sleeps".into());
        }
        let of = rows.len();
        let count = |is_so: fn(&Row) -> bool| rows.iter().filter(|row| is_so(row)).count();
        let doubts = [
            (count(|row| row.error.is_some()), "are missing, and nothing is concluded from them".to_owned()),
            (moved, "ran while the processors were moved, or wanted by others (the probes disagree)".to_owned()),
            (
                count(|row| row.spread.is_some_and(|spread| spread > STEADY)),
                format!("differ by more than {:.0} % from run to run", STEADY * 100.0),
            ),
            (count(|row| row.error.is_none() && row.runs < 2), "have one run".to_owned()),
        ];
        let doubts = doubts.iter().filter(|(rows, _)| *rows > 0);
        let doubts: Vec<String> = doubts.map(|(rows, what)| format!("{rows} of {of} rows {what}")).collect();
        self.decisive = doubts.is_empty() && self.capacity.is_some() && self.wait.is_some();
        self.caveats.extend(doubts);
        if !self.decisive {
            self.caveats.push("not decisive: run it again when the machine is quiet, and without --quick".into());
        }
    }

    /// What stands below the table.
    pub fn text(&self) -> String {
        let mut text = String::from(
            "call: the system call that wakes; to run: from there until the other one runs;\n\
             cpu: processor time of one sleep and wake-up, both sides;\n\
             inline: room in every slot; where it is less than the message, that lies in a block\n",
        );
        if let Some(nearness) = &self.nearness {
            let _ = writeln!(text, "{nearness}");
        }
        match &self.options {
            None => text.push_str("nothing is suggested: too little was measured\n"),
            Some(options) => {
                text.push_str("\nsuggested:\n\n");
                options.lines().for_each(|line| text.push_str(&format!("    {line}\n")));
                text.push('\n');
            }
        }
        self.reasons.iter().for_each(|reason| text.push_str(&format!("{reason}\n")));
        self.caveats.iter().for_each(|caveat| text.push_str(&format!("caveat: {caveat}\n")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::{Bench, Cell};

    fn row(system: System, size: usize, change: impl FnOnce(&mut Row)) -> Row {
        let mut row = Row { runs: 3, spread: Some(0.1), ..Row::of(&Cell::bare(Bench::Tune, system, size)) };
        change(&mut row);
        row
    }

    fn pair(cpus: [usize; 2], ns: u64) -> Row {
        row(System::Raw, 8, |row| (row.cell.cpus, row.p50) = (Some(cpus), Some(ns)))
    }

    fn parked(cpu_ns: f64) -> Row {
        let span = |ns| Some(Span { median: ns, min: ns, max: ns });
        row(System::Futex, 8, |row| {
            row.wake.wake_call_ns = span(1_500.0);
            row.wake.wake_to_run_ns = span(30_000.0);
            row.wake.sleep_wake_cpu_ns = span(cpu_ns);
        })
    }

    fn capacity(slots: u64, rate: f64) -> Row {
        row(System::Ringway, 56, |row| {
            (row.cell.mode, row.cell.capacity, row.msgs_per_s) = (Some(Mode::Mpmc), Some(slots), Some(rate));
        })
    }

    fn length(size: usize, inline: usize, rate: f64) -> Row {
        row(System::RingwayBytes, size, |row| (row.cell.inline, row.msgs_per_s) = (Some(inline), Some(rate)))
    }

    fn machine() -> Vec<Row> {
        let mut rows = vec![pair([0, 1], 140), pair([0, 2], 60), pair([1, 2], 150), parked(5_100.0)];
        rows.extend([capacity(16, 10e6), capacity(1024, 39e6), capacity(65_536, 40e6)]);
        rows.extend([length(56, 56, 30e6), length(56, 4, 8e6), length(256, 256, 12e6), length(256, 4, 8e6)]);
        rows
    }

    fn advice(rows: &[Row], moved: usize, processors: usize) -> Suggestion {
        let mut suggestion = of_rows(rows, processors);
        suggestion.be_wary(rows, moved, processors);
        suggestion
    }

    #[test]
    fn a_quiet_machine_gets_options_with_reasons() {
        let advice = advice(&machine(), 0, 4);
        let options = "Options::new(1024)\n    .inline(256)\n    \
                       .wait_policy(WaitPolicy::SpinThenPark { budget: Duration::from_micros(6) })";
        assert_eq!(advice.options.as_deref(), Some(options));
        assert!(advice.decisive && advice.caveats.is_empty(), "{:?}", advice.caveats);
        assert_eq!((advice.reasons.len(), advice.pairs_left_out), (3, 3));
        let text = advice.text();
        for part in ["min 60 ns (0 and 2), median 140, max 150; 3 pairs left out", "lowest latency", "30 us", "5.10 us"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn sides_are_those_that_were_measured() {
        let mut rows = machine();
        rows.iter_mut().filter(|row| row.cell.mode.is_some()).for_each(|row| row.cell.mode = Some(Mode::Mpsc));
        let options = advice(&rows, 0, 3).options.unwrap();
        assert!(options.contains(".consumers(Side::Single)") && !options.contains(".producers("), "{options}");
    }

    #[test]
    fn one_processor_parks_and_says_so() {
        let advice = advice(&machine()[3..], 0, 0);
        assert!(advice.options.as_ref().is_some_and(|text| text.contains("WaitPolicy::Park")), "{advice:?}");
        assert_eq!((advice.wait, advice.budget_us, advice.pairs_left_out), (Some("park"), None, 0));
        assert!(advice.caveats[0].starts_with("one processor"));
    }

    #[test]
    fn doubts_make_it_not_decisive() {
        assert!(!advice(&machine(), 1, 3).decisive, "moved");
        for spoil in [
            (|row: &mut Row| row.spread = Some(0.3)) as fn(&mut Row),
            |row: &mut Row| row.runs = 1,
            |row: &mut Row| (row.error, row.msgs_per_s) = (Some("lost".into()), None),
        ] {
            let mut rows = machine();
            spoil(&mut rows[4]);
            let advice = advice(&rows, 0, 3);
            assert!(!advice.decisive && advice.caveats.len() == 2, "{advice:?}");
        }
    }

    #[test]
    fn nothing_follows_from_nothing() {
        let nothing = advice(&[], 0, 2);
        assert!(nothing.options.is_none() && nothing.reasons.is_empty() && !nothing.decisive);
        assert!(nothing.text().contains("nothing is suggested"));
        let mut rows = machine();
        rows.iter_mut().for_each(|one| *one = row(one.cell.system, one.cell.size, |row| row.error = Some("x".into())));
        let failed = advice(&rows, 0, 2);
        assert!(failed.options.is_none() && !failed.decisive, "{failed:?}");
        // What a sleep costs is enough for the wait policy, and for no more.
        let some = advice(&[parked(5_100.0)], 0, 2);
        assert_eq!((some.capacity, some.budget_us, some.decisive), (None, Some(6), false));
    }
}
