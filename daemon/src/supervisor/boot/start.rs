//! The three ways to start: with nothing there, with sockets of the service manager, or in the
//! place of another binary, whose state is taken over.

use super::{Options, Refusal, harden};
use crate::{
    auth::Snapshot,
    config::{self, LoadOptions, Loaded},
    ipc::{messages::RunAs, seal::SealKey, secrets::Secrets},
    log, platform,
    supervisor::{
        Supervisor,
        channels::Channels,
        control::{
            Control, Instance, Logging, Questions,
            socket::{self, Serving},
        },
        event::{self, Event},
        hub::Hub,
        lifecycle::Lifecycle,
        listeners::{self, Listeners, stateless_reset},
        metrics::Metrics,
        processes::{reaper::Children, run_as::run_as},
        reload::Reload,
        secrets::{ApiKeys, Tls, WorkerSecrets},
        service_manager::ServiceManager,
        sessions::{self, SessionStore},
        settings::Settings,
        signals::Signals,
        upgrade::{self, Arrived, Handed, Upgrade},
        upstreams::Upstreams,
        workers::Workers,
    },
};
use ggen_wire::paths::Host;
use std::{
    collections::BTreeSet,
    io,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc;

/// Events that may wait for the loop.
const EVENTS: usize = 1024;

/// How this process has come to be the supervisor.
enum StartMode {
    /// By a command; nothing is there yet.
    Fresh,
    /// By the service manager, which has bound the control socket.
    Activated(OwnedFd),
    /// In the place of another binary.
    Resumed(Box<Arrived>),
}

/// What has been found and opened before logging is up. Nothing has been spawned.
pub(super) struct Start {
    began: Instant,
    loaded: Loaded,
    children: Children,
    instance: Instance,
    control: UnixListener,
    listeners: Listeners,
    /// Names of sockets that the service manager keeps.
    kept: Vec<String>,
    /// `None`: the workers keep the certificates that they have.
    tls: Option<Tls>,
    run_as: Option<RunAs>,
    handed: Option<Handed>,
}

/// What the loop works with besides the supervisor.
pub(super) struct Attached {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) signals: Signals,
    pub(super) serving: Serving,
}

/// The control socket and the listeners, as far as they are open already.
struct Opened {
    instance: Instance,
    control: UnixListener,
    known: Listeners,
    kept: Option<Vec<String>>,
    handed: Option<Handed>,
}

impl StartMode {
    /// Takes the control socket out of what was inherited.
    fn of(arrived: Option<Arrived>, inherited: &mut Vec<(String, OwnedFd)>) -> Self {
        let at = inherited.iter().position(|(name, _)| name == "control");
        let control = at.map(|at| inherited.swap_remove(at).1);
        match (arrived, control) {
            (Some(arrived), _) => Self::Resumed(Box::new(arrived)),
            (None, Some(control)) => Self::Activated(control),
            (None, None) => Self::Fresh,
        }
    }

    /// Opens the control socket.
    fn open(self, path: &Path, root: bool) -> Result<Opened, Refusal> {
        let taken = match self {
            Self::Resumed(arrived) => {
                let (handed, instance, control, known) =
                    Handed::open(*arrived).map_err(Refusal::internal)?;
                return Ok(Opened {
                    instance,
                    control,
                    known,
                    kept: Some(handed.kept_names()),
                    handed: Some(handed),
                });
            }
            Self::Activated(socket) => Instance::adopt(socket, path),
            Self::Fresh => Instance::take(path, root),
        };
        let (instance, control) = taken.map_err(|error| Refusal::of_instance(&error))?;
        Ok(Opened {
            instance,
            control,
            known: Listeners::default(),
            kept: None,
            handed: None,
        })
    }
}

