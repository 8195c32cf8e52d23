//! The user's guide, command by command: every fenced command of
//! `docs/guide/troubleshoot-connection.md` is run in order against a real daemon, and what the
//! guide shows of the output is compared label by label. What is not run is listed with its reason.

use ggend_tests::{sandbox::binary, *};
use serde_json::json;
use std::{fs, path::Path, process::Command};

/// A fenced block: commands, or commands with the output that is expected of them.
enum Block {
    Commands(Vec<String>),
    Shown(String, Vec<String>),
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = guide.lines().map(|line| line.trim_start_matches("   "));
    while let Some(line) = lines.next() {
        if line.trim() != "```bash" {
            continue;
        }
        let body: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .collect();
        if let Some(command) = body.first().and_then(|line| line.strip_prefix("$ ")) {
            found.push(Block::Shown(
                command.to_owned(),
                body[1..]
                    .iter()
                    .filter(|line| !line.is_empty())
                    .map(|line| (*line).to_owned())
                    .collect(),
            ));
            continue;
        }
        let text = body.join("\n").replace("\\\n", " ");
        let commands = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        found.push(Block::Commands(commands.map(str::to_owned).collect()));
    }
    found
}

/// Why a command is not run.
fn skipped(command: &str) -> Option<&'static str> {
    let first = command.split_whitespace().next().unwrap_or_default();
    match first {
        "sudo" | "echo" => Some("changes or reads the firewall of the host"),
        "ping" | "nc" | "nslookup" | "netstat" | "lsof" => Some("a tool of the host, not ours"),
        "wscat" | "quiche-client" => Some("foreign tool, driven in tests/interop"),
        _ if command.contains("your-server") => Some("names a host of the reader's"),
        _ => None,
    }
}

/// The exit codes that a command may end with.
const fn expected(command: &str) -> &'static [i32] {
    match command.as_bytes() {
        // A line a second until it is ended.
        b"ggen mcp server monitor" => &[124],
        // The settings changed on the way wait for a reload: a warning.
        b"ggen mcp doctor > diagnostics.txt" => &[1],
        _ => &[0],
    }
}

/// What a command's output has to contain, where its exit code does not say enough.
const SAID: [(&str, &str); 5] = [
    ("curl -v -k https://", "200"),
    ("openssl s_client", "BEGIN CERTIFICATE"),
    ("ggen mcp auth verify-token", "Valid"),
    ("ggen mcp auth list-api-keys", "laptop"),
    ("curl -H \"Authorization: Bearer", "tools"),
];

/// The part of a shown line that does not depend on the machine: the label, or the whole line.
fn label(line: &str) -> &str {
    match line.split_once(": ") {
        Some((_, "Running" | "Valid" | "OK" | "Connected" | "None found" | "1.0")) => line,
        Some((label, _)) => label,
        None => line,
    }
}

