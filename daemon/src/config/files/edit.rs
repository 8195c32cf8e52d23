//! Changes one value in the text of a JSON or JSONC file; order, comments, spaces and line ends of
//! the rest stay as they are. Works only on text that `serde_json` has accepted, comments aside,
//! which bounds the depth. May not: open files, check values.

use super::jsonc;

/// Why a change is impossible.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditError {
    /// The text is not what `serde_json` accepts.
    #[error("the file is not a JSON object")]
    NotJson,
    /// A part of the path leads through something that is no object: how many parts lead to it.
    #[error("not an object")]
    NotAnObject(usize),
}

/// A value's place in the text, in bytes.
struct Item {
    start: usize,
    end: usize,
    /// Of an object.
    members: Option<Vec<Member>>,
}

struct Member {
    key: String,
    start: usize,
    value: Item,
}

/// The text with `value` (JSON) at a path; objects on the way are made where they do not exist.
pub(crate) fn set(text: &str, path: &[String], value: &str) -> Result<String, EditError> {
    let root = scan(text)?;
    let mut item = &root;
    for (depth, part) in path.iter().enumerate() {
        let Some(members) = &item.members else {
            return Err(EditError::NotAnObject(depth));
        };
        match members.iter().rev().find(|member| member.key == *part) {
            Some(member) => item = &member.value,
            None => return Ok(insert(text, item, members, &path[depth..], value)),
        }
    }
    Ok(format!(
        "{}{value}{}",
        &text[..item.start],
        &text[item.end..]
    ))
}

/// The text without the member at a path; `None` if there is none.
pub(crate) fn unset(text: &str, path: &[String]) -> Result<Option<String>, EditError> {
    let root = scan(text)?;
    let mut item = &root;
    let Some((last, above)) = path.split_last() else {
        return Ok(None);
    };
    for part in above {
        let found = item
            .members
            .as_ref()
            .and_then(|members| members.iter().rev().find(|member| member.key == *part));
        let Some(member) = found else { return Ok(None) };
        item = &member.value;
    }
    let Some(members) = &item.members else {
        return Ok(None);
    };
    let Some(index) = members.iter().rposition(|member| member.key == *last) else {
        return Ok(None);
    };
    Ok(Some(without(text, item, members, index)))
}

/// The text without a member and one comma; with its line, if nothing else stands there.
fn without(text: &str, object: &Item, members: &[Member], index: usize) -> String {
    let member = &members[index];
    let (open, close) = (object.start + 1, object.end - 1);
    let is_blank = |text: &str| text.trim().is_empty();
    if members.len() == 1
        && is_blank(&text[open..member.start])
        && is_blank(
            text[member.value.end..close]
                .trim_start()
                .trim_start_matches(','),
        )
    {
        return format!("{}{}", &text[..open], &text[close..]);
    }
    let next = members.get(index + 1).map(|next| next.start);
    let mut start = member.start;
    let mut end = member.value.end;
    let mut before = text[..start].to_owned();
    match jsonc::comma(text, end, next.unwrap_or(close)) {
        Some(comma) if text[end..comma].trim().is_empty() => end = comma + 1,
        // A comment stands before the comma, and stays.
        Some(comma) => {
            let kept = &text[end..comma];
            return format!(
                "{}{}{}",
                &text[..start],
                kept.trim_start(),
                &text[comma + 1..]
            );
        }
        None => {
            let earlier = index.checked_sub(1).map(|before| &members[before]);
            if let Some(comma) =
                earlier.and_then(|earlier| jsonc::comma(text, earlier.value.end, start))
            {
                before.remove(comma);
                start -= 1;
            }
        }
    }
    let after = &text[end..];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let is_alone = before[line_start..].trim().is_empty() && line_start > 0;
    let rest_of_line = after.find('\n').map_or(after, |at| &after[..=at]);
    if is_alone && rest_of_line.trim().is_empty() && rest_of_line.ends_with('\n') {
        return format!("{}{}", &before[..line_start], &after[rest_of_line.len()..]);
    }
    if next.is_some() && !is_alone {
        return format!("{before}{}", after.trim_start_matches([' ', '\t']));
    }
    if !is_alone && start != member.start {
        return format!("{}{after}", before.trim_end_matches([' ', '\t']));
    }
    format!("{before}{after}")
}

/// The JSON of a value at a path as it stands in the text.
pub(crate) fn raw<'a>(text: &'a str, path: &[String]) -> Option<&'a str> {
    let mut item = scan(text).ok()?;
    for part in path {
        item = item
            .members?
            .into_iter()
            .rev()
            .find(|member| member.key == *part)?
            .value;
    }
    Some(&text[item.start..item.end])
}

/// A new member behind the last one, laid out as its neighbours are.
fn insert(text: &str, object: &Item, members: &[Member], path: &[String], value: &str) -> String {
    let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let unit = unit(text);
    let indent = match members.last() {
        Some(last) => own_line(text, last.start),
        None => indent_in(text, object, &unit),
    };
    let lines = indent
        .as_deref()
        .map(|indent| (indent, unit.as_str(), line_end));
    let member = member(path, value, lines);
    let (before, after) = match members.last() {
        Some(last) => behind(text, object, last, indent.as_deref(), line_end),
        None => within(text, object, indent.as_deref(), &unit, line_end),
    };
    format!("{before}{member}{after}")
}

/// The margin of what begins there, if it begins its line.
fn own_line(text: &str, at: usize) -> Option<String> {
    let line = text[..at].rsplit('\n').next().unwrap_or_default();
    let before = line.trim();
    let is_note = before.starts_with("/*") && before.ends_with("*/");
    let margin = || line[..line.len() - line.trim_start().len()].to_owned();
    (text[..at].contains('\n') && (before.is_empty() || is_note)).then(margin)
}

