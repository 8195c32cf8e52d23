//! Declaring a worker's metrics in one place: field name = metric name, doc comment = HELP text.
//! Counting happens in the `prometheus` crate's atomics; what travels is [`Family`](super::Family).

use prometheus::{
    HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, core::Collector,
};

/// A metric that cannot be declared: its name is not valid or is taken.
pub type Error = prometheus::Error;

/// Upper bounds in seconds for calls: 100 µs (the gateway's own share) to a minute (the default
/// time-out).
pub const CALL_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0,
];

/// A kind of metric that [`metrics!`](crate::metrics) can declare.
pub trait Instrument: Collector + Clone + Sized + 'static {
    /// Makes one, not yet registered. `labels` and `buckets` are empty where the kind has none.
    ///
    /// # Errors
    /// The name or a label is not valid.
    fn declare(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<Self, Error>;
}

macro_rules! instruments {
    ($($kind:ty: |$opts:ident, $labels:ident, $buckets:ident| $make:expr;)*) => {$(
        impl Instrument for $kind {
            fn declare(name: &str, help: &str, $labels: &[&str], $buckets: &[f64]) -> Result<Self, Error> {
                let $opts = Opts::new(name, help);
                $make
            }
        }
    )*};
}

instruments! {
    IntCounter: |opts, _labels, _buckets| Self::with_opts(opts);
    IntGauge: |opts, _labels, _buckets| Self::with_opts(opts);
    IntCounterVec: |opts, labels, _buckets| Self::new(opts, labels);
    IntGaugeVec: |opts, labels, _buckets| Self::new(opts, labels);
    prometheus::Histogram: |opts, _labels, buckets| Self::with_opts(HistogramOpts::from(opts).buckets(buckets.to_vec()));
    prometheus::HistogramVec: |opts, labels, buckets| Self::new(HistogramOpts::from(opts).buckets(buckets.to_vec()), labels);
}

/// Declares a struct of metrics. Each field becomes the metric `ggend_<field>`, its doc comment the
/// HELP text:
///
/// ```ignore
/// metrics! {
///     /// What the http worker counts.
///     pub(crate) struct Metrics {
///         /// Requests answered.
///         pub(crate) http_requests_total: IntCounterVec ["path", "status"],
///         /// Time until the answer began.
///         pub(crate) request_duration_seconds: Histogram [] CALL_SECONDS,
///     }
/// }
/// ```
macro_rules! metrics {
    (
        $(#[$outer:meta])*
        $vis:vis struct $name:ident {
            $($(#[doc = $help:literal])+ $field_vis:vis $field:ident: $kind:ty $([$($label:literal),*] $($buckets:expr)?)?,)*
        }
    ) => {
        $(#[$outer])*
        #[derive(Debug)]
        $vis struct $name {
            registry: ::prometheus::Registry,
            $($(#[doc = $help])+ $field_vis $field: $kind,)*
        }

        impl $name {
            /// Declares and registers all of them.
            ///
            /// # Errors
            /// A name is not valid or appears twice: a mistake in the declaration.
            $vis fn new() -> ::std::result::Result<Self, $crate::metrics::Error> {
                let registry = ::prometheus::Registry::new();
                $(
                    let help = concat!($($help),+).trim();
                    let labels: &[&str] = &[$($($label),*)?];
                    let buckets: &[f64] = $crate::metrics::buckets!($($($buckets)?)?);
                    let $field = <$kind as $crate::metrics::Instrument>::declare(concat!("ggend_", stringify!($field)), help, labels, buckets)?;
                    registry.register(::std::boxed::Box::new($field.clone()))?;
                )*
                Ok(Self { registry, $($field,)* })
            }

            /// All of them as they travel.
            $vis fn gather(&self) -> ::std::vec::Vec<$crate::metrics::Family> {
                $crate::metrics::gather(&self.registry)
            }
        }
    };
}
macro_rules! buckets {
    () => {
        &[]
    };
    ($buckets:expr) => {
        $buckets
    };
}
pub(crate) use {buckets, metrics};

#[cfg(test)]
mod tests {
    use crate::metrics::{CALL_SECONDS, Kind, Value};
    use prometheus::{Histogram, IntCounterVec, IntGauge};

    metrics! {
        /// For the test.
        struct Example {
            /// Requests
            /// answered.
            requests_total: IntCounterVec ["path", "status"],
            /// Open connections.
            connections: IntGauge,
            /// Time.
            duration_seconds: Histogram [] CALL_SECONDS,
        }
    }

    #[test]
    fn declared_metrics_are_gathered_with_prefix_help_and_values() {
        let example = Example::new().expect("declares");
        example
            .requests_total
            .with_label_values(&["/mcp", "200"])
            .inc_by(3);
        example.connections.set(2);
        example.duration_seconds.observe(0.002);
        let families = example.gather();
        let family = |name: &str| {
            families
                .iter()
                .find(|family| family.name == name)
                .expect("is there")
        };
        let requests = family("ggend_requests_total");
        assert_eq!(
            (requests.help.as_str(), requests.kind),
            ("Requests answered.", Kind::Counter)
        );
        assert_eq!(requests.samples[0].value, Value::Number(3.0));
        assert_eq!(
            requests.samples[0].labels[1],
            ("status".to_owned(), "200".to_owned())
        );
        assert_eq!(
            family("ggend_connections").samples[0].value,
            Value::Number(2.0)
        );
        let Value::Histogram { buckets, count, .. } =
            &family("ggend_duration_seconds").samples[0].value
        else {
            panic!("a histogram")
        };
        assert_eq!((buckets.len(), *count), (CALL_SECONDS.len(), 1));
        let travelled: Vec<crate::metrics::Family> =
            serde_json::from_str(&serde_json::to_string(&families).expect("writes"))
                .expect("reads");
        assert_eq!(travelled, families);
    }
}
