//! The supervisor's rooms: who imports whom, and which files work on all of it.

use super::rooms::{root, sources};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The files that carry results from room to room. No other one works on the whole supervisor.
const ROUTING: [&str; 8] = [
    "mod.rs",
    "boot/start.rs",
    "stop.rs",
    "routing/calls.rs",
    "routing/handover.rs",
    "routing/reload.rs",
    "routing/upstreams.rs",
    "routing/workers.rs",
];

fn folder() -> PathBuf {
    root().join("daemon/src/supervisor")
}

/// The code of a file, without comments and unit tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let code = code.split("#[cfg(test)]\nmod tests").next();
    code.unwrap_or_default().to_owned()
}

/// A file as a module below the supervisor: `workers::exit`, `workers` for `workers/mod.rs`.
fn module(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(folder()).unwrap().with_extension("");
    let mut steps: Vec<String> = path
        .iter()
        .map(|step| step.to_string_lossy().into_owned())
        .collect();
    steps.retain(|step| step != "mod");
    steps
}

/// What a file names below the supervisor, as modules: from `crate::supervisor::…` and `super::…`.
fn named(file: &Path) -> BTreeSet<Vec<String>> {
    let own = module(file);
    let mut found = BTreeSet::new();
    for word in words(&code(file)) {
        let mut steps: Vec<&str> = word.split("::").collect();
        let mut base = if steps.starts_with(&["crate", "supervisor"]) {
            steps.drain(..2);
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

#[test]
fn rooms_import_each_other_in_no_circle() {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let routes = ["boot", "routing"];
    let is_room = |name: &String| folder().join(name).is_dir() && !routes.contains(&name.as_str());
    for file in sources(&folder()) {
        let own = module(&file);
        let Some(room) = own.first().filter(|name| is_room(name)) else {
            continue;
        };
        let rooms = named(&file)
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

#[test]
fn within_a_room_no_loop_of_imports_goes_over_more_than_three_files() {
    let files = sources(&folder());
    let modules: BTreeSet<Vec<String>> = files.iter().map(|file| module(file)).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &files {
        let own = module(file);
        if own.len() < 2 {
            // The face of a room names its files.
            continue;
        }
        let to_file = |path: Vec<String>| {
            let ends = (1..=path.len()).rev();
            let mut heads = ends.map(|end| path[..end].to_vec());
            heads.find(|head| modules.contains(head))
        };
        let siblings = named(file).into_iter().filter_map(to_file);
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

#[test]
fn only_the_routing_files_work_on_the_whole_supervisor() {
    for file in sources(&folder()) {
        let name = file.strip_prefix(folder()).unwrap();
        let code = code(&file);
        let works = ["impl Supervisor", "&mut Supervisor"]
            .iter()
            .any(|text| code.contains(text));
        assert!(
            !works || ROUTING.iter().any(|routing| name == Path::new(routing)),
            "{} works on the whole supervisor",
            name.display()
        );
    }
}

#[test]
fn the_supervisor_has_few_fields_and_methods() {
    let text = code(&folder().join("mod.rs"));
    let (_, fields) = text.split_once("struct Supervisor {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    assert!(fields.lines().filter(|line| line.contains(':')).count() <= 15);
    let methods = ROUTING.iter().map(|name| {
        let code = code(&folder().join(name));
        let bodies = code.split("\nimpl Supervisor {").skip(1);
        let bodies = bodies.map(|body| body.split("\n}\n").next().unwrap_or_default());
        let is_method = |line: &&str| {
            let line = line.strip_prefix("    ").unwrap_or_default();
            let line = line
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(in crate::supervisor) ")
                .trim_start_matches("async ");
            line.starts_with("fn ")
        };
        bodies.flat_map(str::lines).filter(is_method).count()
    });
    let methods: usize = methods.sum();
    assert!((20..=80).contains(&methods), "{methods} methods");
}
