//! Durations as people write them: `90d`, `12h`, `3m`. Pure.

/// Seconds of `30s`, `5m`, `12h`, `90d`, `2w`, `1y` or a bare number of seconds; nothing below 1 or
/// above 100 years.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let wrong = || "expected a time such as 3600, 30m, 12h or 90d".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit = match &text[digits..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit)
        .filter(|seconds| (1..=100 * 365 * 86_400).contains(seconds))
        .ok_or_else(wrong)
}

/// The largest unit that fits, and nothing finer: `45s`, `3m`, `5h`, `12d`.
pub(super) fn show(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=7199 => format!("{}m", seconds / 60),
        7200..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// RFC 3339 in UTC, to the second.
pub(super) fn date(seconds: u64) -> String {
    // Days to a civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let days = i64::try_from(seconds / 86_400).unwrap_or(0) + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::{date, parse, show};

    #[test]
    fn times_are_read_and_shown() {
        for (text, seconds) in [
            ("1", 1),
            ("90s", 90),
            ("5m", 300),
            ("12h", 43_200),
            ("90d", 7_776_000),
            ("2w", 1_209_600),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
        for bad in [
            "",
            "0",
            "d",
            "1.5h",
            "-1",
            "1x",
            "101y",
            "99999999999999999999",
            "1h30m",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            [5, 119, 180, 7200, 200_000].map(show),
            ["5s", "119s", "3m", "2h", "2d"]
        );
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(date(4_102_444_799), "2099-12-31T23:59:59Z");
    }
}
