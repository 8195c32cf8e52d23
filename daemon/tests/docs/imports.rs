//! Imports of a tree of rooms, for the tests that check them: a room is a folder, a file in it belongs
//! to the room.

use super::rooms::{root, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A folder of rooms, and the path that its modules begin with.
pub(crate) struct Tree {
    folder: &'static str,
    prefix: &'static [&'static str],
}

impl Tree {
    pub(crate) const fn new(folder: &'static str, prefix: &'static [&'static str]) -> Self {
        Self { folder, prefix }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        root().join(self.folder)
    }

    /// A file as a module of the tree: `workers::exit`, `workers` for `workers/mod.rs`.
    fn module(&self, file: &Path) -> Vec<String> {
        let path = file.strip_prefix(self.folder()).unwrap().with_extension("");
        let mut steps: Vec<String> = path
            .iter()
            .map(|step| step.to_string_lossy().into_owned())
            .collect();
        steps.retain(|step| step != "mod");
        steps
    }

    /// What a file names in the tree, as modules: from the tree's own path and `super::…`.
    fn named(&self, file: &Path) -> BTreeSet<Vec<String>> {
        let own = self.module(file);
        let mut found = BTreeSet::new();
        for word in words(&code(file)) {
            let mut steps: Vec<&str> = word.split("::").collect();
            let mut base = if steps.starts_with(self.prefix) {
                steps.drain(..self.prefix.len());
                Vec::new()
            } else if steps[0] == "super" {
                own.clone()
            } else {
                continue;
            };
            while steps.first() == Some(&"super") {
                base.pop();
                steps.remove(0);
            }
            base.extend(steps.into_iter().map(ToOwned::to_owned));
            found.insert(base);
        }
        found
    }

    /// Asserts that the rooms import each other in no circle. `routes`: folders that carry results
    /// from room to room, and are no rooms.
    pub(crate) fn assert_no_circle_of_rooms(&self, routes: &[&str]) {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let is_room =
            |name: &String| self.folder().join(name).is_dir() && !routes.contains(&name.as_str());
        for file in sources(&self.folder()) {
            let own = self.module(&file);
            let Some(room) = own.first().filter(|name| is_room(name)) else {
                continue;
            };
            let rooms = self
                .named(&file)
                .into_iter()
                .filter_map(|path| path.first().cloned());
            let others = rooms.filter(|name| is_room(name) && name != room);
            graph.entry(room.clone()).or_default().extend(others);
        }
        assert!(graph.len() >= 10, "{graph:?}");
        for room in graph.keys() {
            assert_eq!(circle(&graph, room), None, "{graph:#?}");
        }
    }

    /// Asserts that within a room no loop of imports goes over more than three files.
    pub(crate) fn assert_no_long_loop_of_files(&self) {
        let files = sources(&self.folder());
        let modules: BTreeSet<Vec<String>> = files.iter().map(|file| self.module(file)).collect();
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for file in &files {
            let own = self.module(file);
            if own.len() < 2 {
                // The face of a room names its files.
                continue;
            }
            let to_file = |path: Vec<String>| {
                let ends = (1..=path.len()).rev();
                let mut heads = ends.map(|end| path[..end].to_vec());
                heads.find(|head| modules.contains(head))
            };
            let siblings = self.named(file).into_iter().filter_map(to_file);
            let siblings =
                siblings.filter(|other| other.len() > 1 && other[0] == own[0] && *other != own);
            graph
                .entry(own.join("::"))
                .or_default()
                .extend(siblings.map(|other| other.join("::")));
        }
        for file in graph.keys() {
            let loop_of = circle(&graph, file).map_or(0, |way| way.len());
            assert!(loop_of <= 3, "{file}: {:?}", circle(&graph, file));
        }
    }

    /// Asserts that only the routing files work on the whole struct of that name.
    pub(crate) fn assert_only_routing_works_on(&self, name: &str, routing: &[&str]) {
        for file in sources(&self.folder()) {
            let path = file.strip_prefix(self.folder()).unwrap();
            let code = code(&file);
            let works = [format!("impl {name}"), format!("&mut {name}")]
                .iter()
                .any(|text| code.contains(text));
            assert!(
                !works || routing.iter().any(|routing| path == Path::new(routing)),
                "{} works on the whole {name}",
                path.display()
            );
        }
    }

    /// The fields of a struct in a file, and its methods in the routing files.
    pub(crate) fn fields_and_methods(
        &self,
        name: &str,
        file: &str,
        routing: &[&str],
    ) -> (usize, usize) {
        let text = code(&self.folder().join(file));
        let (_, fields) = text.split_once(&format!("struct {name} {{")).unwrap();
        let (fields, _) = fields.split_once("\n}").unwrap();
        let fields = fields.lines().filter(|line| line.contains(':')).count();
        let methods = routing.iter().map(|path| {
            let code = code(&self.folder().join(path));
            let head = format!("\nimpl {name} {{");
            let bodies = code.split(head.as_str()).skip(1);
            let bodies = bodies.map(|body| body.split("\n}\n").next().unwrap_or_default());
            bodies.flat_map(str::lines).filter(is_method).count()
        });
        (fields, methods.sum())
    }
}

/// Whether a line begins a method, whoever may call it.
fn is_method(line: &&str) -> bool {
    let Some(line) = line.strip_prefix("    ") else {
        return false;
    };
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(") "))
            .map_or(rest.trim_start(), |(_, rest)| rest),
        None => line,
    };
    line.trim_start_matches("async ")
        .trim_start_matches("const ")
        .starts_with("fn ")
}

/// The code of a file, without comments and unit tests.
pub(crate) fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let code = code.split("#[cfg(test)]\nmod tests").next();
    code.unwrap_or_default().to_owned()
}

/// Every path that the code names; groups of imports are taken apart.
fn words(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for statement in code.split(';') {
        if let Some((_, import)) = statement.rsplit_once("use ") {
            take_apart(
                "",
                &import.split_whitespace().collect::<String>(),
                &mut found,
            );
        }
    }
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code
        .split(|c| !is_word(c))
        .filter(|word| word.contains("::"));
    found.extend(words.map(ToOwned::to_owned));
    found
}

fn take_apart(prefix: &str, import: &str, found: &mut BTreeSet<String>) {
    let Some((head, group)) = import.split_once('{') else {
        found.insert(
            format!("{prefix}{import}")
                .trim_end_matches("::self")
                .to_owned(),
        );
        return;
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                take_apart(&format!("{prefix}{head}"), &group[start..at], found);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The shortest way from a node back to itself.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>, from: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut seen = BTreeSet::new();
    while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
        let Some(next) = way.last().and_then(|last| graph.get(last)) else {
            continue;
        };
        for step in next {
            if step == from {
                return Some(way);
            }
            if seen.insert(step.clone()) {
                ways.push([way.clone(), vec![step.clone()]].concat());
            }
        }
    }
    None
}
