//! Metrics over the lives of workers: shown = retired + sum over the living, so that a counter
//! never goes backwards when a worker dies. Gauges count only the living.

use crate::{
    metrics::{Family, Kind, Sample, Value},
    supervisor::event::ProcId,
};
use std::collections::{BTreeMap, btree_map::Entry};

/// Series that are kept over all workers; more are dropped, so that labels that never end cannot
/// fill the memory.
const MAX_SERIES: usize = 20_000;

type Labels = Vec<(String, String)>;

#[derive(Clone, Debug)]
struct Series {
    help: String,
    kind: Kind,
    samples: BTreeMap<Labels, Value>,
}

/// What dead workers counted, and what each living one has.
pub(crate) type Pages = (Vec<Family>, Vec<(ProcId, Vec<Family>)>);

type Families = BTreeMap<String, Series>;

/// The ledger.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    retired: Families,
    live: BTreeMap<ProcId, Families>,
}

impl Ledger {
    /// A worker's metrics since its start. Values of counters below those of an earlier beat are
    /// not believed.
    pub(crate) fn take(&mut self, worker: ProcId, families: Vec<Family>) {
        let room = MAX_SERIES.saturating_sub(self.series());
        let known = self.live.entry(worker).or_default();
        for series in known
            .values_mut()
            .filter(|series| series.kind == Kind::Gauge)
        {
            series.samples.clear();
        }
        let mut added = 0;
        for family in families {
            let series = known.entry(family.name).or_insert_with(|| Series {
                help: family.help,
                kind: family.kind,
                samples: BTreeMap::new(),
            });
            if series.kind != family.kind {
                continue;
            }
            for Sample { labels, value } in family.samples {
                match series.samples.entry(labels) {
                    Entry::Occupied(mut entry) => {
                        if family.kind == Kind::Gauge || weight(&value) >= weight(entry.get()) {
                            entry.insert(value);
                        }
                    }
                    Entry::Vacant(entry) if added < room => {
                        added += 1;
                        entry.insert(value);
                    }
                    Entry::Vacant(_) => {}
                }
            }
        }
    }

    /// A worker is dead: what it counted stays.
    pub(crate) fn retire(&mut self, worker: ProcId) {
        for (name, series) in self.live.remove(&worker).unwrap_or_default() {
            if series.kind != Kind::Gauge {
                add(&mut self.retired, &name, &series);
            }
        }
    }

    /// Everything, by name.
    pub(crate) fn snapshot(&self) -> Vec<Family> {
        let mut all = self.retired.clone();
        for (name, series) in self.live.values().flatten() {
            add(&mut all, name, series);
        }
        listed(all)
    }

    /// The sum of a family of numbers over one living worker's labels; `None` if it has no such
    /// family.
    pub(crate) fn sum_of(&self, worker: ProcId, family: &str) -> Option<f64> {
        let series = self.live.get(&worker)?.get(family)?;
        let number = |value: &Value| {
            if let Value::Number(number) = value {
                *number
            } else {
                0.0
            }
        };
        Some(series.samples.values().map(number).sum())
    }

    /// What dead workers counted, and what the living ones have.
    pub(crate) fn pages(&self) -> Pages {
        (
            listed(self.retired.clone()),
            self.live
                .iter()
                .map(|(worker, families)| (*worker, listed(families.clone())))
                .collect(),
        )
    }

    /// The ledger with these pages.
    pub(crate) fn of((retired, live): Pages) -> Self {
        let mut ledger = Self::default();
        let nobody = ProcId(u64::MAX);
        ledger.take(nobody, retired);
        ledger.retired = ledger.live.remove(&nobody).unwrap_or_default();
        live.into_iter()
            .for_each(|(worker, families)| ledger.take(worker, families));
        ledger
    }

    fn series(&self) -> usize {
        self.live
            .values()
            .chain([&self.retired])
            .flat_map(BTreeMap::values)
            .map(|series| series.samples.len())
            .sum()
    }
}

fn listed(families: Families) -> Vec<Family> {
    let sample = |(labels, value)| Sample { labels, value };
    let family = |(name, series): (String, Series)| Family {
        name,
        help: series.help,
        kind: series.kind,
        samples: series.samples.into_iter().map(sample).collect(),
    };
    families.into_iter().map(family).collect()
}

fn add(all: &mut Families, name: &str, more: &Series) {
    let sum = all.entry(name.to_owned()).or_insert_with(|| Series {
        help: more.help.clone(),
        kind: more.kind,
        samples: BTreeMap::new(),
    });
    for (labels, value) in &more.samples {
        match sum.samples.entry(labels.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(value.clone());
            }
            Entry::Occupied(mut entry) => plus(entry.get_mut(), value),
        }
    }
}