/// The margin of a member of an empty object. Objects that stand in one line stay in it; an empty one
/// is opened if the file uses lines at all.
fn indent_in(text: &str, object: &Item, unit: &str) -> Option<String> {
    let line = text[..object.start].rsplit('\n').next().unwrap_or_default();
    let margin: String = line
        .chars()
        .take_while(|c| [' ', '\t'].contains(c))
        .collect();
    text.contains('\n').then(|| format!("{margin}{unit}"))
}

/// What stands before and after a new member behind the last one: behind that, its comma and a comment
/// at its line's end. A trailing comma is the file's style.
fn behind(
    text: &str,
    object: &Item,
    last: &Member,
    indent: Option<&str>,
    line_end: &str,
) -> (String, String) {
    let comma = jsonc::comma(text, last.value.end, object.end - 1);
    let Some(indent) = indent else {
        return match comma {
            Some(comma) => (
                format!("{} ", &text[..=comma]),
                format!(",{}", &text[comma + 1..]),
            ),
            None => (
                format!("{}, ", &text[..last.value.end]),
                text[last.value.end..].to_owned(),
            ),
        };
    };
    let (head, tail) = text.split_at(comma.map_or(last.value.end, |comma| comma + 1));
    let rest = tail.split(['\r', '\n']).next().unwrap_or_default();
    let is_comment = ["//", "#"]
        .iter()
        .any(|start| rest.trim_start().starts_with(start));
    let (note, tail) = tail.split_at(if is_comment { rest.len() } else { 0 });
    let (own, trailing) = if comma.is_some() {
        ("", ",")
    } else {
        (",", "")
    };
    (
        format!("{head}{own}{note}{line_end}{indent}"),
        format!("{trailing}{tail}"),
    )
}

/// What stands before and after the first member of an object. What that holds is a comment, and
/// stays.
fn within(
    text: &str,
    object: &Item,
    indent: Option<&str>,
    unit: &str,
    line_end: &str,
) -> (String, String) {
    let (open, close) = (object.start + 1, object.end - 1);
    let head = match text[open..close].trim() {
        "" => &text[..open],
        _ => text[..close].trim_end(),
    };
    let Some(indent) = indent else {
        return (head.to_owned(), text[close..].to_owned());
    };
    let margin = indent.strip_suffix(unit).unwrap_or_default();
    (
        format!("{head}{line_end}{indent}"),
        format!("{line_end}{margin}{}", &text[close..]),
    )
}

/// `"a": { "b": value }`, in lines if there is an indent (of this member, the unit, the line's
/// end).
fn member(path: &[String], value: &str, lines: Option<(&str, &str, &str)>) -> String {
    let Some((key, below)) = path.split_first() else {
        return value.to_owned();
    };
    let key = serde_json::Value::from(key.as_str());
    match (below.is_empty(), lines) {
        (true, _) => format!("{key}: {value}"),
        (false, None) => format!("{key}: {{ {} }}", member(below, value, None)),
        (false, Some((indent, unit, end))) => {
            let inner = format!("{indent}{unit}");
            format!(
                "{key}: {{{end}{inner}{}{end}{indent}}}",
                member(below, value, Some((&inner, unit, end)))
            )
        }
    }
}

/// What the file indents by: the margin of its first indented line.
pub(crate) fn unit(text: &str) -> String {
    let margin = |line: &str| -> String {
        line.chars()
            .take_while(|c| [' ', '\t'].contains(c))
            .collect()
    };
    let first = text
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(margin)
        .find(|margin| !margin.is_empty());
    first.unwrap_or_else(|| "  ".to_owned())
}

fn scan(text: &str) -> Result<Item, EditError> {
    let bom = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let plain = jsonc::plain(text);
    let valid = serde_json::from_str::<serde::de::IgnoredAny>(&plain[bom..]).is_ok();
    let root = Scanner {
        text: &plain,
        at: bom,
    }
    .value()
    .filter(|_| valid);
    root.filter(|root| root.members.is_some())
        .ok_or(EditError::NotJson)
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.get(self.at..)?;
        self.at += rest
            .find(|c: char| !matches!(c, ' ' | '\t' | '\r' | '\n'))
            .unwrap_or(rest.len());
        self.text.as_bytes().get(self.at).copied()
    }

    fn value(&mut self) -> Option<Item> {
        let first = self.peek()?;
        let start = self.at;
        let mut members = None;
        match first {
            b'{' => members = Some(self.object()?),
            b'[' => self.array()?,
            b'"' => drop(self.string()?),
            _ => {
                let rest = &self.text[start..];
                self.at += rest
                    .find([',', ']', '}', ' ', '\t', '\r', '\n'])
                    .unwrap_or(rest.len());
            }
        }
        Some(Item {
            start,
            end: self.at,
            members,
        })
    }

    fn object(&mut self) -> Option<Vec<Member>> {
        let mut members = Vec::new();
        self.at += 1;
        loop {
            match self.peek()? {
                b'}' => break,
                b',' => self.at += 1,
                b'"' => {
                    let start = self.at;
                    let key = self.string()?;
                    self.peek().filter(|colon| *colon == b':')?;
                    self.at += 1;
                    members.push(Member {
                        key,
                        start,
                        value: self.value()?,
                    });
                }
                _ => return None,
            }
        }
        self.at += 1;
        Some(members)
    }

    fn array(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b']' => break,
                b',' => self.at += 1,
                _ => drop(self.value()?),
            }
        }
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let mut stream =
            serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter::<String>();
        let text = stream.next()?.ok()?;
        self.at += stream.byte_offset();
        Some(text)
    }
}
