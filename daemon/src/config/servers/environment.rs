//! The environment of a stdio entry: `envFile`, and `env` over it.

use super::{entry::Fields, transport::place_of};
use crate::config::{
    files::{env_file, read::File},
    layers::variables::Scope,
    problem::Severity,
};
use ggen_wire::Code;
use std::{collections::BTreeMap, path::Path};

/// Reads it. A file that cannot be read disables the entry: the server would run without its
/// credentials.
pub(super) fn read(
    fields: &mut Fields<'_>,
    file: &File,
    scope: &Scope<'_>,
) -> BTreeMap<String, String> {
    let key = fields.spelt(&["envFile", "env_file"]);
    let mut variables = BTreeMap::new();
    if let Some(path) = fields.text(key).filter(|_| fields.wanted) {
        variables.extend(of_file(fields, key, &place_of(file, &path, scope)));
    }
    let key = fields.spelt(&["env", "environment"]);
    variables.extend(fields.map(key, |name, _| {
        (name.is_empty() || name.contains(['=', '\0']))
            .then_some("not a name of an environment variable")
    }));
    variables
}

fn of_file(fields: &mut Fields<'_>, key: &str, path: &Path) -> Vec<(String, String)> {
    let at = fields.at(key);
    let shown = path.display();
    match env_file::read(path) {
        Ok(found) => {
            if found.is_readable_by_all && !found.variables.is_empty() {
                let what = format!("{shown} may be read by every user of this host");
                fields
                    .problem(Severity::Warning, Code::ConfigMode, key, at, what)
                    .help
                    .push(format!("chmod o-r {shown}"));
            }
            found.variables
        }
        Err(why) => {
            let code = if why.contains("may write") {
                Code::ConfigMode
            } else {
                Code::ConfigUnreadable
            };
            let what = format!("{shown}: {why}");
            fields
                .problem(Severity::Entry, code, key, at, what)
                .help
                .push(format!("ls -l {shown}"));
            Vec::new()
        }
    }
}
