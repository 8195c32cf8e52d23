//! What happens to upstreams, and what that means for other rooms. Tells the upstreams what has
//! happened, and carries out what they want others to do; the decisions are made there.

use crate::platform;
use crate::supervisor::{
    Supervisor,
    event::Owner,
    processes::reaper::ChildKind,
    upstreams::{Context, Effect, Upstreams},
};
use nix::sys::signal::Signal;

impl Supervisor {
    /// Tells the upstreams something, and carries out what comes of it.
    pub(in crate::supervisor) fn with_upstreams(
        &mut self,
        input: impl FnOnce(&mut Upstreams, &mut Context<'_>) -> Vec<Effect>,
    ) {
        let (now, channels) = (self.now(), &mut self.channels);
        let mut context = Context {
            now,
            jitter: crate::supervisor::jitter,
            loaded: &self.settings.loaded,
            gateway: self.workers.gateway(),
            gateway_drains: self.workers.old_gateway_lives(),
            stopping: self.lifecycle.is_stopping(),
            reader: &mut |shim| channels.reader(Owner::Shim(shim)),
        };
        let effects = input(&mut self.upstreams, &mut context);
        for effect in effects {
            self.upstream_effect(effect);
        }
    }

    fn upstream_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(worker, message, descriptors) => {
                self.workers.tell(worker, message, descriptors);
            }
            Effect::Spawned(shim, pid) => self.children.add(pid, ChildKind::Shim(shim)),
            Effect::KillShim(pid) if self.children.has(pid) => {
                platform::signal_process(pid, Signal::SIGKILL);
            }
            Effect::KillShim(_) => {}
            Effect::FindLeftovers => self.children.begin_sweep(self.now()),
            Effect::Exited(upstream, exit) => self.metrics.upstream_exit(&upstream, exit),
            Effect::CpuOfSharedChild(upstream, ms) => {
                self.metrics.cpu_of_shared_child(&upstream, ms);
            }
            Effect::CpuOfLeasedChild(upstream, ms) => {
                self.metrics.cpu_of_leased_child(&upstream, ms);
            }
            Effect::Changed => self.answer_waiting(),
        }
    }
}
