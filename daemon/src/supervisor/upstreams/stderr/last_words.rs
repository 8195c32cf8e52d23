//! What a server said last on its standard error, and which of its lines says why it ended: of a
//! traceback the exception and not its frame. Pure, and bounded: it keeps two lines.

/// Longest line that is kept, in bytes.
const LONGEST: usize = 400;
/// So many further lines make a cause an old story.
const FORGET: u32 = 40;

/// What the next line is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Nothing,
    /// Frames of a Python traceback: the first line that is not indented is the exception.
    Frames,
    /// A panic of Rust whose message is on the next line.
    Panic,
}

/// How certain it is that a line names the cause. The larger one wins, then the later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// A message that begins with `error:`.
    Message,
    /// An exception or a panic.
    Exception,
}

/// The last words of one life.
#[derive(Clone, Debug, Default)]
pub(super) struct LastWords {
    last: String,
    cause: Option<(Rank, String)>,
    /// Lines since the cause.
    since: u32,
    within: Within,
}

impl LastWords {
    /// Those of a life that began before, of which only one line is known.
    pub(super) fn of(last: String) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    /// The last line.
    pub(super) fn last(&self) -> &str {
        &self.last
    }

    /// The line that says why it ended; the last one if none does.
    pub(super) fn reason(&self) -> &str {
        self.cause.as_ref().map_or(&self.last, |(_, cause)| cause)
    }

    /// One more line.
    pub(super) fn take(&mut self, line: &str) {
        if !line.contains(char::is_alphanumeric) {
            return;
        }
        let bare = without_margin(line);
        if bare.starts_with('+') && bare.contains("---") {
            // `+-+---------------- 1 ----------------` comes before a member of a group.
            self.within = Within::Frames;
            return;
        }
        self.last = cut(line.trim());
        let is_indented = bare.starts_with(char::is_whitespace);
        match self.within {
            _ if bare.ends_with("Traceback (most recent call last):") => {
                self.within = Within::Frames;
            }
            Within::Frames if is_indented => {}
            Within::Frames => self.is_cause(Rank::Exception, bare),
            Within::Panic => {
                let place = self
                    .cause
                    .take()
                    .map_or_else(String::new, |(_, place)| place);
                self.is_cause(Rank::Exception, &format!("{place} {}", bare.trim()));
            }
            Within::Nothing if is_indented => {}
            Within::Nothing => self.judge(bare),
        }
    }

    fn judge(&mut self, line: &str) {
        if let Some(at) = line.find("panicked at ") {
            self.is_cause(Rank::Exception, &line[at..]);
            if line.ends_with(':') {
                self.within = Within::Panic;
            }
        } else if is_exception(line) {
            self.is_cause(Rank::Exception, line);
        } else if is_message(line) {
            self.is_cause(Rank::Message, line);
        } else {
            self.since += 1;
            if self.since > FORGET {
                self.cause = None;
            }
        }
    }

    fn is_cause(&mut self, rank: Rank, line: &str) {
        self.within = Within::Nothing;
        let is_npm = |text: &str| npm(text).is_some();
        let is_weaker = self.cause.as_ref().is_some_and(|(known, cause)| {
            // Of what npm says, the first line tells most.
            *known > rank || (is_npm(cause) && is_npm(line))
        });
        if !is_weaker {
            (self.cause, self.since) = (Some((rank, cut(line.trim()))), 0);
        }
    }
}

/// The line without the `|` that Python puts before the members of an exception group.
fn without_margin(line: &str) -> &str {
    let inner = line.trim_start();
    match inner.strip_prefix('|') {
        Some(rest) => rest.strip_prefix(' ').unwrap_or(rest),
        None if inner.starts_with('+') => inner,
        None => line,
    }
}

/// `ValueError: …`, `pkg.ValidationError: …`, `TypeError [ERR_X]: …`, `panic: …`
fn is_exception(line: &str) -> bool {
    const WORDS: [&str; 5] = [
        "panic: ",
        "fatal error: ",
        "Uncaught ",
        "Unhandled exception",
        "Exception in thread ",
    ];
    let name = line.split_once(':').map_or("", |(name, _)| name);
    let name = name.split_once(" [").map_or(name, |(name, _)| name);
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "._$".contains(c));
    let class = name.rsplit(['.', '$']).next().unwrap_or_default();
    let is_class = class.starts_with(char::is_uppercase)
        && (class.ends_with("Error") || class.ends_with("Exception"));
    WORDS.iter().any(|word| line.starts_with(word)) || (is_name && is_class)
}

/// `error: …`, `docker: …`, what npm and uv say.
fn is_message(line: &str) -> bool {
    if let Some(said) = npm(line) {
        const KEYS: [&str; 7] = [
            "code ",
            "errno ",
            "syscall ",
            "path ",
            "dest ",
            "A complete",
            "network ",
        ];
        return !KEYS.iter().any(|key| said.starts_with(key));
    }
    let head = line.split_once(':').map_or("", |(head, _)| head);
    ["error", "fatal", "docker"]
        .iter()
        .any(|word| head.eq_ignore_ascii_case(word))
}

fn npm(line: &str) -> Option<&str> {
    line.strip_prefix("npm error ")
        .or_else(|| line.strip_prefix("npm ERR! "))
}

