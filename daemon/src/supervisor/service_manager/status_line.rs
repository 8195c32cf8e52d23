//! The line of status that the service manager shows: where the daemon serves, how the servers are,
//! what is wrong. Pure.

use ggen_wire::status::Issue;
use std::net::SocketAddr;

/// Problems that the line names.
const PROBLEMS: usize = 2;

/// What the line tells.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// Where MCP is served over HTTP.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Servers that are to be served.
    pub(crate) servers: usize,
    /// Those of them that are ready.
    pub(crate) ready: usize,
    /// Generation of the configuration in force.
    pub(crate) generation: u32,
    /// Why the last reload was refused.
    pub(crate) refused: Option<&'a str>,
    /// What is wrong.
    pub(crate) issues: Vec<Issue>,
}

/// The line.
pub(crate) fn status_line(facts: &Facts<'_>) -> String {
    let mut parts = vec![if facts.addresses.is_empty() {
        "running without an HTTP listener".to_owned()
    } else {
        format!("serving MCP on {}", urls(&facts.addresses))
    }];
    if facts.servers > 0 {
        parts.push(format!(
            "{} of {} servers ready",
            facts.ready, facts.servers
        ));
    }
    parts.push(format!("generation {}", facts.generation));
    if let Some(refused) = facts.refused {
        parts.push(format!("reload refused: {refused}"));
    }
    parts.extend(facts.issues.iter().take(PROBLEMS).map(problem));
    if facts.issues.len() > PROBLEMS {
        parts.push(format!("{} more problems", facts.issues.len() - PROBLEMS));
    }
    parts.join("; ")
}

/// The URLs of the merged view at these addresses.
pub(crate) fn urls(addresses: &[SocketAddr]) -> String {
    let urls: Vec<String> = addresses
        .iter()
        .map(|address| format!("http://{address}/mcp"))
        .collect();
    urls.join(" and ")
}

fn problem(issue: &Issue) -> String {
    let code = issue.code.as_str();
    if issue.message.contains(code) {
        issue.message.clone()
    } else {
        format!("{} [{code}]", issue.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggen_wire::Code;

    #[test]
    fn it_tells_where_how_and_what_is_wrong() {
        let issue = |message: &str| Issue {
            code: Code::UpstreamCrashLoop,
            message: message.to_owned(),
            help: String::new(),
        };
        let facts = Facts {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 3000))],
            servers: 3,
            ready: 2,
            generation: 4,
            refused: Some("a typo"),
            issues: vec![issue("a dies"), issue("b dies"), issue("c dies")],
        };
        let code = Code::UpstreamCrashLoop.as_str();
        assert_eq!(
            status_line(&facts),
            format!(
                "serving MCP on http://127.0.0.1:3000/mcp; 2 of 3 servers ready; generation 4; reload refused: a typo; a dies [{code}]; b dies [{code}]; 1 more problems"
            )
        );
        let facts = Facts {
            generation: 1,
            ..Facts::default()
        };
        assert_eq!(
            status_line(&facts),
            "running without an HTTP listener; generation 1"
        );
    }
}
