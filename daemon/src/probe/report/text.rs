//! Words and numbers as people read them. Pure.

use std::time::Duration;

/// `2h 34m`: the two largest units, as `ggen mcp server status` prints them.
pub(crate) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// `0.4 ms`, `120 ms`, `2.5 s`.
pub(crate) fn took(time: Duration) -> String {
    let us = time.as_micros();
    match us {
        0..10_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// One line without control characters, at most 400 characters long.
pub(crate) fn line(text: &str) -> String {
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
            other if other.is_control() => continue,
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

/// `1 issue`, `2 issues`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            ["0.4 ms", "120 ms", "2.5 s"].map(str::to_owned),
            [400, 120_900, 2_500_000].map(|us| took(Duration::from_micros(us)))
        );
        assert_eq!(uptime(9_240_000), "2h 34m");
    }

    #[test]
    fn foreign_words_stay_on_one_line_and_steer_no_terminal() {
        assert_eq!(line("\u{1b}[31mboom\u{1b}[0m\nmore\u{7}\n"), "boom more");
        assert_eq!(line(&"x".repeat(1000)).chars().count(), 401);
    }
}
