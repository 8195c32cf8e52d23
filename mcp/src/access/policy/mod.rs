//! Who may see and call what. Pure: rules and a principal in, a verdict out; the relay asks it for
//! every list and every name.
//!
//! The order of rules never matters. A rule *names* a principal if one of its subjects matches the
//! principal's id or one of its labels. What a principal may do: nothing that a `deny` rule which
//! names it is about; of the rest what an `allow` rule which names it is about; and if no rule
//! names it at all, everything.

mod glob;
mod uri;

use crate::edge::Principal;
use crate::protocol::{list_kind::ListKind, name};
pub use glob::Glob;
use std::collections::HashMap;
use std::sync::Arc;
use uri::Spellings;

/// A label that restricts its principal to the tools that its rest matches, whatever the rules say;
/// it may come several times.
pub const ONLY_TOOL: &str = "only-tool:";
/// The built-in tools, as the target of rules.
pub const CORE: &str = "core";
/// Principals and sets of rules that are remembered; over this number all are forgotten.
const KEPT: usize = 4096;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Its targets are allowed.
    Allow,
    /// Its targets are denied, whatever other rules say.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// Whom it names: globs over the principal's id and labels.
    pub subjects: Vec<Glob>,
    /// Servers that it is about (names or keys; `core`: the built-in tools); `None`: all.
    pub servers: Option<Vec<Glob>>,
    /// Tools that it is about: exposed names, or `server/original`. `None` together with `prompts`
    /// and `resources`: everything of the servers.
    pub tools: Option<Vec<Glob>>,
    /// Prompts, likewise.
    pub prompts: Option<Vec<Glob>>,
    /// Resources and templates: exposed URIs.
    pub resources: Option<Vec<Glob>>,
}

/// A server in the eyes of rules.
#[derive(Clone, Copy, Debug)]
pub struct Server<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Its key in exposed names.
    pub key: &'a str,
}

/// Something that has a name.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a> {
    /// Whose it is.
    pub server: Server<'a>,
    /// What it is.
    pub kind: ListKind,
    /// Its name or URI in the view of all.
    pub exposed: &'a str,
    /// The name or URI that its server uses.
    pub original: &'a str,
    /// It is built in.
    pub core: bool,
}

impl Rule {
    fn names(&self, principal: &Principal) -> bool {
        self.subjects.iter().any(|glob| {
            glob.matches(&principal.id) || principal.labels.iter().any(|label| glob.matches(label))
        })
    }

    fn is_of(&self, server: Server<'_>) -> bool {
        self.servers.as_ref().is_none_or(|globs| {
            globs
                .iter()
                .any(|glob| glob.matches(server.name) || glob.matches(server.key))
        })
    }

    const fn is_whole(&self) -> bool {
        self.tools.is_none() && self.prompts.is_none() && self.resources.is_none()
    }

    fn list(&self, kind: ListKind) -> Option<&[Glob]> {
        match kind {
            ListKind::Tools => self.tools.as_deref(),
            ListKind::Prompts => self.prompts.as_deref(),
            ListKind::Resources | ListKind::Templates => self.resources.as_deref(),
        }
    }

    /// Whether it says something about an object.
    fn concerns(&self, object: &Object<'_>, spellings: &Spellings) -> bool {
        if !self.is_of(object.server) {
            return false;
        }
        if self.is_whole() {
            return !object.core || self.effect == Effect::Deny || self.is_about_core();
        }
        let Some(globs) = self.list(object.kind) else {
            return false;
        };
        let by_original = self.servers.is_some();
        match object.kind {
            ListKind::Resources | ListKind::Templates => {
                self.concerns_resource(globs, object, spellings)
            }
            ListKind::Tools | ListKind::Prompts => globs.iter().any(|glob| {
                let sensitive = object.core
                    && self.effect == Effect::Allow
                    && glob.is_all()
                    && !self.is_about_core();
                !sensitive
                    && (is_name(glob, object) || by_original && glob.matches(object.original))
            }),
        }
    }