fn shell(daemon: &Daemon, command: &str) -> Ran {
    let ours = daemon.sandbox.command("ggen");
    let mut bash = Command::new("bash");
    bash.env_clear()
        .envs(
            ours.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir(daemon.sandbox.path("work"));
    let path = format!(
        "{}:{}",
        binary("ggen").parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    bash.env("PATH", path)
        .env("GGEN_MCP_CONFIG", daemon.sandbox.config())
        .env(
            "TOKEN",
            fs::read_to_string(daemon.sandbox.path("token")).unwrap_or_default(),
        )
        .stdin(std::process::Stdio::null());
    let timed = if command == "ggen mcp server monitor" {
        format!("timeout 3 {command}")
    } else {
        command.to_owned()
    };
    let output = bash.arg("-c").arg(timed).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let guide =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guide/troubleshoot-connection.md");
    let guide = blocks(&fs::read_to_string(guide).unwrap());
    let config = json!({
        "transports": { "http": { "ssl": { "port": 0 } } },
        "auth": { "jwt": { "secret": "this-secret-is-for-the-tests-and-for-nothing-else" } },
        "mcpServers": { "fix": fixture(&[]) },
    });
    let daemon = daemon(config).idle();
    let started = shell(&daemon, "ggen mcp server start");
    assert_eq!(started.code, 0, "{started:#?}");
    assert_eq!(shell(&daemon, "ggen mcp server wait").code, 0);
    assert_eq!(
        shell(
            &daemon,
            "ggen mcp auth generate-api-key --description laptop"
        )
        .code,
        0
    );
    let token = shell(&daemon, "ggen mcp auth generate-token --quiet");
    assert!(token.stdout.starts_with("eyJ"), "{token:#?}");
    fs::write(daemon.sandbox.path("token"), token.stdout.trim()).unwrap();
    let port = |transport| {
        daemon
            .listener(transport)
            .unwrap_or_else(|| panic!("no {transport}"))
            .port()
    };
    let (http, https) = (
        format!("localhost:{}", port("http")),
        format!("localhost:{}", port("https")),
    );
    let (mut failures, mut ran, mut left) = (Vec::new(), 0, 0);
    for block in &guide {
        match block {
            Block::Shown(command, lines) => {
                let output = if command == "ggen mcp server start" {
                    started.stdout.clone()
                } else {
                    shell(&daemon, command).stdout
                };
                for line in lines {
                    if !output.lines().any(|shown| shown.starts_with(label(line))) {
                        failures.push(format!("{command}: no line {:?} in\n{output}", label(line)));
                    }
                }
                println!("shown    {command}");
            }
            Block::Commands(commands) => {
                for command in commands {
                    if let Some(reason) = skipped(command) {
                        left += 1;
                        println!("skipped  {command}   ({reason})");
                        continue;
                    }
                    let done = shell(
                        &daemon,
                        &command
                            .replace("localhost:3000", &http)
                            .replace("localhost:3443", &https),
                    );
                    ran += 1;
                    println!("exit {:<3} {command}", done.code);
                    if !expected(command).contains(&done.code) {
                        failures.push(format!("{command}: {done:#?}"));
                    }
                    if let Some((_, said)) =
                        SAID.iter().find(|(known, _)| command.starts_with(known))
                        && !format!("{}{}", done.stdout, done.stderr).contains(said)
                    {
                        failures.push(format!("{command}: no {said:?} in {done:#?}"));
                    }
                    if command.contains("| grep")
                        && done.stdout.is_empty()
                        && !command.contains("3000")
                    {
                        failures.push(format!("{command}: found nothing"));
                    }
                }
            }
        }
    }
    for name in ["config.json", "metrics.json"] {
        let text = fs::read_to_string(daemon.sandbox.path("work").join(name)).unwrap();
        assert!(
            serde_json::from_str::<serde_json::Value>(&text).is_ok(),
            "{name} is no JSON"
        );
    }
    let found = fs::read_to_string(daemon.sandbox.path("work/diagnostics.txt")).unwrap();
    assert!(
        found.contains("(0 errors, ") && found.contains("help: ggen mcp server reload"),
        "{found}"
    );
    println!("{ran} commands run, {left} skipped");
    assert_eq!(shell(&daemon, "ggen mcp server stop").code, 0);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(ran > 35, "only {ran} commands found");
}

/// The JSON blocks of a page, and the commands of its `console` blocks.
fn printed(page: &str) -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(page),
    )
    .unwrap();
    let fenced = |kind: &str| -> Vec<String> {
        text.split(&format!("```{kind}\n"))
            .skip(1)
            .filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned()))
            .collect()
    };
    let commands = fenced("console")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    (fenced("json"), commands)
}

#[test]
fn what_the_pages_about_authentication_and_policy_print_can_be_typed() {
    let daemon = daemon(json!({ "mcpServers": { "fix": fixture(&[]) } })).start();
    let place = daemon.sandbox.path("work");
    fs::create_dir(place.join("etc")).unwrap();
    let (_, commands) = printed("authentication.md");
    assert!(commands.len() > 8, "{commands:?}");
    for line in commands {
        let command = line
            .strip_prefix("$ ")
            .unwrap_or_else(|| panic!("not a command: {line}"));
        let listed = shell(&daemon, "ggen mcp auth list-api-keys --json").stdout;
        let id = serde_json::from_str::<serde_json::Value>(&listed)
            .ok()
            .and_then(|keys| Some(keys["keys"][0]["id"].as_str()?.to_owned()));
        let command = command
            .replace("/etc/ggen", place.join("etc").to_str().unwrap())
            .replace("<ID>", &id.unwrap_or_default());
        let done = shell(&daemon, &command);
        assert_eq!(done.code, 0, "{command}: {done:#?}");
        println!("exit 0   {command}");
        // The page goes on with the token that is shown here.
        if command.starts_with("ggen mcp auth generate-token") {
            fs::write(
                place.join("token"),
                done.stdout
                    .split_whitespace()
                    .find(|word| word.starts_with("eyJ"))
                    .expect("a token"),
            )
            .unwrap();
        }
        if command.contains("verify-token") {
            assert!(done.stdout.contains("Valid"), "{done:#?}");
        }
    }
    // Configurations are taken as they are printed.
    let (configurations, _) = printed("policy.md");
    assert!(configurations.len() >= 2, "{configurations:?}");
    for (number, configuration) in configurations.iter().enumerate() {
        let file = place.join(format!("{number}.json"));
        fs::write(&file, configuration).unwrap();
        let done = shell(
            &daemon,
            &format!("ggen mcp config validate --file {}", file.display()),
        );
        assert_eq!(done.code, 0, "{configuration}: {done:#?}");
    }
    fs::remove_dir_all(place).unwrap();
    fs::create_dir(daemon.sandbox.path("work")).unwrap();
    daemon.stop();
}