fn plus(sum: &mut Value, more: &Value) {
    match (sum, more) {
        (Value::Number(sum), Value::Number(more)) => *sum += more,
        (
            Value::Histogram {
                buckets,
                sum,
                count,
                exemplars,
            },
            Value::Histogram {
                buckets: more_buckets,
                sum: more_sum,
                count: more_count,
                exemplars: more_exemplars,
            },
        ) => {
            // All lives of a role use the same bounds; a new version's other bounds would only lose
            // their buckets, not sum and count.
            for (bucket, more) in buckets
                .iter_mut()
                .zip(more_buckets)
                .filter(|(bucket, more)| bucket.0 == more.0)
            {
                bucket.1 += more.1;
            }
            let bounds: Vec<f64> = buckets.iter().map(|(bound, _)| *bound).collect();
            more_exemplars
                .iter()
                .for_each(|more| more.clone().newer_in(exemplars, &bounds));
            *sum += more_sum;
            *count += more_count;
        }
        _ => {}
    }
}

#[allow(clippy::cast_precision_loss, reason = "only compared")]
fn weight(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Histogram { count, .. } => *count as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beat(calls: f64, open: f64) -> Vec<Family> {
        let family = |name: &str, kind, value| {
            let samples = vec![Sample {
                labels: vec![("a".to_owned(), "b".to_owned())],
                value,
            }];
            Family {
                name: name.to_owned(),
                help: String::new(),
                kind,
                samples,
            }
        };
        let count = calls as u64;
        vec![
            family("calls_total", Kind::Counter, Value::Number(calls)),
            family("open", Kind::Gauge, Value::Number(open)),
            family(
                "seconds",
                Kind::Histogram,
                Value::Histogram {
                    buckets: vec![(1.0, count / 2)],
                    sum: calls,
                    count,
                    exemplars: Vec::new(),
                },
            ),
        ]
    }

    fn shown(ledger: &Ledger) -> (f64, f64, u64) {
        let all = ledger.snapshot();
        let find = |name| {
            all.iter()
                .find(|family| family.name == name)
                .and_then(|family| family.samples.first())
        };
        let number = |name| match find(name).map(|sample| &sample.value) {
            Some(Value::Number(number)) => *number,
            _ => 0.0,
        };
        let count = match find("seconds").map(|sample| &sample.value) {
            Some(Value::Histogram { count, .. }) => *count,
            _ => 0,
        };
        (number("calls_total"), number("open"), count)
    }

    #[test]
    fn pages_make_the_same_ledger_again() {
        let mut ledger = Ledger::default();
        ledger.take(ProcId(1), beat(5.0, 2.0));
        ledger.take(ProcId(2), beat(7.0, 3.0));
        ledger.retire(ProcId(1));
        let text = serde_json::to_string(&ledger.pages()).unwrap();
        let mut copy = Ledger::of(serde_json::from_str(&text).unwrap());
        assert_eq!(shown(&copy), (12.0, 3.0, 12));
        copy.take(ProcId(2), beat(8.0, 1.0));
        copy.retire(ProcId(2));
        assert_eq!(shown(&copy), (13.0, 0.0, 13));
    }

    #[test]
    fn what_a_dead_worker_counted_stays_and_its_gauges_go() {
        let mut ledger = Ledger::default();
        ledger.take(ProcId(1), beat(5.0, 2.0));
        ledger.take(ProcId(2), beat(7.0, 3.0));
        assert_eq!(shown(&ledger), (12.0, 5.0, 12));
        ledger.retire(ProcId(1));
        assert_eq!(shown(&ledger), (12.0, 3.0, 12));
        ledger.take(ProcId(3), beat(1.0, 1.0));
        assert_eq!(shown(&ledger), (13.0, 4.0, 13));
    }

    proptest! {
        #[test]
        fn counters_never_go_backwards(events in prop::collection::vec((0u64..4, 0u32..100, any::<bool>()), 1..200)) {
            let mut ledger = Ledger::default();
            let mut last = (0.0, 0);
            let mut lives = [0u64, 1, 2, 3];
            for (slot, calls, dies) in events {
                let slot = usize::try_from(slot).unwrap();
                if dies {
                    ledger.retire(ProcId(lives[slot]));
                    lives[slot] += 4;
                } else {
                    ledger.take(ProcId(lives[slot]), beat(f64::from(calls), 1.0));
                }
                let (calls, _, count) = shown(&ledger);
                prop_assert!(calls >= last.0 && count >= last.1);
                last = (calls, count);
            }
        }
    }
}
