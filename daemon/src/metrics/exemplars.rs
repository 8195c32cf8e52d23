//! Exemplars of a histogram: for each bucket, the newest observation of a recorded trace. Bounded
//! by the buckets and the series. Pure.

use super::{Exemplar, Family, Value};
use std::collections::BTreeMap;

/// The exemplars of one family, by the value of the label that tells its series apart.
#[derive(Clone, Debug, Default)]
pub struct Exemplars(BTreeMap<&'static str, Vec<Exemplar>>);

impl Exemplars {
    /// Keeps an observation in the place of the one that its bucket had.
    pub fn take(
        &mut self,
        series: &'static str,
        value: f64,
        trace: String,
        at_ms: u64,
        bounds: &[f64],
    ) {
        Exemplar {
            trace,
            value,
            at_ms,
        }
        .newer_in(self.0.entry(series).or_default(), bounds);
    }

    /// Gives the samples of the histogram `name` their exemplars.
    pub fn show(&self, families: &mut [Family], name: &str, label: &str) {
        for sample in families
            .iter_mut()
            .filter(|family| family.name == name)
            .flat_map(|family| &mut family.samples)
        {
            let series = sample
                .labels
                .iter()
                .find(|(key, _)| key == label)
                .and_then(|(_, value)| self.0.get(value.as_str()));
            if let (Some(series), Value::Histogram { exemplars, .. }) = (series, &mut sample.value)
            {
                exemplars.clone_from(series);
            }
        }
    }
}

impl Exemplar {
    /// The bucket that it falls into; past the last bound for that of everything.
    pub(crate) fn bucket(&self, bounds: &[f64]) -> usize {
        bounds.partition_point(|bound| *bound < self.value)
    }

    /// Takes its place among `others`, unless its bucket has a newer one.
    pub(crate) fn newer_in(self, others: &mut Vec<Self>, bounds: &[f64]) {
        let bucket = self.bucket(bounds);
        match others.binary_search_by_key(&bucket, |other| other.bucket(bounds)) {
            Ok(at) if others[at].at_ms <= self.at_ms => others[at] = self,
            Ok(_) => {}
            Err(at) => others.insert(at, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_keeps_its_newest() {
        let (mut kept, bounds) = (Exemplars::default(), [0.5, 1.0]);
        for (value, trace, at_ms) in [
            (2.0, "a", 1),
            (0.5, "b", 2),
            (0.1, "c", 3),
            (0.2, "late", 1),
            (0.7, "d", 4),
        ] {
            kept.take("tools/call", value, trace.to_owned(), at_ms, &bounds);
        }
        let traces: Vec<_> = kept.0["tools/call"]
            .iter()
            .map(|exemplar| exemplar.trace.as_str())
            .collect();
        assert_eq!(traces, ["c", "d", "a"]);
    }
}
