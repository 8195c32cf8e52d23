//! Durations, sizes, times and foreign texts as `ggen` and the probe print them. Pure.

use crate::escape::acts;
use std::time::Duration;

/// `2h 34m`, `3d 4h`, `12s`: the two largest units.
#[must_use]
pub fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// `120 ms`, `5.2 s`, `3m 4s`.
#[must_use]
pub fn duration_ms(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 if ms.is_multiple_of(1000) => format!("{} s", ms / 1000),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => uptime(ms),
    }
}

/// `0.4 ms`, `120 ms`, `2.5 s`.
#[must_use]
pub fn took(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `512 B`, `6.1 MiB`; `-` for 0, which means unknown.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if bytes == 0 {
        return "-".to_owned();
    }
    let unit = ((63 - bytes.leading_zeros()) / 10).min(4) as usize;
    if unit == 0 {
        return format!("{bytes} B");
    }
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// `2026-03-01 14:02:11 UTC` from milliseconds since the Unix epoch.
#[must_use]
pub fn time(ms: u64) -> String {
    let (year, month, day) = civil(ms / 86_400_000);
    let second = ms / 1000 % 86_400;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// `2026-03-01T14:02:11.123Z` from microseconds since the Unix epoch.
#[must_use]
pub fn timestamp(us: u64) -> String {
    let (year, month, day) = civil(us / 86_400_000_000);
    let ms = us / 1000 % 86_400_000;
    let second = ms / 1000;
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        ms % 1000
    )
}

/// Reads `30s`, `10m`, `2h`, `1d`, `500ms`; a bare number is seconds.
///
/// # Errors
/// What is expected instead.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let unit_ms = match text[digits..].trim() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let number = text[..digits].parse::<u64>().ok().filter(|_| unit_ms > 0);
    number
        .and_then(|number| number.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| "expected a time such as 30s, 10m, 2h or 1d".to_owned())
}

/// `1 tool`, `3 tools`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Removes colour codes and all characters that act ([`acts`]), so that no log line steers a terminal.
#[must_use]
pub fn plain(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            // CSI … final byte; any other escape takes one character with it.
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    let _ = characters.find(|c| ('@'..='~').contains(c));
                }
            }
            '\t' => kept.push('\t'),
            other if acts(other) => {}
            other => kept.push(other),
        }
    }
    kept
}

/// One line without characters that act, at most 400 characters long.
#[must_use]
pub fn line(text: &str) -> String {
    const MOST: usize = 400;
    let mut kept = String::new();
    let mut characters = text.trim().chars();
    let mut length = 0;
    while let Some(character) = characters.next() {
        let kept_character = match character {
            // CSI … final byte; any other escape takes one character with it.
            '\u{1b}' => {
                if characters.next() == Some('[') {
                    let _ = characters.find(|c| ('@'..='~').contains(c));
                }
                continue;
            }
            '\n' | '\t' | '\r' => ' ',
            other if acts(other) => continue,
            other => other,
        };
        length += 1;
        if length > MOST {
            kept.push('…');
            break;
        }
        kept.push(kept_character);
    }
    kept
}

/// [`plain`] for every text of a JSON value; line ends stay.
pub fn clean(value: &mut serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) if text.contains(|c: char| acts(c) && c != '\n') => {
            *text = text.split('\n').map(plain).collect::<Vec<_>>().join("\n");
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(members) => members.values_mut().for_each(clean),
        _ => {}
    }
}

/// Hides the values of members whose names say that they are secret.
pub fn mask(value: &mut serde_json::Value) {
    use serde_json::Value;
    const SECRET: [&str; 9] = [
        "token",
        "secret",
        "password",
        "passwd",
        "authorization",
        "api_key",
        "apikey",
        "credential",
        "cookie",
    ];
    match value {
        Value::Array(values) => values.iter_mut().for_each(mask),
        Value::Object(members) => {
            for (name, member) in members {
                let name = name.to_lowercase().replace('-', "_");
                if SECRET.iter().any(|secret| name.contains(secret))
                    && matches!(member, Value::String(_) | Value::Number(_))
                {
                    *member = Value::from("[hidden]");
                } else {
                    mask(member);
                }
            }
        }
        _ => {}
    }
}

// Year, month and day of the proleptic Gregorian calendar from days since 1970-01-01. Years are
// counted from March, so that the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (
        year_of_era + era * 400 + u64::from(month <= 2),
        month,
        day_of_year - (153 * shifted + 2) / 5 + 1,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn durations_name_their_two_largest_units() {
        assert_eq!(uptime(9_240_000), "2h 34m");
        assert_eq!(uptime(273_000_000), "3d 3h");
        assert_eq!(uptime(0), "0s");
        assert_eq!(duration_ms(5_250), "5.2 s");
        assert_eq!(duration_ms(5_000), "5 s");
        assert_eq!(duration_ms(999), "999 ms");
    }

    #[test]
    fn sizes_have_one_decimal() {
        assert_eq!(size(6_396_313), "6.0 MiB");
        assert_eq!(size(6_400_000), "6.1 MiB");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(0), "-");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(951_782_399_000), "2000-02-28 23:59:59 UTC");
        assert_eq!(time(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(timestamp(1_772_373_731_123_456), "2026-03-01T14:02:11.123Z");
    }

    #[test]
    fn times_of_the_past_are_read() {
        assert_eq!(parse_duration("10m").unwrap(), Duration::from_secs(600));
        assert_eq!(parse_duration("90").unwrap(), Duration::from_secs(90));
        assert!(parse_duration("soon").is_err());
        assert!(parse_duration("99999999999999999d").is_err());
    }

    #[test]
    fn what_is_called_a_secret_is_hidden() {
        let mut value = serde_json::json!({ "arguments": { "apiKey": "s1", "X-Auth-Token": "s2", "query": "q", "list": [{ "password": 3 }] } });
        mask(&mut value);
        let hidden = "[hidden]";
        let expected = serde_json::json!({ "arguments": { "apiKey": hidden, "X-Auth-Token": hidden, "query": "q", "list": [{ "password": hidden }] } });
        assert_eq!(value, expected);
    }

    #[test]
    fn logs_cannot_move_the_cursor() {
        assert_eq!(
            plain("\u{1b}[31mred\u{1b}[0m \u{1b}]0;x\u{7}end\r"),
            "red 0;xend"
        );
        assert_eq!(plain("a\u{9b}2J\u{202e}b\u{2066}c\u{7f}"), "a2Jbc");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            ["0.4 ms", "120 ms", "2.5 s"].map(str::to_owned),
            [400, 120_900, 2_500_000].map(|us| took(Duration::from_micros(us)))
        );
    }

    #[test]
    fn text_of_other_programs_becomes_one_line_without_control_characters() {
        assert_eq!(line("\u{1b}[31mboom\u{1b}[0m\nmore\u{7}\n"), "boom more");
        assert_eq!(line(&"x".repeat(1000)).chars().count(), 401);
    }
}
