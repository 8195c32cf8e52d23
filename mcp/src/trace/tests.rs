//! Tests of what is read of a trace context, and of what is passed on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use super::TraceId;
use super::context::{Header, Trace};
use super::span::SpanId;
use super::syntax::{BAGGAGE, PARENT, STATE, is_baggage, is_state, parse_parent};
use proptest::prelude::*;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn parents_are_judged_as_level_1_says() {
    let ids = |text: &str| {
        parse_parent(text).map(|parent| (parent.trace, parent.span, parent.is_sampled()))
    };
    let (id, span) = (
        TraceId(0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c),
        SpanId(0xb7ad_6b71_6920_3331),
    );
    assert_eq!(ids(GOOD), Some((id, span, true)));
    assert_eq!(
        (id.to_string().as_str(), span.to_string().as_str()),
        (&GOOD[3..35], &GOOD[36..52])
    );
    assert_eq!(ids(&GOOD.replace("-01", "-fe")), Some((id, span, false)));
    assert_eq!(
        ids(&format!("cc{}-what-the-future-holds", &GOOD[2..])),
        Some((id, span, true))
    );
    let zeros = |at: std::ops::Range<usize>| {
        format!(
            "{}{}{}",
            &GOOD[..at.start],
            "0".repeat(at.len()),
            &GOOD[at.end..]
        )
    };
    let long = format!("cc{}-{}", &GOOD[2..], "x".repeat(80));
    for bad in [
        "",
        "00",
        &GOOD[..54],
        &GOOD.to_uppercase(),
        &format!("ff{}", &GOOD[2..]),
        &format!("{GOOD}-more"),
        &format!("cc{}.more", &GOOD[2..]),
        &long,
        &zeros(3..35),
        &zeros(36..52),
        &GOOD.replace('-', "_"),
        &GOOD.replace("0af", "+af"),
        &format!("{}é", &GOOD[..54]),
    ] {
        assert_eq!(parse_parent(bad), None, "{bad}");
    }
}

const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-00f067aa0ba902b7-03";

fn headers(fields: &[(&str, &str)]) -> Vec<Header> {
    fields
        .iter()
        .map(|(name, value)| ((*name).into(), value.as_bytes().into()))
        .collect()
}

#[test]
fn a_span_of_ours_takes_the_place_of_the_parent_in_both_carriers_and_the_rest_goes_along() {
    let carried = headers(&[(PARENT, OTHER), (STATE, "b=2"), (BAGGAGE, "of=header")]);
    let meta =
        format!(r#"{{"x":1.0,"traceparent":"{GOOD}","tracestate":"a=1","baggage":"of=meta"}}"#);
    let trace = Trace::read(&carried, Some(&meta)).unwrap();
    let origin = trace.origin().unwrap();
    assert_eq!(
        (
            origin.trace.to_string().as_str(),
            origin.span.to_string().as_str(),
            origin.sampled
        ),
        (&GOOD[3..35], &GOOD[36..52], true)
    );
    assert_eq!(
        (origin.state.as_deref(), origin.link),
        (
            Some("a=1"),
            Some((TraceId(u128::MAX), SpanId(0x00f0_67aa_0ba9_02b7)))
        )
    );
    let below = trace.below(SpanId(0xabc));
    let ours = format!("00-{}-0000000000000abc-01", &GOOD[3..35]);
    let sent: Vec<_> = below.headers().collect();
    let expected = [
        (PARENT, ours.as_str()),
        (STATE, "a=1"),
        (BAGGAGE, "of=header"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(sent, expected);
    let text = format!(r#"{{"id":1,"params":{{"a":1.0,"_meta":{meta}}}}}"#);
    let expected = format!(
        r#"{{"id":1,"params":{{"a":1.0,"_meta":{{"x":1.0,"baggage":"of=meta","traceparent":"{ours}","tracestate":"a=1"}}}}}}"#
    );
    assert_eq!(below.in_params(&text).unwrap(), expected);
    // Once more, for a call that is made again.
    let again = below.below(SpanId(0xdef));
    assert_eq!(
        again.in_params(&text).unwrap(),
        expected.replace("abc-01", "def-01")
    );
}

#[test]
fn only_a_header_is_a_parent_too_and_its_random_id_stays_one() {
    let trace = Trace::read(&headers(&[(PARENT, OTHER), (STATE, "b=2")]), None).unwrap();
    assert_eq!(trace.origin().unwrap().link, None);
    let text = trace
        .below(SpanId(7))
        .in_params(r#"{"params":{}}"#)
        .unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"params":{{"_meta":{{"traceparent":"00-{}-0000000000000007-03","tracestate":"b=2"}}}}}}"#,
            &OTHER[3..35]
        )
    );
}

#[test]
fn a_trace_of_ours_says_whether_it_is_recorded() {
    for (sampled, flags) in [(true, "01"), (false, "00")] {
        let trace = Trace::default().begun(TraceId(5), SpanId(6), sampled);
        assert_eq!(
            (trace.id(), trace.sampled()),
            (Some(TraceId(5)), sampled.then_some(TraceId(5)))
        );
        let sent: Vec<_> = trace.headers().collect();
        assert_eq!(
            sent,
            [(
                PARENT.to_owned(),
                format!("00-{:032x}-{:016x}-{flags}", 5, 6)
            )]
        );
    }
    // Baggage without a parent stays.
    let trace = Trace::read(&headers(&[(BAGGAGE, "a=1")]), None)
        .unwrap()
        .begun(TraceId(5), SpanId(6), true);
    assert_eq!(
        trace.headers().map(|(name, _)| name).collect::<Vec<_>>(),
        [PARENT, BAGGAGE]
    );
}

#[test]
fn states_and_baggage_are_judged_by_their_grammars() {
    let many = |count: usize| {
        (0..count)
            .map(|at| format!("k{at}=v"))
            .collect::<Vec<_>>()
            .join(",")
    };
    for good in [
        "congo=t61rcWkgMzE",
        "rojo=00f067aa0ba902b7,congo=t61 \t, fw529a3039@dt=\"x;y\\z\"",
        "a=1,,b=2",
        "0t@s=1",
        &many(32),
    ] {
        assert!(is_state(good), "{good}");
    }
    for bad in [
        "",
        ",",
        "a",
        "a=",
        "A=1",
        "1=1",
        "a=1,a=2",
        "a=x=y",
        "a=\u{7f}",
        "a@b@c=1",
        "a@0=1",
        "é=1",
        &many(33),
        &format!("a={}", "x".repeat(257)),
    ] {
        assert!(!is_state(bad), "{bad}");
    }
    for good in [
        "userId=alice",
        "a=1;p;q=2 , b = %20 ",
        "serverNode=DF%2028,isProduction=false",
        "a=",
        &many(180),
    ] {
        assert!(is_baggage(good), "{good}");
    }
    for bad in [
        "",
        "a",
        "a=b c",
        "a=\"1\"",
        "a b=1",
        "a=1,",
        "a=é",
        "=1",
        "a=1;;",
        &many(181),
        &format!("a={}", "x".repeat(8200)),
    ] {
        assert!(!is_baggage(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn nothing_that_is_passed_on_could_break_a_header_or_a_line(text in "\\PC{0,80}|[ -~]{0,300}|[\\x00-\\x7f]{0,60}") {
        if parse_parent(&text).is_some() || is_state(&text) || is_baggage(&text) {
            prop_assert!(text.bytes().all(|byte| matches!(byte, b'\t' | 0x20..=0x7e)));
        }
    }
}
