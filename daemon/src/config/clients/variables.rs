//! Variables as client programs write them, as ours.

use crate::config::layers::variables::Input;
use std::{collections::BTreeMap, path::Path};

/// What variables of a file become.
pub(super) struct Variables<'a> {
    /// The client program.
    pub client: &'static str,
    /// `${workspaceFolder}` of the file.
    pub folder: Option<&'a Path>,
    /// Its inputs.
    pub inputs: &'a BTreeMap<String, Input>,
}

impl Variables<'_> {
    /// A text in our spelling. `notes` gets what has to be provided.
    ///
    /// # Errors
    /// What has no equivalent.
    pub(super) fn ours(&self, text: &str, notes: &mut Vec<String>) -> Result<String, String> {
        let text = self.editors(text, notes)?;
        match self.client {
            "opencode" => braced(&text),
            "gemini" => Ok(bare(&text)),
            _ => Ok(text),
        }
    }

    /// `${workspaceFolder}` as the folder, `${input:id}` as a credential.
    fn editors(&self, text: &str, notes: &mut Vec<String>) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let Some(end) = rest[start..].find('}') else {
                break;
            };
            let inner = &rest[start + 2..start + end];
            out.push_str(&rest[..start]);
            match (inner, self.folder) {
                ("workspaceFolder" | "workspaceRoot", Some(folder)) => {
                    out.push_str(&folder.display().to_string());
                }
                ("workspaceFolderBasename", Some(folder)) => {
                    out.push_str(&folder.file_name().unwrap_or_default().to_string_lossy());
                }
                _ if inner.starts_with("input:") => out.push_str(&self.input(&inner[6..], notes)?),
                _ => out.push_str(&rest[start..=start + end]),
            }
            rest = &rest[start + end + 1..];
        }
        Ok(out + rest)
    }

    fn input(&self, id: &str, notes: &mut Vec<String>) -> Result<String, String> {
        let input = self.inputs.get(id).cloned().unwrap_or_default();
        if input.is_command {
            return Err(format!(
                "${{input:{id}}} is the result of a command of an editor"
            ));
        }
        Ok(match input.default {
            Some(default) if !default.contains(['$', '}']) => {
                format!("${{credential:{id}:-{default}}}")
            }
            _ => {
                notes.push(format!("asks for {id}: put it into the credential {id}"));
                format!("${{credential:{id}}}")
            }
        })
    }
}

/// OpenCode's `{env:VAR}` and `{file:path}` (<https://opencode.ai/docs/config/#variables>).
fn braced(text: &str) -> Result<String, String> {
    if text.contains("{file:") {
        return Err(
            "{file:…} puts a file's content there, which has no equivalent; make it a credential"
                .to_owned(),
        );
    }
    Ok(text
        .replace("${env:", "\0")
        .replace("{env:", "${")
        .replace('\0', "${env:"))
}

/// Gemini CLI's `$VAR` (<https://geminicli.com/docs/tools/mcp-server>).
fn bare(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        let name: String = rest[start + 1..]
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        out.push_str(&rest[..start]);
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            out.push_str(&format!("${{{name}}}"));
        } else {
            out.push_str(&rest[start..=start + name.len()]);
        }
        rest = &rest[start + 1 + name.len()..];
    }
    out + rest
}