    /// A URI that a server may resolve to another place (`/../`) is only allowed with everything, and
    /// is denied with anything. Of the others, what is denied is so in every spelling; what is
    /// allowed has to be so as it is written and in its plain spelling.
    fn concerns_resource(
        &self,
        globs: &[Glob],
        object: &Object<'_>,
        spellings: &Spellings,
    ) -> bool {
        if spellings.winds {
            return match self.effect {
                Effect::Allow => globs.iter().any(Glob::is_all),
                Effect::Deny => !globs.is_empty(),
            };
        }
        let by_original = self.servers.is_some();
        let as_written = globs.iter().any(|glob| {
            glob.matches(object.exposed) || by_original && glob.matches(object.original)
        });
        let key = object.server.key;
        let means = |uri: &str| {
            globs.iter().any(|glob| {
                plain_glob(glob, key).matches(&name::exposed_uri(key, uri))
                    || by_original && Glob::new(&uri::plain(glob.as_str())).matches(uri)
            })
        };
        match self.effect {
            Effect::Allow => as_written && means(&spellings.plain),
            Effect::Deny => {
                as_written
                    || means(&spellings.plain)
                    || spellings.shorter.iter().any(|uri| means(uri))
            }
        }
    }

    /// Whether its servers are given so that `core` is meant and not only not excluded: the
    /// built-in tools tell of everything.
    fn is_about_core(&self) -> bool {
        self.servers
            .iter()
            .flatten()
            .any(|glob| !glob.is_all() && glob.matches(CORE))
    }

    /// Whether something of a server may be meant.
    fn may_concern(&self, server: Server<'_>) -> bool {
        if !self.is_of(server) {
            return false;
        }
        let (names, uris, ui) = (
            format!("{}__", server.key),
            format!("{}+", server.key),
            format!("ui://{}+", server.key),
        );
        let named = |glob: &Glob| match glob.as_str().split_once('/') {
            Some((of, _)) => Glob::new(of).matches(server.name) || glob.may_begin(&names),
            None => glob.may_begin(&names),
        };
        let listed = |globs: &Option<Vec<Glob>>| {
            globs.iter().flatten().any(|glob| {
                self.servers.is_some()
                    || named(glob)
                    || glob.may_begin(&uris)
                    || glob.may_begin(&ui)
            })
        };
        self.is_whole() || listed(&self.tools) || listed(&self.prompts) || listed(&self.resources)
    }

    fn is_everything(&self) -> bool {
        self.is_whole()
            && self
                .servers
                .as_ref()
                .is_none_or(|globs| globs.iter().any(Glob::is_all))
    }
}

/// Whether a glob means an object by its exposed name, or as `server/original`; a server's name has
/// no slash there.
fn is_name(glob: &Glob, object: &Object<'_>) -> bool {
    glob.matches(object.exposed)
        || glob.as_str().split_once('/').is_some_and(|(server, name)| {
            Glob::new(server).matches(object.server.name)
                && Glob::new(name).matches(object.original)
        })
}

/// A glob over exposed URIs in its plain spelling: what stands before the server's own URI is left as
/// it is.
fn plain_glob(glob: &Glob, key: &str) -> Glob {
    let text = glob.as_str();
    let ui = format!("ui://{key}+");
    if let Some(rest) = text.strip_prefix(&ui) {
        let own = uri::plain(&format!("ui://{rest}"));
        return Glob::new(&name::exposed_uri(key, &own));
    }
    match text.split_once('+') {
        Some((of, own)) => Glob::new(&format!("{of}+{}", uri::plain(own))),
        None => glob.clone(),
    }
}

/// The rules that name a principal, and its own restrictions.
type Named = (Vec<usize>, Vec<Box<str>>);

/// All rules, and what they mean for the principals seen so far.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Arc<[Rule]>,
    principals: HashMap<Principal, Option<Arc<Access>>>,
    /// Many principals share one.
    shared: HashMap<Named, Arc<Access>>,
    next: u64,
}

/// What a restricted principal may do.
#[derive(Debug)]
pub struct Access {
    /// Differs from that of every other one.
    pub id: u64,
    rules: Arc<[Rule]>,
    named_by: Vec<usize>,
    only: Vec<Glob>,
}

