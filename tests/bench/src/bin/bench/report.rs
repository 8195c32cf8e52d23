//! What was measured, as a table for people and as JSON, held against the floors.

use super::{era::Era, load::Slice, processes::Memory};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt};

/// Floors at this concurrency: calls per second as a share of the bare relay's, at least.
const RATE_FLOOR: f64 = 0.35;
/// Processor time per call as a multiple of the bare relay's, at most.
const CPU_CEILING: f64 = 3.5;
/// Where the floors hold.
const FLOORS_AT: usize = 64;

/// One turn of each.
pub(crate) struct Round {
    pub(crate) ours: Slice,
    pub(crate) floor: Slice,
    /// Latencies over bare pipes.
    pub(crate) raw: Option<Vec<u64>>,
}

/// One of the two that are measured.
type Side = fn(&Round) -> &Slice;
const OURS: Side = |round| &round.ours;
const FLOOR: Side = |round| &round.floor;

/// One line of the table.
pub(crate) struct Cell {
    era: Era,
    pub(crate) concurrency: usize,
    pub(crate) rounds: Vec<Round>,
}

/// Everything.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) cells: Vec<Cell>,
    pub(crate) idle: Vec<Memory>,
    pub(crate) loaded: Vec<Memory>,
}

fn own(name: &str) -> bool {
    name != "upstream"
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    match (values.len() / 2, values.len() % 2) {
        (_, _) if values.is_empty() => f64::NAN,
        (middle, 0) => f64::midpoint(values[middle - 1], values[middle]),
        (middle, _) => values[middle],
    }
}

impl Cell {
    pub(crate) const fn new(era: Era, concurrency: usize) -> Self {
        Self {
            era,
            concurrency,
            rounds: Vec::new(),
        }
    }

    /// Calls that failed, of both.
    pub(crate) fn wrong(&self) -> u64 {
        self.rounds
            .iter()
            .map(|round| round.ours.wrong + round.floor.wrong)
            .sum()
    }

    fn of(&self, side: Side, value: impl Fn(&Slice) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(side(round))))
    }

    /// Ratios are taken within a round, where both met the same machine.
    fn ratio(&self, value: impl Fn(&Slice) -> f64) -> f64 {
        median(
            self.rounds
                .iter()
                .map(|round| value(&round.ours) / value(&round.floor)),
        )
    }

    fn rate_ratio(&self) -> f64 {
        self.ratio(Slice::rate)
    }

    fn cpu_ratio(&self) -> f64 {
        self.ratio(|slice| slice.cpu(own))
    }

    fn raw(&self) -> Option<f64> {
        let medians = self.rounds.iter().filter_map(|round| {
            let raw = round.raw.as_ref()?;
            raw.get(raw.len() / 2).map(|time| *time as f64 / 1000.0)
        });
        Some(median(medians)).filter(|median| median.is_finite())
    }

    /// Whether the floors are met; `None` where there are none.
    fn floors_met(&self) -> Option<bool> {
        (self.concurrency == FLOORS_AT)
            .then(|| self.rate_ratio() >= RATE_FLOOR && self.cpu_ratio() <= CPU_CEILING)
    }

    /// Processor time per call of each process.
    fn split(&self, side: Side) -> Vec<(String, f64)> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in self
            .rounds
            .first()
            .map_or(&[][..], |round| &side(round).cpu)
        {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let of = |wanted: &str| {
            median(
                self.rounds
                    .iter()
                    .map(|round| side(round).cpu(|name| name == wanted)),
            )
        };
        names
            .into_iter()
            .map(|name| (name.to_owned(), of(name)))
            .collect()
    }

    fn to_json(&self) -> Value {
        let one = |side: Side| {
            json!({
                "calls_per_second": self.of(side, Slice::rate),
                "latency_us": {
                    "p50": self.of(side, |slice| slice.latency(0.5)),
                    "p90": self.of(side, |slice| slice.latency(0.9)),
                    "p99": self.of(side, |slice| slice.latency(0.99)),
                },
                "cpu_us_per_call": self.of(side, |slice| slice.cpu(own)),
                "cpu_us_per_call_of": self.split(side).into_iter().collect::<BTreeMap<_, _>>(),
            })
        };
        json!({
            "era": self.era,
            "concurrency": self.concurrency,
            "rounds": self.rounds.len(),
            "calls": self.rounds.iter().map(|round| round.ours.latencies.len()).sum::<usize>(),
            "wrong": self.wrong(),
            "ggend": one(OURS),
            "bare_relay": one(FLOOR),
            "raw_pipe_p50_us": self.raw(),
            "rate_ratio": self.rate_ratio(),
            "cpu_ratio": self.cpu_ratio(),
            "floors_met": self.floors_met(),
        })
    }
}