fn cut(line: &str) -> String {
    let end = (0..=LONGEST.min(line.len()))
        .rev()
        .find(|end| line.is_char_boundary(*end));
    line[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What programs write when they end, and the line that says why.
    const SAMPLES: [(&str, &str, &str); 15] = [
        (
            "Python",
            "Traceback (most recent call last):\n  File \"/a.py\", line 3, in <module>\n    main()\n  File \"/a.py\", line 2, in main\n    raise KeyError(\"TOKEN\")\nKeyError: 'TOKEN'\n",
            "KeyError: 'TOKEN'",
        ),
        (
            "Python, an exception in another's handler, with a class without a message",
            "Traceback (most recent call last):\n  File \"/a.py\", line 2\n    f()\nValueError: first\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/a.py\", line 9\n    g()\nKeyboardInterrupt\n",
            "KeyboardInterrupt",
        ),
        (
            "Python, pydantic: the message goes on below",
            "Traceback (most recent call last):\n  File \"/a.py\", line 2\n    S()\npydantic_core._pydantic_core.ValidationError: 1 validation error for S\ntoken\n  Field required [type=missing, input_value={}, input_type=dict]\n    For further information visit https://errors.pydantic.dev/2.11/v/missing\n",
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for S",
        ),
        (
            "Python, an exception group of anyio",
            "  + Exception Group Traceback (most recent call last):\n  |   File \"/usr/bin/mcp-server-git\", line 8, in <module>\n  |     sys.exit(main())\n  | ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File \"/x/session.py\", line 9, in run\n    |     raise RuntimeError(\n    | RuntimeError: Received request before initialization was complete\n    +------------------------------------\n",
            "RuntimeError: Received request before initialization was complete",
        ),
        (
            "Python, a group in a group, whose member has no frames",
            "  + Exception Group Traceback (most recent call last):\n  |   File \"/x.py\", line 1\n  | ExceptionGroup: outer (1 sub-exception)\n  +-+---------------- 1 ----------------\n    | Exception Group Traceback (most recent call last):\n    |   File \"/x.py\", line 1\n    | ExceptionGroup: inner (1 sub-exception)\n    +-+---------------- 1 ----------------\n      | ValueError: the cause\n      +------------------------------------\n",
            "ValueError: the cause",
        ),
        (
            "Python, uvicorn says one more line",
            "Traceback (most recent call last):\n  File \"/a.py\", line 2\n    f()\nOSError: [Errno 98] Address already in use\nERROR:    Application startup failed. Exiting.\n",
            "OSError: [Errno 98] Address already in use",
        ),
        (
            "Node",
            "/app/index.js:3\n    throw new Error('no key');\n    ^\n\nError: no key\n    at Object.<anonymous> (/app/index.js:3:11)\n    at Module._compile (node:internal/modules/cjs/loader:1554:14)\n\nNode.js v22.14.0\n",
            "Error: no key",
        ),
        (
            "Node, with a code",
            "node:internal/modules/esm/resolve:283\n    throw new ERR_MODULE_NOT_FOUND(\n          ^\n\nError [ERR_MODULE_NOT_FOUND]: Cannot find package 'x' imported from /app/i.js\n    at packageResolve (node:internal/modules/esm/resolve:857:9) {\n  code: 'ERR_MODULE_NOT_FOUND'\n}\n\nNode.js v22.14.0\n",
            "Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'x' imported from /app/i.js",
        ),
        (
            "npm",
            "npm error code E404\nnpm error 404 Not Found - GET https://registry.npmjs.org/no-such - Not found\nnpm error 404\nnpm error 404  'no-such@*' is not in this registry.\nnpm error A complete log of this run can be found in: /home/u/.npm/_logs/x.log\n",
            "npm error 404 Not Found - GET https://registry.npmjs.org/no-such - Not found",
        ),
        (
            "Rust",
            "\nthread 'main' (4711) panicked at src/main.rs:2:5:\ncalled `Option::unwrap()` on a `None` value\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "panicked at src/main.rs:2:5: called `Option::unwrap()` on a `None` value",
        ),
        (
            "Rust before 1.73",
            "thread 'main' panicked at 'no key', src/main.rs:2:5\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
            "panicked at 'no key', src/main.rs:2:5",
        ),
        (
            "Rust, an error of main",
            "Error: cannot open the file\n\nCaused by:\n    No such file or directory (os error 2)\n",
            "Error: cannot open the file",
        ),
        (
            "Go",
            "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/tmp/x.go:8 +0x1d\nexit status 2\n",
            "panic: runtime error: index out of range [5] with length 3",
        ),
        (
            "Docker",
            "Unable to find image 'x:latest' locally\ndocker: Error response from daemon: pull access denied for x\n\nRun 'docker run --help' for more information\n",
            "docker: Error response from daemon: pull access denied for x",
        ),
        (
            "a log, with a line of decoration",
            "INFO starting\nport 80 is taken, giving up\n==========\n",
            "port 80 is taken, giving up",
        ),
    ];

    #[test]
    fn the_line_that_says_why_is_found() {
        for (what, text, expected) in SAMPLES {
            let mut words = LastWords::default();
            text.lines().for_each(|line| words.take(line));
            assert_eq!(words.reason(), expected, "{what}");
        }
    }

    #[test]
    fn an_error_of_long_ago_is_no_reason() {
        let mut words = LastWords::default();
        words.take("Error: handled");
        (0..=FORGET).for_each(|number| words.take(&format!("request {number}")));
        assert_eq!(words.reason(), format!("request {FORGET}"));
    }

    #[test]
    fn lines_are_cut_between_characters() {
        let mut words = LastWords::default();
        words.take(&"é".repeat(LONGEST));
        assert_eq!(words.last().len(), LONGEST);
    }
}
