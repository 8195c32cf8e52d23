//! Metrics of the daemon as a whole.

use super::{Facts, family, flag, sample, seconds};
use crate::metrics::{Family, Kind};
use ggen_wire::status::Phase;

pub(super) fn families(facts: &Facts<'_>) -> Vec<Family> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "metrics are floating-point numbers"
    )]
    let expiry = |(file, name, not_after): &(String, String, i64)| {
        sample(&[("file", file), ("name", name)], *not_after as f64)
    };
    vec![
        family(
            "ggend_build_info",
            "The running version.",
            Kind::Gauge,
            [sample(&[("version", ggen_wire::VERSION)], 1.0)],
        ),
        family(
            "ggend_config_generation",
            "Generation of the configuration in force.",
            Kind::Gauge,
            [sample(&[], f64::from(facts.generation))],
        ),
        family(
            "ggend_start_time_seconds",
            "When the supervisor started, since the Unix epoch.",
            Kind::Gauge,
            [sample(&[], seconds(facts.started_ms))],
        ),
        family(
            "ggend_certificate_expiry_timestamp_seconds",
            "When a certificate that is served expires, since the Unix epoch.",
            Kind::Gauge,
            facts.certificates.iter().map(expiry),
        ),
        family(
            "ggend_transport_up",
            "Whether a transport that is configured is served; 0 also while it is stopped on request.",
            Kind::Gauge,
            facts
                .transports
                .iter()
                .map(|it| sample(&[("transport", &it.name)], flag(it.phase == Phase::Running))),
        ),
    ]
}
