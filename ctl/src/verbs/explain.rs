//! `ggen mcp explain CODE`: the page of an error code. Needs no daemon.

use crate::{
    context::Context,
    failed::{Exit, Failed},
    render::Tone,
};
use ggen_wire::Code;
use serde_json::{Value, json};

/// Prints one page, or the list of all codes.
pub(crate) fn run(context: &mut Context, code: Option<&str>) -> Result<Exit, Failed> {
    let Some(text) = code else {
        return list(context);
    };
    let code: Code = text.parse().map_err(|_| {
        Failed::plain(
            Exit::Usage,
            format!("no error code is called {text}"),
            "ggen mcp explain (lists every code)",
        )
    })?;
    let page = code.page();
    let out = &mut context.out;
    out.value(&as_json(code))?;
    out.line(&format!(
        "{}: {}",
        out.tone(Tone::Strong, code.as_str()),
        code.title()
    ))?;
    out.line(&format!("\n{}", page.meaning))?;
    out.line("\nCauses:")?;
    for cause in page.causes {
        out.line(&format!("  • {cause}"))?;
    }
    out.line("\nHow to fix it:")?;
    for help in page.help {
        out.line(&format!("  • {}", help.what))?;
        if !help.command.is_empty() {
            out.line(&format!("      {}", out.tone(Tone::Strong, help.command)))?;
        }
    }
    Ok(Exit::Ok)
}

fn list(context: &mut Context) -> Result<Exit, Failed> {
    let all: Vec<Value> = Code::ALL
        .iter()
        .map(|code| json!({ "code": code, "title": code.title() }))
        .collect();
    context.out.value(&json!({ "codes": all }))?;
    for code in Code::ALL {
        context.out.line(&format!("{code}  {}", code.title()))?;
    }
    Ok(Exit::Ok)
}

fn as_json(code: Code) -> Value {
    let page = code.page();
    let help: Vec<Value> = page
        .help
        .iter()
        .map(|help| json!({ "what": help.what, "command": help.command }))
        .collect();
    json!({ "code": code, "title": code.title(), "meaning": page.meaning, "causes": page.causes, "help": help })
}
