//! Whatever stands in a configuration file or in a variable is loaded or refused with a place
//! inside the text; what is loaded is within its ranges, and what is shown of it holds no secret.
//! The first line may be a variable, `GGEN_MCP_…=value`, the rest is the file.
#![no_main]

use ggend::config::{LoadOptions, Location, Severity, check, load, redacted};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, path::PathBuf};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (variable, file) = text.split_once('\n').unwrap_or(("", text));
    let mut env = BTreeMap::from([("HOME".to_owned(), "/nowhere".to_owned()), ("A".to_owned(), "a".to_owned())]);
    if let Some((name, value)) = variable.split_once('=') {
        env.insert(name.to_owned(), value.to_owned());
    }
    let nowhere = PathBuf::from("/nowhere");
    let path = nowhere.join("mcp.json");
    let options = LoadOptions {
        flags: Vec::new(),
        config_path: Some(path.clone()),
        env,
        cwd: nowhere.clone(),
        home: None,
        etc: nowhere,
        user_mode: false,
        state: None,
        runs_as: None,
        instead: vec![(path, file.to_owned())],
    };
    let lines = file.lines().count() + 1;
    let problems = match load(&options) {
        Ok(loaded) => {
            let place = |path: &str| Location { source: path.to_owned(), at: None };
            let again = check(&loaded.config, &place, false);
            assert!(again.iter().all(|problem| problem.severity != Severity::Error), "{again:?}");
            let shown = redacted(&loaded.config).to_string();
            let auth = &loaded.config.auth;
            for secret in [&auth.api_key, &auth.jwt.secret].into_iter().flatten().map(|secret| secret.expose()).filter(|text| text.len() > 12) {
                assert!(!shown.contains(secret) || file.matches(secret).count() > 1, "{shown}");
            }
            loaded.warnings
        }
        Err(problems) => problems,
    };
    for problem in problems {
        let _ = problem.to_string();
        assert!(problem.place.at.is_none_or(|at| at.line <= lines), "{problem}: {lines} lines");
    }
});
