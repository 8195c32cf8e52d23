//! The packaged completion scripts and man pages of `ggend` are what its definitions give;
//! `UPDATE_DOCS=1` writes them anew.

use super::*;
use clap::{CommandFactory, error::ErrorKind};
use std::{fs, path::Path};

fn packaged(name: &str, wanted: &[u8]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, wanted).unwrap();
    }
    let found = fs::read(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "packaging/{name} is not what the definitions give; UPDATE_DOCS=1 cargo test -p ggend packaged"
    );
}

#[test]
fn packaged_completions_are_up_to_date() {
    use clap_complete::Shell;
    for (shell, name) in [
        (Shell::Bash, "ggend.bash"),
        (Shell::Zsh, "_ggend"),
        (Shell::Fish, "ggend.fish"),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "ggend", &mut script);
        packaged(&format!("completions/{name}"), &script);
    }
}

#[test]
fn packaged_man_pages_are_up_to_date() {
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    page(&command, "ggend", "8");
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        page(sub, &format!("ggend-{}", sub.get_name()), "8");
    }
}

#[test]
fn packaged_reference_of_ggend_is_up_to_date() {
    let mut command = Arguments::command()
        .disable_help_subcommand(true)
        .term_width(100);
    command.build();
    let mut text = "# ggend\n\nThe daemon's own command line, as `--help` says it; also as a man page (`man 8 ggend`). What is asked of a running one: \
        [cli.md](cli.md).\n\nThis file is written by a test from the definitions in `daemon/src/cli.rs` \
        (`UPDATE_DOCS=1 cargo test --workspace --lib --bins packaged`); change it there.\n"
        .to_owned();
    let subs = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| (format!("ggend {}", sub.get_name()), sub.clone()));
    for (name, command) in [("ggend".to_owned(), command.clone())]
        .into_iter()
        .chain(subs)
    {
        let help = command.term_width(100).render_long_help().to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        text.push_str(&format!(
            "\n## {name}\n```text\n{}\n```\n",
            lines.join("\n")
        ));
    }
    packaged("../docs/reference/ggend.md", text.as_bytes());
}

fn page(command: &clap::Command, name: &str, section: &str) {
    // Names of commands are static text; a test may leak a few.
    let own = command
        .clone()
        .name(&*name.to_owned().leak())
        .version(None::<&str>);
    let man = clap_mangen::Man::new(own)
        .title(name.to_uppercase())
        .section(section)
        .source("ggend")
        .manual("ggend manual")
        .date("");
    let mut text = Vec::new();
    man.render(&mut text).unwrap();
    packaged(&format!("man/{name}.{section}"), &text);
}

#[test]
fn every_command_that_is_printed_exists() {
    // What is not for people is told apart before the command line is parsed.
    let internal = ["shim", "worker", "http3-probe"];
    let mut verbs: Vec<String> = Arguments::command()
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    verbs.retain(|verb| !internal.contains(&verb.as_str()));
    for command in printed::commands("ggend") {
        let Some(first) = command.words.first() else {
            continue;
        };
        if !first.starts_with("--") && !verbs.contains(first) {
            continue;
        }
        let words = command.words.iter().map(String::as_str);
        let Err(error) = Arguments::try_parse_from(["ggend"].into_iter().chain(words)) else {
            continue;
        };
        let incomplete = matches!(
            error.kind(),
            ErrorKind::MissingSubcommand
                | ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                | ErrorKind::DisplayVersion
        );
        assert!(
            (command.beginning || error.kind() == ErrorKind::DisplayVersion) && incomplete,
            "{}: {}: {error}",
            command.file.display(),
            command.words.join(" ")
        );
    }
}
