//! `ggend config init`: writes a new, valid file with the settings that are changed most often.

use super::{Answer, CONFIG, Refusal, short};
use crate::config::{LoadOptions, files::write::Turn, load::load};
use ggen_wire::Code;
use serde_json::json;
use std::path::Path;

const PLAIN: &str = r#"{
  "version": "1.0",
  "description": "Every key and its meaning: ggen mcp config schema",
  "server": {
    "workers": 2
  },
  "transports": {
    "http": {
      "enabled": true,
      "host": "127.0.0.1",
      "port": 3000,
      "timeout_ms": 10000,
      "request_timeout_ms": 60000,
      "compression": false
    }
  },
  "logging": {
    "level": "info",
    "format": "console"
  },
  "metrics": {
    "enabled": true,
    "port": 9464
  },
  "mcpServers": {}
}
"#;

const EXAMPLES: &str = r#""mcpServers": {
    "files": {
      "enabled": false,
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"],
      "env": { "LOG_LEVEL": "${LOG_LEVEL:-info}" },
      "timeout": 60000
    },
    "remote": {
      "enabled": false,
      "type": "http",
      "url": "https://mcp.example.com/mcp",
      "headers": { "Authorization": "Bearer ${REMOTE_TOKEN}" }
    }
  }"#;

/// `config init`
pub(super) fn init(
    options: &LoadOptions,
    file: Option<&Path>,
    examples: bool,
    force: bool,
) -> Result<Answer, Refusal> {
    let named = file.map(Path::to_owned).or_else(|| options.named_file());
    let path = options
        .cwd
        .join(named.unwrap_or_else(|| ".mcp.json".into()));
    let text = if examples {
        PLAIN.replace("\"mcpServers\": {}", EXAMPLES)
    } else {
        PLAIN.to_owned()
    };
    let failed = |error| Refusal::io(&path, &error);
    let turn = Turn::take(&path).map_err(failed)?;
    let exists = path.symlink_metadata().is_ok();
    let shown = short(options, &path.display().to_string());
    if exists && !force {
        return Err(
            Refusal::new(CONFIG, None, format!("{shown} exists already"))
                .help(format!(
                    "ggen mcp config init --file {shown} --force   (replaces what is in it)"
                ))
                .help("ggen mcp config set KEY=VALUE   (changes it)"),
        );
    }
    let alone = LoadOptions {
        instead: vec![(path.clone(), text.clone())],
        config_path: Some(path.clone()),
        ..options.clone()
    };
    if let Err(problems) = load(&alone) {
        let ours = problems
            .into_iter()
            .filter(|problem| Path::new(&problem.place.source) == path)
            .collect::<Vec<_>>();
        // Mistakes in other layers do not keep this file from being written.
        if !ours.is_empty() && ours.iter().any(|problem| problem.code != Code::ConfigMode) {
            return Err(Refusal::of(ours));
        }
    }
    turn.write(&text).map_err(failed)?;
    let done = if exists { "Replaced" } else { "Created" };
    let mut said = format!("{done} {shown}\n");
    if examples {
        said.push_str("The entries of mcpServers are switched off: ggen mcp config set mcpServers.files.enabled=true\n");
    }
    said.push_str("Check it: ggen mcp config validate\n");
    Ok(Answer {
        text: said,
        json: json!({"file": path, "created": !exists, "replaced": exists}),
        exit: 0,
        bare: false,
    })
}
