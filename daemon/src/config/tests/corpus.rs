//! Files as people have them, one folder for each client program (`daemon/tests/corpus`), and beside
//! each what becomes of it. `odd` is read by the daemon itself. With `UPDATE_GOLDEN` set, what is
//! expected is written.

use super::Host;
use crate::config::{
    Config, RemoteKind, Upstream, UpstreamTransport,
    clients::{self, Client},
    commands::testing,
    secrets::credentials,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

fn corpus() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    let is_expected = |path: &Path| path.extension().is_some_and(|end| end == "expected");
    let mut found = Vec::new();
    for client in list(&folder).into_iter().filter(|path| path.is_dir()) {
        let name = client.file_name().unwrap().to_string_lossy().into_owned();
        found.extend(
            list(&client)
                .into_iter()
                .filter(|path| !is_expected(path))
                .map(|path| (name.clone(), path)),
        );
    }
    found
}

/// A host with the file where its client keeps it.
fn host(client: &str, file: &Path) -> (Host, PathBuf) {
    let host = Host::new().env(&[("TOKEN", "t0ken"), ("KEY", "k3y"), ("DB_NAME", "db")]);
    let usual = clients::by_id(client).and_then(|client| client.files.first());
    let place = match usual {
        Some(usual) => host
            .dir
            .path()
            .join("home")
            .join(usual.trim_start_matches("~/")),
        None => host.dir.path().join("cwd").join(file.file_name().unwrap()),
    };
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, fs::read(file).unwrap()).unwrap();
    host.mode(&place, 0o600);
    (host, place)
}

fn said(host: &Host, text: &str) -> String {
    text.replace(&format!("{}/", host.dir.path().display()), "/")
}

/// The servers of a configuration, a line each.
fn served(config: &Config) -> String {
    let mut text = String::new();
    for name in &config.order {
        let Upstream {
            transport,
            enabled,
            timeout,
            startup_timeout,
            ..
        } = &config.mcp_servers[name];
        let _ = write!(text, "  {name}{}: ", if *enabled { "" } else { " (off)" });
        let _ = match transport {
            UpstreamTransport::Stdio {
                command,
                args,
                env,
                cwd,
                ..
            } => {
                write!(text, "{command:?} {args:?} env {env:?} cwd {cwd:?}")
            }
            UpstreamTransport::Http { url, kind, headers } => {
                let kind = if *kind == RemoteKind::Sse {
                    "sse"
                } else {
                    "http"
                };
                write!(text, "{kind} {url} headers {headers:?}")
            }
        };
        let _ = writeln!(text, " timeouts {timeout} {startup_timeout}");
    }
    text
}

/// What becomes of a file.
fn reading(client: &str, file: &Path) -> String {
    let (mut host, place) = host(client, file);
    if client == "odd" {
        host.options.config_path = Some(place);
        let servers = host.load().map_or_else(
            |_| "  refused\n".to_owned(),
            |loaded| served(&loaded.config),
        );
        return said(
            &host,
            &format!("Servers:\n{servers}Problems:\n{}", host.problems()),
        );
    }
    let what = if client == "registry" {
        place.display().to_string()
    } else {
        client.to_owned()
    };
    let plan = testing::import(&host.options, &what, true);
    host.options.env.extend(credentials::read(
        &host.dir.path().join("home/.ggen/credentials"),
    ));
    let loaded = host.loaded();
    let file = fs::read_to_string(host.dir.path().join("cwd/.mcp.json")).unwrap_or_default();
    let text = format!(
        "{plan}\nFile:\n{file}\nServers:\n{}Problems:\n{}",
        served(&loaded.config),
        host.problems()
    );
    said(&host, &text)
}

