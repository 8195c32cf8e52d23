//! JSON with positions: line and column of each key and value. Reads only text that `serde_json`
//! has accepted, comments aside, so it reports no syntax errors; on anything unexpected it returns
//! `None`. May not:
//! open files, check values.

use serde_json::Value;

/// Line and column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Where the value begins.
    pub at: Position,
    /// The value.
    pub tree: Tree,
}

/// A JSON value whose parts know their positions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// null, a boolean, a number or text.
    Scalar(Value),
    /// `[…]`
    Array(Vec<Node>),
    /// `{…}`, every member in the order of the file, duplicates included.
    Object(Vec<Member>),
}

/// A member of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member {
    /// The key, unescaped.
    pub key: String,
    /// Where the key's quote stands.
    pub at: Position,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The members of an object; empty for anything else.
    #[must_use]
    pub(crate) fn members(&self) -> &[Member] {
        match &self.tree {
            Tree::Object(members) => members,
            _ => &[],
        }
    }

    /// The member of that key; of duplicates the last, as JSON parsers do.
    #[must_use]
    pub(crate) fn member(&self, key: &str) -> Option<&Member> {
        self.members().iter().rev().find(|member| member.key == key)
    }

    /// The value without positions.
    #[must_use]
    pub(crate) fn value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::Array(items) => Value::Array(items.iter().map(Self::value).collect()),
            Tree::Object(members) => Value::Object(
                members
                    .iter()
                    .map(|member| (member.key.clone(), member.node.value()))
                    .collect(),
            ),
        }
    }
}

/// The positions of a text that is known to be JSON (`serde_json` bounds its depth at 128, which
/// bounds the recursion here). `written` is the same with its comments, in which columns are
/// counted.
#[must_use]
pub(crate) fn locate(text: &str, written: &str) -> Option<Node> {
    Walker {
        rest: text,
        written,
        at: Position { line: 1, column: 1 },
    }
    .value(0)
}

/// Deeper than `serde_json` ever accepts.
const MAX_DEPTH: usize = 160;

struct Walker<'a> {
    rest: &'a str,
    written: &'a str,
    at: Position,
}

impl<'a> Walker<'a> {
    fn value(&mut self, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            return None;
        }
        let at = self.space();
        let tree = match self.peek()? {
            '{' => self.object(depth)?,
            '[' => self.array(depth)?,
            '"' => Tree::Scalar(Value::String(self.text()?)),
            _ => {
                let length = self
                    .rest
                    .find([',', ']', '}', ' ', '\t', '\r', '\n'])
                    .unwrap_or(self.rest.len());
                Tree::Scalar(serde_json::from_str(self.take(length)?).ok()?)
            }
        };
        Some(Node { at, tree })
    }

    fn object(&mut self, depth: usize) -> Option<Tree> {
        let mut members = Vec::new();
        self.take(1)?;
        loop {
            let at = self.space();
            match self.peek()? {
                '}' => break,
                ',' => {
                    self.take(1)?;
                }
                _ => {
                    let key = self.text()?;
                    self.space();
                    self.take(1).filter(|colon| *colon == ":")?;
                    members.push(Member {
                        key,
                        at,
                        node: self.value(depth + 1)?,
                    });
                }
            }
        }
        self.take(1)?;
        Some(Tree::Object(members))
    }

    fn array(&mut self, depth: usize) -> Option<Tree> {
        let mut items = Vec::new();
        self.take(1)?;
        loop {
            self.space();
            match self.peek()? {
                ']' => break,
                ',' => {
                    self.take(1)?;
                }
                _ => items.push(self.value(depth + 1)?),
            }
        }
        self.take(1)?;
        Some(Tree::Array(items))
    }

    fn text(&mut self) -> Option<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find_map(|(index, c)| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes.then_some(index + 1)
        })?;
        serde_json::from_str(self.take(end)?).ok()
    }

    fn space(&mut self) -> Position {
        let length = self
            .rest
            .find(|c: char| !matches!(c, ' ' | '\t' | '\r' | '\n'))
            .unwrap_or(self.rest.len());
        let _ = self.take(length);
        self.at
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, bytes: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        let (passed, written) = self.written.split_at_checked(bytes)?;
        for c in passed.chars() {
            if c == '\n' {
                self.at = Position {
                    line: self.at.line + 1,
                    column: 1,
                };
            } else {
                self.at.column += 1;
            }
        }
        (self.rest, self.written) = (rest, written);
        Some(taken)
    }
}
