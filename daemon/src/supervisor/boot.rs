//! From nothing to the loop: configuration, the single instance, listeners, logging. What fails
//! here fails with an exit code of `sysexits.h`, one clear line, and nothing left behind.

use crate::{
    config::{self, LoadOptions, LogLevel},
    log, platform,
    supervisor::{
        Hub, Supervisor,
        control::{
            instance::{Instance, InstanceError},
            socket,
        },
        listeners,
        metrics::Metrics,
        processes::reaper,
        service_manager::ServiceManager,
        signals::Signals,
        workers,
    },
};
use ggen_wire::{Code, paths::Host};
use std::{
    error::Error,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc;

/// EX_UNAVAILABLE, EX_SOFTWARE, EX_NOPERM, EX_CONFIG of `sysexits.h`.
const UNAVAILABLE: u8 = 69;
const SOFTWARE: u8 = 70;
const NO_PERMISSION: u8 = 77;
const CONFIG: u8 = 78;

/// Events that may wait for the loop.
const EVENTS: usize = 1024;

/// How the supervisor is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the configuration comes from.
    pub load: LoadOptions,
    /// A level from a flag, over the configuration's.
    pub level: Option<LogLevel>,
    /// `--socket`
    pub socket: Option<PathBuf>,
}

/// Why the daemon did not start: what to say, and the exit code.
struct Refusal {
    lines: Vec<String>,
    code: u8,
}

impl Refusal {
    fn new(code: u8, stable: Code, error: &dyn Error, help: &str) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        let stable = if text.contains(stable.as_str()) {
            String::new()
        } else {
            format!(" [{stable}]")
        };
        Self {
            lines: vec![
                format!("ggend: {text}{stable}"),
                format!("       try: {help}"),
            ],
            code,
        }
    }
}

/// Runs this process as the supervisor until it has stopped.
pub fn main(options: Options) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(_) => return ExitCode::from(SOFTWARE),
    };
    let code = match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Before logging is up, and for people: stderr, whatever the log format.
            let text: String = refusal
                .lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect();
            std::io::stderr()
                .write_all(text.as_bytes())
                .unwrap_or_default();
            ExitCode::from(refusal.code)
        }
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    code
}