impl Start {
    /// Reads the configuration and opens everything that can be refused.
    pub(super) fn prepare(options: &Options) -> Result<Self, Refusal> {
        let arrived = upgrade::arrived().map_err(|error| Refusal::of_upgrade(&error))?;
        let began = began(arrived.as_ref());
        let loaded = load(options, arrived.as_ref())?;
        let children = Children::at_start();
        harden()?;
        let root = platform::own_uid() == 0;
        let env = |name: &str| std::env::var_os(name);
        let path = Host { env: &env, root }.socket(options.socket.as_deref());
        let mut inherited = platform::inherited_sockets().map_err(Refusal::internal)?;
        let inherited_names = listeners::kept_names(inherited.iter().map(|(name, _)| name.clone()));
        let Opened {
            instance,
            control,
            known,
            kept,
            handed,
        } = StartMode::of(arrived, &mut inherited).open(&path, root)?;
        let listeners = match Listeners::open(&loaded, &known, inherited) {
            // What is served goes on being served, whatever this version would have besides.
            Err(_) if handed.is_some() => known,
            opened => opened.map_err(|error| Refusal::of_listener(&error))?,
        };
        let tls = match Tls::read(&loaded) {
            // It could be read a moment ago. The workers keep what they have.
            Err(_) if handed.is_some() => None,
            read => Some(read.map_err(|error| Refusal::of_tls(&error))?),
        };
        let run_as = match (run_as(&loaded.config), &handed) {
            (Err(_), Some(handed)) => handed.arrived.state.run_as,
            (found, _) => found.map_err(|error| Refusal::of_user(&error))?,
        };
        Ok(Self {
            began,
            loaded,
            children,
            instance,
            control,
            listeners,
            kept: kept.unwrap_or(inherited_names),
            tls,
            run_as,
            handed,
        })
    }

    /// Begins to log, to hear signals and to answer at the control socket, and makes the
    /// supervisor.
    pub(super) fn attach(mut self, options: Options) -> Result<(Supervisor, Attached), Refusal> {
        let filter = log::filter_text(
            &self.loaded.config.logging,
            options.level,
            std::env::var("RUST_LOG").ok().as_deref(),
        );
        let hub = self.hub()?;
        let sink = Arc::clone(&hub) as Arc<dyn log::Sink>;
        let logging = Logging::new(filter.clone(), log::install("supervisor", &filter, sink));
        let signals = Signals::install().map_err(Refusal::internal)?;
        platform::release_signals();
        let (events, incoming) = mpsc::channel(EVENTS);
        let control = self.control.try_clone().map_err(Refusal::internal)?;
        let serving =
            socket::serve(control, events.clone(), Arc::clone(&hub)).map_err(Refusal::internal)?;
        let (tls, kept, mut handed) = (
            self.tls.take(),
            std::mem::take(&mut self.kept),
            self.handed.take(),
        );
        let inherited = Inherited::of(handed.as_mut()).map_err(Refusal::internal)?;
        let service_manager = if handed.is_some() {
            let own = self.listeners.own().into_iter();
            ServiceManager::resumed(own.filter(|own| kept.contains(&own.name)))
        } else {
            ServiceManager::from_environment()
        };
        let mut supervisor =
            self.supervisor(options, hub, events, logging, service_manager, inherited);
        if let Some(handed) = handed {
            supervisor.take_over(handed).map_err(Refusal::internal)?;
            supervisor.put_log_filter();
        }
        supervisor.begin(tls, &kept);
        let attached = Attached {
            events: incoming,
            signals,
            serving,
        };
        Ok((supervisor, attached))
    }

    fn hub(&mut self) -> Result<Arc<Hub>, Refusal> {
        let console =
            log::Console::start(&self.loaded.config.logging).map_err(Refusal::internal)?;
        let ring = log::Ring::default();
        if let Some(handed) = &mut self.handed {
            handed.arrived.state.counters.restore_log(&ring);
        }
        Ok(Arc::new(Hub {
            ring,
            repeats: std::sync::Mutex::default(),
            console,
        }))
    }

