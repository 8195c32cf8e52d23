//! The definitions against each other, and against every command that is printed anywhere.

use super::{Args, printed};
use clap::{CommandFactory, Parser, error::ErrorKind};
use ggen_wire::{
    control::{Call, LogQuery},
    log::Level,
};

#[test]
fn every_command_that_is_printed_exists() {
    for command in printed::commands("ggen") {
        if !matches!(
            command.words.first().map(String::as_str),
            Some("mcp" | "completion")
        ) {
            continue;
        }
        let words = command.words.iter().map(String::as_str);
        let Err(error) = Args::try_parse_from(["ggen"].into_iter().chain(words)) else {
            continue;
        };
        let incomplete = matches!(
            error.kind(),
            ErrorKind::MissingSubcommand
                | ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        assert!(
            command.beginning && incomplete,
            "{}: {}: {error}",
            command.file.display(),
            command.words.join(" ")
        );
    }
}

#[test]
fn every_call_has_a_command() {
    let name = || "a b".to_owned();
    let calls = [
        Call::GetStatus {},
        Call::GetLogs(LogQuery::default()),
        Call::ListTools {},
        Call::RefreshTools {},
        Call::DescribeTool { name: name() },
        Call::CallTool {
            name: name(),
            arguments: serde_json::Value::Null,
        },
        Call::GetMetrics {},
        Call::GetConfig {},
        Call::Wait { timeout_ms: 1 },
        Call::Stop {
            force: true,
            target: None,
        },
        Call::Stop {
            force: false,
            target: Some(name()),
        },
        Call::Start { target: name() },
        Call::Restart { target: None },
        Call::Restart {
            target: Some(name()),
        },
        Call::RELOAD,
        Call::Upgrade { binary: None },
        Call::Upgrade {
            binary: Some(name()),
        },
        Call::SetLogLevel {
            category: None,
            level: None,
            for_ms: None,
        },
        Call::SetLogLevel {
            category: Some("tools".to_owned()),
            level: Some(Level::Debug),
            for_ms: Some(60_000),
        },
    ];
    for call in calls {
        // What a shell makes of it.
        let line = call.command().replace("'a b'", "a\u{a0}b");
        if let Err(error) = Args::try_parse_from(line.split(' ')) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn the_definitions_agree_with_each_other() {
    Args::command().debug_assert();
}

#[test]
fn global_flags_are_taken_anywhere() {
    for line in [
        "ggen --json mcp server status",
        "ggen mcp --json server status",
        "ggen mcp server status --json",
    ] {
        assert!(
            Args::try_parse_from(line.split(' '))
                .expect(line)
                .global
                .json
        );
    }
}

#[test]
fn every_command_that_a_page_names_exists() {
    for code in ggen_wire::Code::ALL {
        for help in code.page().help {
            // Words in capitals stand for values; `$` begins what a shell expands.
            for command in help
                .command
                .split("&&")
                .map(str::trim)
                .filter(|command| command.starts_with("ggen "))
            {
                let words = command
                    .split('|')
                    .next()
                    .unwrap_or_default()
                    .split_whitespace();
                let words = words.map(|word| {
                    if word == "N" {
                        "1"
                    } else {
                        word.trim_matches('\'')
                    }
                });
                if let Err(error) = Args::try_parse_from(words) {
                    panic!("{code}: {command}: {error}");
                }
            }
        }
    }
}
