//! Prometheus text (<https://prometheus.io/docs/instrumenting/exposition_formats/>) as a structure.
//! Lines that are not of the format are left out.

use serde::Serialize;
use std::collections::BTreeMap;

/// All samples of one name.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Family {
    /// Name without `_bucket`, `_sum`, `_count`.
    pub(crate) name: String,
    /// `counter`, `gauge`, `histogram`, `untyped`.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// What it counts, and its unit.
    pub(crate) help: String,
    /// Its samples, in the order of the text.
    pub(crate) samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    /// Full name.
    pub(crate) name: String,
    /// Labels by name.
    pub(crate) labels: BTreeMap<String, String>,
    /// A number; text for NaN and the infinities, which JSON lacks.
    pub(crate) value: serde_json::Value,
}

/// Reads the text.
pub(crate) fn parse(text: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        if line.starts_with('#') {
            let (_, keyword, name, rest) = (words.next(), words.next(), words.next(), words.next());
            if let (Some(keyword @ ("HELP" | "TYPE")), Some(name)) = (keyword, name) {
                let family = family(&mut families, name);
                *(if keyword == "HELP" {
                    &mut family.help
                } else {
                    &mut family.kind
                }) = rest.unwrap_or_default().to_owned();
            }
        } else if let Some(sample) = sample(line) {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| sample.name.strip_suffix(suffix));
            let known = base
                .filter(|base| families.last().is_some_and(|last| last.name == *base))
                .unwrap_or(&sample.name)
                .to_owned();
            family(&mut families, &known).samples.push(sample);
        }
    }
    families
}

// The format keeps the lines of one name together, so that only the last family can be meant.
fn family<'a>(families: &'a mut Vec<Family>, name: &str) -> &'a mut Family {
    let at = families
        .iter()
        .rposition(|family| family.name == name)
        .unwrap_or_else(|| {
            families.push(Family {
                name: name.to_owned(),
                kind: "untyped".to_owned(),
                help: String::new(),
                samples: Vec::new(),
            });
            families.len() - 1
        });
    &mut families[at]
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches([',', ' ']).to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    let text = rest.split_whitespace().next()?;
    let number: f64 = text.parse().ok()?;
    let whole = number.fract() == 0.0 && number.abs() < 9e15;
    let value = if whole {
        Some((number as i64).into())
    } else {
        serde_json::Number::from_f64(number).map(Into::into)
    };
    Some(Sample {
        name: name.to_owned(),
        labels,
        value: value.unwrap_or_else(|| text.into()),
    })
}

// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn histograms_escapes_and_senseless_lines() {
        let text = "# HELP d_seconds How long it took.\n# TYPE d_seconds histogram\nd_seconds_bucket{le=\"+Inf\",tool=\"a\\\"b\\n\"} 3\n\
                    d_seconds_sum{tool=\"x\"} 0.25\nd_seconds_count 3\n# TYPE up gauge\nup NaN\nthis is{ not\n{\n\nlast 1e3 1700000000\n";
        let families = parse(text);
        assert_eq!(
            families
                .iter()
                .map(|family| family.name.as_str())
                .collect::<Vec<_>>(),
            ["d_seconds", "up", "last"]
        );
        assert_eq!(families[0].help, "How long it took.");
        assert_eq!(families[0].kind, "histogram");
        assert_eq!(families[0].samples[0].labels["tool"], "a\"b\n");
        assert_eq!(families[0].samples[1].value, 0.25);
        assert_eq!(families[1].samples[0].value, "NaN");
        assert_eq!(families[2].samples[0].value, 1000);
    }
}
