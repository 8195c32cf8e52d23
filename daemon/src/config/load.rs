//! Loads the configuration: which files, in which order, and the merged result.

use super::{
    check,
    files::{
        permissions,
        read::{File, Unread},
        trust,
    },
    layers::{FILE_VARIABLE, Flag, Layer},
    model::{Config, UpstreamTransport},
    problem::{Location, Problem, Severity},
    schema,
    secrets::{
        auth_files::{self, AuthFiles},
        collector_headers,
    },
    servers::{self, Around, selfref::Own},
};
use figment::{Figment, providers::Serialized};
use ggen_wire::Code;
use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Where a person's credentials are, below the home directory.
pub(super) const CREDENTIALS: &str = ".ggen/credentials";

/// Everything that loading depends on; nothing is taken from the process itself.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Values of command-line flags; later ones win.
    pub flags: Vec<Flag>,
    /// `--config`
    pub config_path: Option<PathBuf>,
    /// The environment: `GGEN_MCP_*`, and the variables of `mcpServers`.
    pub env: BTreeMap<String, String>,
    /// The working directory: `./.mcp.json` in user mode, and relative `--config` paths.
    pub cwd: PathBuf,
    /// The home directory: `~/.ggen/mcp/config.json`, `~`.
    pub home: Option<PathBuf>,
    /// The system's folder, `/etc/ggen`.
    pub etc: PathBuf,
    /// Run by a person, not as a service: `./.mcp.json` is read, and a file that others may write
    /// is only a warning.
    pub user_mode: bool,
    /// The user whose rights the programs of the configuration would get: files that were found and
    /// not named are used only if nobody else can have written them. `None`: nothing of it is run.
    pub runs_as: Option<u32>,
    /// The state directory; only whether it has a key store is checked.
    pub state: Option<PathBuf>,
    /// A content to judge in the place of a file's own, before it is written. The file need not
    /// exist, nor be one of those that are read.
    pub instead: Vec<(PathBuf, String)>,
}

impl LoadOptions {
    /// From the process: its environment, working directory and HOME. Variables that are not UTF-8
    /// are left out.
    #[must_use]
    pub fn from_process(user_mode: bool) -> Self {
        let mut env: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = env
            .get("HOME")
            .filter(|home| home.starts_with('/'))
            .map(PathBuf::from);
        let etc = PathBuf::from("/etc/ggen");
        // Who checks a configuration as root sees what systemd will hand over; a person has a folder
        // of their own beside it.
        let own = home
            .as_ref()
            .filter(|_| user_mode)
            .map(|home| home.join(CREDENTIALS));
        let handed = env.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        for folder in [Some(handed.unwrap_or_else(|| etc.join("credentials"))), own] {
            env.extend(
                folder
                    .iter()
                    .flat_map(|folder| super::secrets::credentials::read(folder)),
            );
        }
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self {
            flags: Vec::new(),
            config_path: None,
            env,
            cwd,
            home,
            etc,
            user_mode,
            runs_as: None,
            state: Some(super::state::directory()),
            instead: Vec::new(),
        }
    }

    /// The same, to run the programs of the configuration.
    #[must_use]
    pub fn to_run(mut self) -> Self {
        self.runs_as = Some(nix::unistd::geteuid().as_raw());
        self
    }

    /// The file that a flag or a variable names, as it was written.
    #[must_use]
    pub fn named_file(&self) -> Option<PathBuf> {
        let variable = || {
            self.env
                .get(FILE_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        };
        self.config_path.clone().or_else(variable)
    }
}

/// A configuration in force.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values. Entries that cannot be served are in it, disabled.
    pub config: Config,
    /// Warnings, and the problems of single entries (`Severity::Entry`), by place.
    pub warnings: Vec<Problem>,
    /// Why an entry is disabled that nobody switched off: its name → the problem.
    pub blocked: BTreeMap<String, Problem>,
    /// Each leaf path, and `mcpServers.NAME` → `/path/.mcp.json:12:7`, `GGEN_MCP_…`, `--port` or
    /// `default`.
    pub provenance: BTreeMap<String, String>,
    /// What the files say as they say it, variables and all: entries (`mcpServers.NAME`) and
    /// sections that this version does not serve, by path.
    pub written: BTreeMap<String, serde_json::Value>,
    /// Whether strangers on a public address would be asked who they are, and somebody could
    /// answer.
    pub asks_strangers: bool,
    /// What an operator has stopped by name; it is switched off in `config`.
    pub stopped: BTreeSet<String>,
    /// What the files of `auth` hold.
    pub auth_files: AuthFiles,
    /// The highest file that was read; `None`: built-in defaults.
    pub file: Option<PathBuf>,
    /// Every file that was read, highest first.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Whether somebody set a key, or any below it, rather than left it at its default.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        let below = |leaf: &str| {
            leaf == key
                || leaf
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        self.provenance
            .iter()
            .any(|(leaf, source)| below(leaf) && source != DEFAULT)
    }

    /// A path of the configuration: `~/` is the home directory, a relative one is meant from the
    /// folder of the file that says it.
    #[must_use]
    pub fn path(&self, key: &str, path: &Path) -> PathBuf {
        if let (Ok(below), Some(home)) = (path.strip_prefix("~"), std::env::var_os("HOME")) {
            return PathBuf::from(home).join(below);
        }
        let source = self
            .provenance
            .get(key)
            .filter(|source| source.starts_with('/'));
        let file = source.and_then(|source| source.rsplitn(3, ':').last());
        file.and_then(|file| Path::new(file).parent())
            .map_or_else(|| path.to_path_buf(), |folder| folder.join(path))
    }
}