impl Policy {
    /// With these rules.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: rules.into(),
            ..Self::default()
        }
    }

    /// Puts other rules in force. What [`Self::access`] gave before stays as it was.
    pub fn replace(&mut self, rules: Vec<Rule>) {
        *self = Self {
            rules: rules.into(),
            next: self.next,
            ..Self::default()
        };
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a principal may do; `None`: everything.
    pub fn access(&mut self, principal: &Principal) -> Option<Arc<Access>> {
        if self.rules.is_empty()
            && !principal
                .labels
                .iter()
                .any(|label| label.starts_with(ONLY_TOOL))
        {
            return None;
        }
        if let Some(known) = self.principals.get(principal) {
            return known.clone();
        }
        let access = self.compile(principal);
        if self.principals.len() >= KEPT {
            self.principals.clear();
        }
        self.principals.insert(principal.clone(), access.clone());
        access
    }

    fn compile(&mut self, principal: &Principal) -> Option<Arc<Access>> {
        let named_by: Vec<usize> = (0..self.rules.len())
            .filter(|at| self.rules[*at].names(principal))
            .collect();
        let mut only: Vec<Box<str>> = principal
            .labels
            .iter()
            .filter_map(|label| label.strip_prefix(ONLY_TOOL))
            .map(Into::into)
            .collect();
        only.sort_unstable();
        let has = |effect, what: fn(&Rule) -> bool| {
            named_by
                .iter()
                .any(|at| self.rules[*at].effect == effect && what(&self.rules[*at]))
        };
        let unbounded = named_by.is_empty()
            || has(Effect::Allow, Rule::is_everything) && !has(Effect::Deny, |_| true);
        if unbounded && only.is_empty() {
            return None;
        }
        if self.shared.len() >= KEPT {
            self.shared.clear();
        }
        self.next += 1;
        let (id, rules) = (self.next, &self.rules);
        let access = self
            .shared
            .entry((named_by.clone(), only.clone()))
            .or_insert_with(|| {
                let only = only.iter().map(|text| Glob::new(text)).collect();
                Arc::new(Access {
                    id,
                    rules: Arc::clone(rules),
                    named_by,
                    only,
                })
            });
        Some(Arc::clone(access))
    }
}

impl Access {
    fn named_by(&self, effect: Effect) -> impl Iterator<Item = &Rule> {
        self.named_by
            .iter()
            .map(|at| &self.rules[*at])
            .filter(move |rule| rule.effect == effect)
    }

    /// Whether an object may be seen and used.
    #[must_use]
    pub fn allows(&self, object: &Object<'_>) -> bool {
        let spellings = match object.kind {
            ListKind::Resources | ListKind::Templates => Spellings::of(object.original),
            ListKind::Tools | ListKind::Prompts => Spellings::default(),
        };
        let only = self.only.is_empty()
            || object.kind == ListKind::Tools && self.only.iter().any(|glob| is_name(glob, object));
        only && !self
            .named_by(Effect::Deny)
            .any(|rule| rule.concerns(object, &spellings))
            && (self.named_by.is_empty()
                || self
                    .named_by(Effect::Allow)
                    .any(|rule| rule.concerns(object, &spellings)))
    }

    /// Whether anything of a server may be seen, so that the server itself may.
    #[must_use]
    pub fn sees(&self, server: Server<'_>) -> bool {
        let of_only = Rule {
            effect: Effect::Allow,
            subjects: Vec::new(),
            servers: None,
            tools: (!self.only.is_empty()).then(|| self.only.clone()),
            prompts: None,
            resources: None,
        };
        of_only.may_concern(server)
            && !self
                .named_by(Effect::Deny)
                .any(|rule| rule.is_whole() && rule.is_of(server))
            && (self.named_by.is_empty()
                || self
                    .named_by(Effect::Allow)
                    .any(|rule| rule.may_concern(server)))
    }

    /// Whether everything of a server may be used, also what has no name that rules know.
    #[must_use]
    pub fn is_whole(&self, server: Server<'_>) -> bool {
        self.only.is_empty()
            && !self.named_by(Effect::Deny).any(|rule| rule.is_of(server))
            && (self.named_by.is_empty()
                || self
                    .named_by(Effect::Allow)
                    .any(|rule| rule.is_whole() && rule.is_of(server)))
    }
}

#[cfg(test)]
mod tests;