#[test]
fn every_file_is_read_as_expected() {
    let corpus = corpus();
    assert!(corpus.len() >= 60, "{}", corpus.len());
    for client in clients::CLIENTS.iter().map(|client| client.id) {
        assert!(
            corpus.iter().any(|(name, _)| name == client),
            "no file of {client}"
        );
    }
    let mut wrong = String::new();
    for (client, file) in corpus {
        let golden = file.with_extension("expected");
        let reading = reading(&client, &file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &reading).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if reading != expected {
            let _ = writeln!(
                wrong,
                "== {}\n{reading}\n-- expected\n{expected}",
                file.display()
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What the daemon serves of the file itself is what it serves after the import.
#[test]
fn an_imported_file_serves_the_same_servers() {
    let mut compared = 0;
    for (client, file) in corpus() {
        // Their addresses without a type mean event streams, and their times are seconds.
        if ["odd", "gemini", "cline"].contains(&client.as_str()) {
            continue;
        }
        let (mut host, place) = host(&client, &file);
        let direct = |config: &Config| -> BTreeMap<String, UpstreamTransport> {
            let on = config
                .mcp_servers
                .iter()
                .filter(|(_, upstream)| upstream.enabled);
            on.map(|(name, upstream)| (name.clone(), upstream.transport.clone()))
                .collect()
        };
        // Inputs are taken from variables by the daemon, from credentials after the import.
        host.options
            .env
            .insert("credential:perplexity-key".to_owned(), "corpus".to_owned());
        host.options.config_path = Some(place.clone());
        let Ok(before) = host.load() else { continue };
        let before = direct(&before.config);
        if before.is_empty() {
            continue;
        }
        host.options.config_path = None;
        testing::import(&host.options, &client, true);
        host.options.env.extend(credentials::read(
            &host.dir.path().join("home/.ggen/credentials"),
        ));
        assert_eq!(before, direct(&host.loaded().config), "{}", file.display());
        compared += 1;
    }
    assert!(compared >= 15, "{compared}");
}

/// The servers of a client's file, by name.
fn of_client(client: &Client, text: &str) -> BTreeMap<String, serde_json::Value> {
    let root = client.format.read(text).unwrap();
    let servers = clients::servers(client, &root).map(|(node, _)| node);
    let members = servers.into_iter().flat_map(|node| node.members());
    members
        .map(|member| (member.key.clone(), member.node.value()))
        .collect()
}

#[test]
fn install_adds_one_entry_and_remove_restores_the_bytes() {
    for (name, file) in corpus() {
        let Some(client) = clients::by_id(&name).filter(|client| !client.files.is_empty()) else {
            continue;
        };
        let shown = file.display();
        let (host, place) = host(&name, &file);
        let before = fs::read_to_string(&place).unwrap();
        testing::install(&host.options, &name, false).unwrap();
        let after = fs::read_to_string(&place).unwrap();
        let (old, mut new) = (of_client(client, &before), of_client(client, &after));
        let own = new
            .remove("ggend")
            .unwrap_or_else(|| panic!("{shown}: {after}"));
        assert!(
            own.to_string().contains("/mcp") || own.to_string().contains("stdio"),
            "{own}"
        );
        assert_eq!(old, new, "{shown}");
        let backup = place.with_file_name(format!(
            "{}.ggen-backup",
            place.file_name().unwrap().to_string_lossy()
        ));
        assert_eq!(fs::read_to_string(&backup).unwrap(), before, "{shown}");
        // Again changes nothing.
        assert!(
            testing::install(&host.options, &name, false)
                .unwrap()
                .starts_with("Unchanged"),
            "{shown}"
        );
        testing::install(&host.options, &name, true).unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), before, "{shown}");
        assert!(!backup.exists());
        // Without the copy only the entry goes; with it a file that held nothing else.
        testing::install(&host.options, &name, false).unwrap();
        fs::remove_file(&backup).unwrap();
        testing::install(&host.options, &name, true).unwrap();
        assert_eq!(
            of_client(client, &fs::read_to_string(&place).unwrap_or_default()),
            old,
            "{shown}"
        );
    }
}

#[test]
fn install_makes_a_file_and_remove_takes_it_away() {
    for client in clients::CLIENTS
        .iter()
        .filter(|client| !client.files.is_empty())
    {
        let host = Host::new();
        let place = host
            .dir
            .path()
            .join("home")
            .join(client.files[0].trim_start_matches("~/"));
        testing::install(&host.options, client.id, false).unwrap();
        let text = fs::read_to_string(&place).unwrap();
        assert_eq!(of_client(client, &text).len(), 1, "{text}");
        testing::install(&host.options, client.id, true).unwrap();
        assert!(!place.exists(), "{}", client.id);
    }
}