async fn serve(options: Options) -> Result<(), Refusal> {
    let arrived = super::upgrade::arrived().map_err(|error| {
        Refusal::new(
            SOFTWARE,
            Code::UpgradeRefused,
            &error,
            "ggen mcp server start",
        )
    })?;
    let uptime = arrived
        .as_ref()
        .map_or(Duration::ZERO, |arrived| arrived.state.uptime);
    // The clock is the host's, and was running then.
    let began = Instant::now()
        .checked_sub(uptime)
        .unwrap_or_else(Instant::now);
    let (instead, stopped) = arrived
        .as_ref()
        .map(|arrived| (arrived.state.files.clone(), arrived.state.stopped.clone()))
        .unwrap_or_default();
    let loaded = config::load(&LoadOptions {
        instead,
        ..options.load.clone()
    })
    .map_err(|problems| Refusal {
        lines: problems
            .iter()
            .map(|problem| format!("ggend: {problem}"))
            .collect(),
        code: CONFIG,
    })?
    .with_stopped(&stopped);
    let internal =
        |error: std::io::Error| Refusal::new(SOFTWARE, Code::Internal, &error, "ggend --debug");
    let strangers = reaper::Strangers::at_start();
    platform::become_subreaper().map_err(internal)?;

    let root = platform::own_uid() == 0;
    // The daemon of a person is that person's to look into, with `ggen mcp doctor` for example.
    if root
        || std::env::var_os("NOTIFY_SOCKET")
            .is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"/run/systemd/"))
    {
        platform::hide_memory().map_err(internal)?;
    }
    let env = |name: &str| std::env::var_os(name);
    let path = Host { env: &env, root }.socket(options.socket.as_deref());
    let mut inherited = platform::inherited_sockets().map_err(internal)?;
    let mut kept = listeners::kept_names(inherited.iter().map(|(name, _)| name.clone()));
    let lent = inherited
        .iter()
        .position(|(name, _)| name == "control")
        .map(|at| inherited.swap_remove(at).1);
    let (mut handed, mut known) = (None, listeners::Listeners::default());
    let taken = match (arrived, lent) {
        (Some(arrived), _) => {
            let (rest, instance, control, open) =
                super::upgrade::Handed::open(arrived).map_err(internal)?;
            kept = rest.kept_names();
            (handed, known) = (Some(rest), open);
            Ok((instance, control))
        }
        (None, Some(socket)) => Instance::adopt(socket, &path),
        (None, None) => Instance::take(&path, root),
    };
    let (instance, control_socket) = taken.map_err(|error| match &error {
        InstanceError::Running(_) => Refusal::new(
            UNAVAILABLE,
            Code::AlreadyRunning,
            &error,
            "ggen mcp server status",
        ),
        InstanceError::Place(_, cause) if cause.kind() == std::io::ErrorKind::PermissionDenied => {
            Refusal::new(
                NO_PERMISSION,
                Code::PermissionDenied,
                &error,
                "ggend --socket PATH",
            )
        }
        InstanceError::Place(..) => {
            Refusal::new(UNAVAILABLE, Code::Internal, &error, "ggend --socket PATH")
        }
    })?;
    let opened = match listeners::Listeners::open(&loaded, &known, inherited) {
        // What is served goes on being served, whatever this version would have besides.
        Err(_) if handed.is_some() => Ok(known),
        opened => opened,
    };
    let mut listeners = opened.map_err(|error| {
        let denied = error
            .source()
            .and_then(|cause| cause.downcast_ref::<std::io::Error>())
            .map(std::io::Error::kind);
        let code = if denied == Some(std::io::ErrorKind::PermissionDenied) {
            NO_PERMISSION
        } else {
            UNAVAILABLE
        };
        let help = if error.code == Code::PortTaken {
            "ggend --port N, or end the other process"
        } else {
            "ggend check"
        };
        Refusal::new(code, error.code, &error, help)
    })?;

    let tls = match super::secrets::Tls::read(&loaded) {
        // It could be read a moment ago. The workers keep what they have.
        Err(_) if handed.is_some() => Ok(None),
        read => read.map(Some),
    };
    let tls = tls.map_err(|error| {
        Refusal::new(
            CONFIG,
            error.code,
            &error,
            "ggen mcp config get transports.http.ssl",
        )
    })?;
    let run_as = match (super::workers::sandbox::run_as(&loaded.config), &handed) {
        (Err(_), Some(handed)) => Ok(handed.arrived.state.run_as),
        (found, _) => found,
    };
    let run_as = run_as
        .map_err(|error| Refusal::new(CONFIG, error.code, &error, "ggen mcp config get server"))?;
    let log_filter = log::filter_text(
        &loaded.config.logging,
        options.level,
        std::env::var("RUST_LOG").ok().as_deref(),
    );
    let console = log::Console::start(&loaded.config.logging).map_err(internal)?;
    let ring = log::Ring::default();
    handed
        .iter_mut()
        .for_each(|handed| handed.arrived.state.books.restore_log(&ring));
    let hub = Arc::new(Hub {
        ring,
        repeats: std::sync::Mutex::default(),
        console,
    });
    let log_control = log::install(
        "supervisor",
        &log_filter,
        Arc::clone(&hub) as Arc<dyn log::Sink>,
    );

    let mut signals = Signals::install().map_err(internal)?;
    platform::release_signals();
    let (events, mut incoming) = mpsc::channel(EVENTS);
    let mut serving =
        socket::serve(control_socket, events.clone(), Arc::clone(&hub)).map_err(internal)?;
    let started_ms = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0));
    let state = handed.as_ref().map(|handed| &handed.arrived.state);
    let started_ms = state.map_or(started_ms, |state| state.started_ms);
    let (generation, announced) =
        state.map_or((1, false), |state| (state.generation, state.announced));
    hub.console.set(&loaded.config.logging, generation);
    let seal = state
        .map_or_else(crate::ipc::seal::SealKey::random, |state| {
            Ok(state.seal.clone())
        })
        .map_err(internal)?;
    listeners.set_reset_key(state.map_or_else(
        || listeners::stateless_reset::key(&config::state::directory()),
        |state| state.reset_key,
    ));
    listeners.enter_force(began.elapsed());
    let (secrets, snapshot) = state
        .map(|state| (state.secrets.clone(), state.keys.clone()))
        .unwrap_or_default();
    let service_manager = if handed.is_some() {
        let own = listeners.own().into_iter();
        ServiceManager::resumed(own.filter(|own| kept.contains(&own.name)))
    } else {
        ServiceManager::from_environment()
    };
    let keys =
        super::secrets::api_keys::Keys::start(config::state::directory(), events.clone(), snapshot);
    let carried = handed
        .as_mut()
        .and_then(|handed| handed.arrived.state.memory.take());
    let sessions = super::sessions::SessionStore::start(
        config::state::directory(),
        carried,
        super::event::stored(&events),
    );
    // Before anything is spawned: children are where their parent is.
    let cgroups = super::upstreams::cgroups::Cgroups::start(
        handed
            .as_ref()
            .is_some_and(|handed| handed.arrived.state.moved),
    );
    let mut supervisor = Supervisor {
        began,
        started_ms,
        load_options: options.load,
        loaded,
        generation,
        level: options.level,
        log_filter,
        levels: super::control::log_levels::LogLevels::default(),
        log_control,
        hub: Arc::clone(&hub),
        events,
        instance,
        listeners,
        secrets,
        tls: super::secrets::Tls::default(),
        workers: workers::Workers::default(),
        upstreams: Vec::new(),
        leased: Vec::new(),
        shims: super::upstreams::shims::Shims::default(),
        cgroups,
        pids: reaper::Pids::default(),
        strangers,
        metrics: Metrics::default(),
        questions: super::control::calls::Questions::default(),
        keys,
        sessions,
        leaving: Vec::new(),
        reload: super::reload::Reload::default(),
        rolling: super::workers::rolling_restart::RollingRestart::default(),
        stop: super::stop::Stop::default(),
        service_manager,
        seal,
        run_as,
        refused: None,
        last_link: 0,
        announced,
        stopped,
        heard: std::collections::BTreeSet::new(),
        pause: tokio::sync::watch::Sender::new(false),
        upgrade: super::upgrade::Upgrade::default(),
        again: Vec::new(),
        upgrade_reply: None,
    };
    if let Some(handed) = handed {
        supervisor.take_over(handed).map_err(internal)?;
        supervisor.put_log_filter();
    }
    supervisor.cgroups.tell();
    supervisor.clear_cgroups();
    supervisor.keep_listeners(&kept);
    supervisor.tell_warnings();
    supervisor.listeners.log_left_out();
    supervisor.refresh_auth();
    let mut surplus = Vec::new();
    if let Some(tls) = tls {
        supervisor.take_tls(tls);
        surplus = supervisor.lay_out_slots();
    }
    supervisor.watch_files();
    supervisor.lay_out_upstreams();
    surplus
        .into_iter()
        .for_each(|worker| supervisor.drain_worker(worker));
    supervisor.replace_workers();
    supervisor.reap();
    loop {
        supervisor.run(&mut incoming, &mut signals).await;
        if supervisor.stop.is_done() {
            break;
        }
        serving = supervisor
            .hand_over(&mut incoming, &mut signals, serving)
            .await
            .map_err(internal)?;
    }
    supervisor.cgroups.leave();
    supervisor.finish_stop();
    supervisor.sessions.finish(Duration::from_secs(2)).await;
    // The last answers get a moment to leave; nobody is waited for longer.
    drop(supervisor);
    serving.finish(Duration::from_millis(200)).await;
    hub.console.flush(Duration::from_millis(500));
    Ok(())
}