    fn supervisor(
        self,
        options: Options,
        hub: Arc<Hub>,
        events: mpsc::Sender<Event>,
        logging: Logging,
        service_manager: ServiceManager,
        inherited: Inherited,
    ) -> Supervisor {
        let Self {
            began,
            loaded,
            children,
            instance,
            mut listeners,
            run_as,
            ..
        } = self;
        hub.console
            .set(&loaded.config.logging, inherited.generation);
        listeners.set_reset_key(inherited.reset_key);
        listeners.enter_force(began.elapsed());
        let directory = config::state::directory();
        let (stored, read) = (event::stored(&events), event::keys_read(&events));
        let sessions = SessionStore::start(directory.clone(), inherited.sessions, stored);
        let keys = ApiKeys::start(directory, inherited.keys, read);
        // Before anything is spawned: children are where their parent is.
        let sink = Arc::clone(&hub) as Arc<dyn log::Sink>;
        let upstreams = Upstreams::new(sink, inherited.moved);
        Supervisor {
            lifecycle: Lifecycle::new(began, inherited.started_ms, inherited.announced),
            settings: Settings {
                options: options.load,
                level: options.level,
                stopped: inherited.stopped,
                loaded,
                generation: inherited.generation,
                run_as,
                refused: None,
            },
            hub,
            channels: Channels::new(events),
            children,
            listeners,
            secrets: WorkerSecrets::new(inherited.secrets, keys, inherited.seal),
            workers: Workers::default(),
            upstreams,
            metrics: Metrics::default(),
            control: Control {
                instance,
                questions: Questions::default(),
                logging,
            },
            sessions,
            reload: Reload::new(inherited.generation),
            service_manager,
            upgrade: Upgrade::default(),
        }
    }
}

/// What is known at the start: from the binary before this one, or new.
struct Inherited {
    generation: u32,
    announced: bool,
    started_ms: u64,
    stopped: BTreeSet<String>,
    reset_key: stateless_reset::ResetKey,
    secrets: Secrets,
    keys: Snapshot,
    seal: SealKey,
    sessions: Option<sessions::Carried>,
    moved: bool,
}

impl Inherited {
    /// From the state that was handed over, if one was.
    fn of(handed: Option<&mut Handed>) -> io::Result<Self> {
        let Some(handed) = handed else {
            return Ok(Self {
                generation: 1,
                announced: false,
                started_ms: started_ms(),
                stopped: BTreeSet::new(),
                reset_key: stateless_reset::key(&config::state::directory()),
                secrets: Secrets::default(),
                keys: Snapshot::default(),
                seal: SealKey::random()?,
                sessions: None,
                moved: false,
            });
        };
        let state = &mut handed.arrived.state;
        Ok(Self {
            generation: state.generation,
            announced: state.announced,
            started_ms: state.started_ms,
            stopped: state.stopped.clone(),
            reset_key: state.reset_key,
            secrets: state.secrets.clone(),
            keys: state.keys.clone(),
            seal: state.seal.clone(),
            sessions: state.sessions.take(),
            moved: state.moved,
        })
    }
}

impl Supervisor {
    /// Puts the configuration in force for the first time.
    fn begin(&mut self, tls: Option<Tls>, kept: &[String]) {
        self.upstreams.begin_cgroups(self.now());
        self.keep_listeners(kept);
        self.settings.log_warnings();
        self.listeners.log_left_out();
        self.refresh_auth();
        let mut surplus = Vec::new();
        if let Some(tls) = tls {
            self.put_tls(tls);
            surplus = self.lay_out_slots();
        }
        self.secrets
            .watch_files(event::tls_read(self.channels.events()));
        self.with_upstreams(Upstreams::lay_out);
        surplus
            .into_iter()
            .for_each(|worker| self.drain_worker(worker));
        self.replace_workers();
        self.reap();
    }
}

/// When the daemon was started; an upgrade is no start. The clock is the host's, and was running
/// then.
fn began(arrived: Option<&Arrived>) -> Instant {
    let uptime = arrived.map_or(Duration::ZERO, |arrived| arrived.state.uptime);
    Instant::now()
        .checked_sub(uptime)
        .unwrap_or_else(Instant::now)
}

/// Reads the configuration: of the binary before this one, the texts that were in force there.
fn load(options: &Options, arrived: Option<&Arrived>) -> Result<Loaded, Refusal> {
    let (instead, stopped) = arrived
        .map(|arrived| (arrived.state.files.clone(), arrived.state.stopped.clone()))
        .unwrap_or_default();
    let options = LoadOptions {
        instead,
        ..options.load.clone()
    };
    let loaded = config::load(&options).map_err(|problems| Refusal::of_problems(&problems))?;
    Ok(loaded.with_stopped(&stopped))
}

/// Now, in milliseconds since 1970.
fn started_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}