/// Loads and checks.
///
/// # Errors
/// All problems, warnings included, if any is an error. Nothing of such a configuration is to be
/// used.
pub fn load(options: &LoadOptions) -> Result<Loaded, Vec<Problem>> {
    let mut problems = Vec::new();
    let files = files(options, &mut problems);
    for file in &files {
        permissions::check(file, !options.user_mode, &mut problems);
    }
    let mut layers = vec![
        Layer::flags(&options.flags, &mut problems),
        Layer::environment(&options.env, &mut problems),
    ];
    layers.extend(files.iter().map(|file| Layer::file(file, &mut problems)));
    let mut figment = Figment::from(Serialized::defaults(Config::default()));
    for layer in layers.iter().rev() {
        figment = figment.merge(layer);
    }
    let mut config = extract(&figment, &mut problems);
    let place = |path: &str| place(&figment, &layers, path);
    choose_ports(&mut config, |path| place(path).source == DEFAULT);
    let keys_made = options
        .state
        .as_ref()
        .is_some_and(|state| state.join(auth_files::KEY_STORE).exists());
    problems.extend(check::check(&config, &place, keys_made));
    let auth_files = auth_files::read(&config, &place, &mut problems);
    collector_headers::read(&mut config, &options.env, &place, &mut problems);
    let mut provenance: BTreeMap<String, String> = schema::leaves()
        .iter()
        .map(|leaf| (leaf.clone(), place(leaf).to_string()))
        .filter(|(leaf, source)| keeps(leaf, source))
        .collect();
    let entries = take_entries(&mut config, &files, options, &mut problems);
    provenance.extend(entries.provenance);
    sort(&mut problems, &files);
    if problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
    {
        return Err(problems);
    }
    let asks_strangers =
        config.auth.is_required(false) && (config.auth.names_credentials() || keys_made);
    let files: Vec<_> = files.into_iter().map(|file| file.path).collect();
    let file = files.first().cloned();
    let stopped = BTreeSet::new();
    Ok(Loaded {
        config,
        warnings: problems,
        blocked: entries.blocked,
        provenance,
        written: entries.written,
        asks_strangers,
        stopped,
        auth_files,
        file,
        files,
    })
}

/// By file, and by position in it.
fn sort(problems: &mut [Problem], files: &[File]) {
    let rank = |place: &Location| {
        files
            .iter()
            .position(|file| file.path.display().to_string() == place.source)
    };
    problems.sort_by_cached_key(|problem| (rank(&problem.place), problem.place.clone()));
}

fn extract(figment: &Figment, problems: &mut Vec<Problem>) -> Config {
    figment.extract().unwrap_or_else(|error| {
        // Every leaf was checked before, so this is a fault of ggend; it must not be lost all the
        // same.
        problems.push(Problem::new(
            Severity::Error,
            Code::ConfigType,
            Location::default(),
            error.path.join("."),
            error.kind.to_string(),
        ));
        Config::default()
    })
}

/// Where the system is to choose the HTTP port, it chooses the ports that are not set, too.
fn choose_ports(config: &mut Config, unset: impl Fn(&str) -> bool) {
    if config.transports.http.port != 0 {
        return;
    }
    if unset("transports.http.ssl.port") {
        config.transports.http.ssl.port = 0;
    }
    if unset("transports.quic.port") {
        config.transports.quic.port = 0;
    }
}

/// What is known of the entries of `mcpServers` beside their values.
#[derive(Default)]
struct Entries {
    /// Why entries are not served, by name.
    blocked: BTreeMap<String, Problem>,
    /// The entries as they are written, by key path.
    written: BTreeMap<String, serde_json::Value>,
    /// Where they come from, by key path.
    provenance: BTreeMap<String, String>,
}

/// Puts the entries of `mcpServers` into the configuration.
fn take_entries(
    config: &mut Config,
    files: &[File],
    options: &LoadOptions,
    problems: &mut Vec<Problem>,
) -> Entries {
    let own = Own::of(config);
    let around = Around {
        env: &options.env,
        home: options.home.as_deref(),
        own: &own,
    };
    let mut found = Entries::default();
    for entry in servers::entries(files, &around, problems) {
        if let Some(reason) = entry.reason() {
            found.blocked.insert(entry.name.clone(), reason.clone());
        }
        let path = format!("{}.{}", schema::SERVERS[0], entry.name);
        found.written.insert(path.clone(), entry.written);
        found.provenance.insert(path, entry.source);
        problems.extend(entry.problems);
        config.order.push(entry.name.clone());
        config.mcp_servers.insert(entry.name, entry.upstream);
    }
    give_users(config);
    found
}

