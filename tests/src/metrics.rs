//! Reading Prometheus text, and the rule that counters never go backwards.

use std::collections::BTreeMap;

/// One scrape: series (name with labels) → value.
#[derive(Clone, Debug, Default)]
pub struct Scrape(pub BTreeMap<String, f64>);

impl Scrape {
    /// Reads the text format.
    ///
    /// # Panics
    /// When a line is neither a comment nor a sample.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (series, value) = line
                    .rsplit_once(' ')
                    .unwrap_or_else(|| panic!("not a sample: {line}"));
                (
                    series.to_owned(),
                    value
                        .parse()
                        .unwrap_or_else(|_| panic!("not a number: {line}")),
                )
            });
        Self(samples.collect())
    }

    /// The sum over all series of a family, whatever their labels, that contain `label`.
    #[must_use]
    pub fn sum(&self, name: &str, label: &str) -> f64 {
        let of_family =
            |series: &&String| series.split('{').next() == Some(name) && series.contains(label);
        self.0
            .iter()
            .filter(|(series, _)| of_family(series))
            .map(|(_, value)| value)
            .sum()
    }

    /// Counters (and the counting parts of histograms) that are smaller than they were, or that
    /// have vanished.
    #[must_use]
    pub fn backwards(&self, earlier: &Self) -> Vec<String> {
        let counts = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            // A CPU time is the process's own, and a process may go.
            ["_total", "_count", "_sum", "_bucket"]
                .iter()
                .any(|end| name.ends_with(end))
                && !name.contains("_cpu_seconds_")
        };
        let fell = |(series, before): (&String, &f64)| match self.0.get(series) {
            Some(now) if now >= before => None,
            Some(now) => Some(format!("{series}: {before} → {now}")),
            None => Some(format!("{series}: {before} → gone")),
        };
        earlier
            .0
            .iter()
            .filter(|(series, _)| counts(series))
            .filter_map(fell)
            .collect()
    }
}
