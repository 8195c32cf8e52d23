//! `ggen completion SHELL`: the completion script, generated from the definitions.

use crate::{
    args::{Args, Shell},
    context::Context,
    failed::{Exit, Failed},
};
use clap::CommandFactory;

/// Prints the script.
pub(crate) fn run(context: &mut Context, shell: Shell) -> Result<Exit, Failed> {
    context.out.text(&script(shell))?;
    Ok(Exit::Ok)
}

/// The script of a shell.
pub(crate) fn script(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "ggen", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::PathBuf};

    // With UPDATE_DOCS set, writes the file; otherwise it must be what the definitions give.
    fn packaged(name: &str, wanted: &[u8]) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../packaging")
            .join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, wanted).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "packaging/{name} is not what the definitions give; UPDATE_DOCS=1 cargo test -p ggen packaged"
        );
    }

    #[test]
    fn packaged_completions_are_up_to_date() {
        for (shell, name) in [
            (Shell::Bash, "ggen.bash"),
            (Shell::Zsh, "_ggen"),
            (Shell::Fish, "ggen.fish"),
        ] {
            let script = script(shell);
            assert!(
                script.contains("log-level") && script.contains("monitor"),
                "{name}"
            );
            packaged(&format!("completions/{name}"), script.as_bytes());
        }
    }

    #[test]
    fn packaged_man_pages_are_up_to_date() {
        let mut command = Args::command().disable_help_subcommand(true);
        command.build();
        let mut names = Vec::new();
        page(&command, "ggen", &mut names);
        for name in [
            "ggen.1",
            "ggen-mcp-server-status.1",
            "ggen-mcp-config-validate.1",
        ] {
            assert!(
                names.iter().any(|known| known == name),
                "{name} is missing: {names:?}"
            );
        }
        // Nothing of an earlier definition stays.
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging/man");
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with("ggen.") || name.starts_with("ggen-") {
                if std::env::var_os("UPDATE_DOCS").is_some() && !names.contains(&name) {
                    fs::remove_file(&path).unwrap();
                } else {
                    assert!(
                        names.contains(&name),
                        "packaging/man/{name} belongs to no command"
                    );
                }
            }
        }
    }

    #[test]
    fn packaged_reference_of_commands_is_up_to_date() {
        let mut command = Args::command()
            .disable_help_subcommand(true)
            .term_width(100);
        command.build();
        let mut text = String::from(REFERENCE);
        command.set_bin_name("ggen");
        explain(&command, "## ggen", &mut text);
        text.push_str("\n## MCP commands\n");
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            explain_all(sub, &format!("ggen {}", sub.get_name()), &mut text);
        }
        packaged("../docs/reference/cli.md", text.as_bytes());
    }

    const REFERENCE: &str = "# Commands\n\nEvery command of `ggen` with its options, as `--help` says it; also as man pages (`man ggen-mcp-server-reload`). \
        The options of `ggen` itself are those of every command. `ggend`: [ggend.md](ggend.md).\n\nThis file is written by a test from the definitions in `ctl/src/args.rs` \
        (`UPDATE_DOCS=1 cargo test --workspace --lib --bins packaged`); change it there.\n";

    fn explain(command: &clap::Command, heading: &str, text: &mut String) {
        let help = command
            .clone()
            .term_width(100)
            .render_long_help()
            .to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        text.push_str(&format!(
            "\n{heading}\n```text\n{}\n```\n",
            lines.join("\n")
        ));
    }

    fn explain_all(command: &clap::Command, name: &str, text: &mut String) {
        let own = command.clone().mut_args(|arg| {
            if arg.is_global_set() {
                arg.hide(true)
            } else {
                arg
            }
        });
        explain(&own, &format!("### {name}"), text);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            explain_all(sub, &format!("{name} {}", sub.get_name()), text);
        }
    }

    fn page(command: &clap::Command, name: &str, names: &mut Vec<String>) {
        // Names of commands are static text; a test may leak a few.
        let own = command
            .clone()
            .name(&*name.to_owned().leak())
            .version(None::<&str>);
        let man = clap_mangen::Man::new(own)
            .title(name.to_uppercase())
            .source("ggend")
            .manual("ggend manual")
            .date("");
        let mut text = Vec::new();
        man.render(&mut text).unwrap();
        packaged(&format!("man/{name}.1"), &text);
        names.push(format!("{name}.1"));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            page(sub, &format!("{name}-{}", sub.get_name()), names);
        }
    }
}
