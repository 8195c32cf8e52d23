//! `docs/codes.md` is what the table of codes says. `UPDATE_DOCS=1 cargo test -p ggen-wire --test
//! docs` writes it anew.
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use ggen_wire::Code;
use std::{fmt::Write as _, fs, path::Path};

const HEAD: &str = "\
# Error codes

What each stable code means, where it comes from and how to fix it. `ggen mcp explain CODE` prints the same page, without a running daemon.
The code is the same in the log, in `ggen`, in JSON-RPC `error.data.code` and in `/health`; it is never renumbered and never reused.
Words in capitals and in angle brackets stand for values.

This file is written by a test from the table in `wire/src/code.rs` and `wire/src/pages.rs`; change it there.
";

fn pages() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n| code | message |\n|---|---|\n");
    let put =
        |text: &mut String, line: &str| writeln!(text, "{line}").expect("text takes everything");
    for code in Code::ALL {
        put(
            &mut text,
            &format!(
                "| [{code}](#{}) | {} |",
                code.as_str().to_lowercase(),
                code.title()
            ),
        );
    }
    for code in Code::ALL {
        let page = code.page();
        put(
            &mut text,
            &format!(
                "\n## {code}\n**{}.** {}\n\nCauses:",
                code.title(),
                page.meaning
            ),
        );
        page.causes
            .iter()
            .for_each(|cause| put(&mut text, &format!("* {cause}")));
        put(&mut text, "\nHow to fix it:");
        for help in page.help {
            let command = if help.command.is_empty() {
                String::new()
            } else {
                format!(": `{}`", help.command)
            };
            put(&mut text, &format!("* {}{command}", help.what));
        }
    }
    text
}

#[test]
fn the_page_of_codes_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/codes.md");
    let wanted = pages();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &wanted).expect("docs/codes.md can be written");
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/codes.md is not what the table says; UPDATE_DOCS=1 cargo test -p ggen-wire --test docs"
    );
}
