//! `ggen completion SHELL`: the completion script, made of the definitions themselves.

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
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, wanted).unwrap();
        }
        let found = fs::read(&path).unwrap_or_default();
        assert!(found == wanted, "packaging/{name} is not what the definitions give; UPDATE_DOCS=1 cargo test -p ggen packaged");
    }

    #[test]
    fn packaged_completions_are_up_to_date() {
        for (shell, name) in [(Shell::Bash, "ggen.bash"), (Shell::Zsh, "_ggen"), (Shell::Fish, "ggen.fish")] {
            let script = script(shell);
            assert!(script.contains("log-level") && script.contains("monitor"), "{name}");
            packaged(&format!("completions/{name}"), script.as_bytes());
        }
    }

    #[test]
    fn packaged_man_pages_are_up_to_date() {
        let mut command = Args::command().disable_help_subcommand(true);
        command.build();
        let mut names = Vec::new();
        page(&command, "ggen", &mut names);
        for name in ["ggen.1", "ggen-mcp-server-status.1", "ggen-mcp-config-validate.1"] {
            assert!(names.iter().any(|known| known == name), "{name} is missing: {names:?}");
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
                    assert!(names.contains(&name), "packaging/man/{name} belongs to no command");
                }
            }
        }
    }

    fn page(command: &clap::Command, name: &str, names: &mut Vec<String>) {
        // Names of commands are static text; a test may leak a few.
        let own = command.clone().name(&*name.to_owned().leak()).version(None::<&str>);
        let man = clap_mangen::Man::new(own).title(name.to_uppercase()).source("ggend").manual("ggend manual").date("");
        let mut text = Vec::new();
        man.render(&mut text).unwrap();
        packaged(&format!("man/{name}.1"), &text);
        names.push(format!("{name}.1"));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            page(sub, &format!("{name}-{}", sub.get_name()), names);
        }
    }
}