impl Report {
    /// Whether every line that has floors meets them.
    pub(crate) fn floors_met(&self) -> bool {
        self.cells
            .iter()
            .all(|cell| cell.floors_met() != Some(false))
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "cells": self.cells.iter().map(Cell::to_json).collect::<Vec<_>>(),
            "memory": {"idle": self.idle, "loaded": self.loaded},
            "floors": {"concurrency": FLOORS_AT, "rate_ratio": RATE_FLOOR, "cpu_ratio": CPU_CEILING, "met": self.floors_met()},
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "                          calls/s             p50 us         p90 us         p99 us      cpu us/call      ratio to bare relay"
        )?;
        writeln!(
            f,
            "era     connections    ggend    bare   ggend   bare   ggend   bare   ggend   bare   ggend   bare   calls/s      cpu"
        )?;
        for cell in &self.cells {
            let pair = |value: &dyn Fn(&Slice) -> f64, width: usize, digits: usize| {
                format!(
                    "{:>width$.digits$}{:>width$.digits$}",
                    cell.of(OURS, value),
                    cell.of(FLOOR, value)
                )
            };
            let verdict = match cell.floors_met() {
                Some(true) => "   floors met",
                Some(false) => "   FLOORS MISSED",
                None => "",
            };
            writeln!(
                f,
                "{:8}{:11}{}{}{}{}{}{:9.0} %{:7.2} x{verdict}",
                cell.era.name(),
                cell.concurrency,
                pair(&Slice::rate, 9, 0),
                pair(&|s| s.latency(0.5), 8, 0),
                pair(&|s| s.latency(0.9), 8, 0),
                pair(&|s| s.latency(0.99), 8, 0),
                pair(&|s| s.cpu(own), 8, 1),
                cell.rate_ratio() * 100.0,
                cell.cpu_ratio(),
            )?;
        }
        writeln!(
            f,
            "floors at {FLOORS_AT}: calls/s at least {:.0} %, cpu at most {CPU_CEILING} x\n",
            RATE_FLOOR * 100.0
        )?;
        for cell in &self.cells {
            if let Some(raw) = cell.raw() {
                let ours = cell.of(OURS, |slice| slice.latency(0.5));
                writeln!(
                    f,
                    "{}: bare pipe round trip p50 {raw:.0} us; ggend adds {:.0} us",
                    cell.era,
                    ours - raw
                )?;
            }
        }
        for cell in self.cells.iter().filter(|cell| cell.floors_met().is_some()) {
            let list = |split: Vec<(String, f64)>| {
                split
                    .iter()
                    .map(|(name, cpu)| format!("{name} {cpu:.1}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            };
            writeln!(
                f,
                "{} at {FLOORS_AT}, cpu us/call: {}",
                cell.era,
                list(cell.split(OURS))
            )?;
            writeln!(
                f,
                "{} at {FLOORS_AT}, bare:        {}",
                cell.era,
                list(cell.split(FLOOR))
            )?;
        }
        writeln!(f, "\nmemory (Pss KiB)    idle  after load")?;
        for (idle, loaded) in self.idle.iter().zip(&self.loaded) {
            writeln!(
                f,
                "{:16}{:8}{:12}",
                idle.process, idle.pss_kib, loaded.pss_kib
            )?;
        }
        for cell in self.cells.iter().filter(|cell| cell.wrong() > 0) {
            writeln!(
                f,
                "\n{} at {}: {} calls answered wrongly or not at all",
                cell.era,
                cell.concurrency,
                cell.wrong()
            )?;
            for complaint in cell
                .rounds
                .iter()
                .flat_map(|round| round.ours.complaints.iter().chain(&round.floor.complaints))
                .take(5)
            {
                writeln!(f, "  {complaint}")?;
            }
        }
        Ok(())
    }
}