/// Servers without a user of their own get the one of all.
fn give_users(config: &mut Config) {
    let Some(user) = &config.server.upstream_user else {
        return;
    };
    for upstream in config.mcp_servers.values_mut() {
        if let UpstreamTransport::Stdio { sandbox, .. } = &mut upstream.transport {
            let sandbox = sandbox.get_or_insert_default();
            sandbox.user.get_or_insert_with(|| user.clone());
        }
    }
}

/// Single categories show only where they are set.
fn keeps(leaf: &str, source: &str) -> bool {
    !(leaf.starts_with(schema::MODULES) && source == DEFAULT)
}

const DEFAULT: &str = "default";

fn place(figment: &Figment, layers: &[Layer], path: &str) -> Location {
    let name = figment
        .find_metadata(path)
        .map(|metadata| metadata.name.as_ref());
    let layer = layers
        .iter()
        .find(|layer| Some(layer.name.as_str()) == name);
    layer
        .and_then(|layer| layer.place(path))
        .cloned()
        .unwrap_or(Location {
            source: DEFAULT.to_owned(),
            at: None,
        })
}

/// Every place where a file is looked for, highest first.
fn candidates(options: &LoadOptions) -> Vec<(PathBuf, Origin)> {
    let mut candidates: Vec<(PathBuf, Origin)> = Vec::new();
    match options.named_file() {
        Some(path) => candidates.push((options.cwd.join(path), Origin::Named)),
        None if options.user_mode => {
            candidates.push((options.cwd.join(".mcp.json"), Origin::WorkingDirectory))
        }
        None => {}
    }
    candidates.extend(
        options
            .home
            .as_ref()
            .map(|home| (home.join(".ggen/mcp/config.json"), Origin::Home)),
    );
    candidates.push((options.etc.join("mcp.json"), Origin::System));
    candidates
}

/// The paths of [`candidates`], each once.
pub(super) fn places(options: &LoadOptions) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    for (path, _) in candidates(options) {
        if !found.iter().any(|other| same(other, &path)) {
            found.push(path);
        }
    }
    found
}

/// The files that exist, highest first. All of them count: values of a higher one replace those of
/// a lower one.
fn files(options: &LoadOptions, problems: &mut Vec<Problem>) -> Vec<File> {
    let mut found: Vec<File> = Vec::new();
    for (path, origin) in candidates(options) {
        if found.iter().any(|file| same(&file.path, &path)) {
            continue;
        }
        let found_only = matches!(origin, Origin::WorkingDirectory | Origin::Home);
        if let Some(problem) = options
            .runs_as
            .filter(|_| found_only)
            .and_then(|caller| trust::judge(&path, caller))
        {
            problems.push(problem);
            continue;
        }
        let read = match options
            .instead
            .iter()
            .find(|(instead, _)| same(instead, &path))
        {
            Some((_, content)) => File::of(
                &path,
                content.as_bytes(),
                std::fs::metadata(&path).map_or(0o600, |facts| facts.mode()),
                problems,
            ),
            None => File::read(&path, problems),
        };
        match read {
            Ok(file) => found.push(file),
            Err(unread) => problems.extend(origin.judge(
                unread,
                &path,
                options.user_mode,
                options.named_file().is_some(),
            )),
        }
    }
    found
}

pub(super) fn same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Why a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Named,
    WorkingDirectory,
    Home,
    System,
}

impl Origin {
    /// Whether it matters that a file could not be read. A person need not be able to read the
    /// service's file, nor a service somebody's home; a service that names a file of its own (a
    /// person's unit) goes without the system's.
    fn judge(self, unread: Unread, path: &Path, user_mode: bool, named: bool) -> Option<Problem> {
        match unread {
            Unread::Missing if self == Self::Named => {
                let place = Location {
                    source: path.display().to_string(),
                    at: None,
                };
                let problem = Problem::new(
                    Severity::Error,
                    Code::ConfigUnreadable,
                    place,
                    "",
                    "no such file",
                );
                Some(problem.help(format!("ggen mcp config init --file {}", path.display())))
            }
            Unread::Missing => None,
            Unread::Denied(_) if self == Self::System && user_mode => None,
            Unread::Denied(problem)
                if (self == Self::Home && !user_mode) || (self == Self::System && named) =>
            {
                Some(Problem {
                    severity: Severity::Warning,
                    ..*problem
                })
            }
            Unread::Denied(problem) | Unread::Bad(problem) => Some(*problem),
        }
    }
}
