//! Tasks of both eras through a running ggend: in the view of one server and in that of all, asked
//! about by their owner and by others.

use ggend_tests::{
    Daemon, RemoteFixture, daemon, fixture,
    mcp::{Client, Era},
    wait,
};
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";
const RELATED: &str = "io.modelcontextprotocol/related-task";

fn client(daemon: &Daemon, view: &str, era: Era) -> Client {
    let mut client = Client::unconnected(daemon.http, view, era);
    client.capabilities = json!({ "elicitation": {} });
    if era == Era::Modern {
        client.capabilities["extensions"] = json!({ EXTENSION: {} });
    }
    client.initialize().unwrap();
    client
}

/// `server__tool` or `tool`, and `server~id` or `id`.
fn named(view: &str, server: &str, by: &str, name: &str) -> String {
    if view.is_empty() {
        format!("{server}{by}{name}")
    } else {
        name.to_owned()
    }
}

/// What a task is like when it has that status.
fn until_status(client: &mut Client, id: &str, status: &str) -> Value {
    wait::until(status, || {
        let state = client
            .request("tasks/get", json!({ "taskId": id }))
            .result()
            .clone();
        (state["status"] == status).then_some(state)
    })
}

/// A task of 2026-07-28 that asks its client; its server may be of either era.
fn modern(daemon: &Daemon, view: &str, server: &str) {
    let mut client = client(daemon, view, Era::Modern);
    let found = client.request("server/discover", json!({}));
    assert!(
        found.result()["capabilities"]["extensions"][EXTENSION].is_object(),
        "{}",
        found.response().raw
    );
    let made = client.tool(
        &named(view, server, "__", "confirm_delete"),
        json!({ "filename": "a file" }),
    );
    let id = made.result()["taskId"].as_str().unwrap().to_owned();
    assert!(
        !view.is_empty() || id.starts_with(&format!("{server}~")),
        "{id}"
    );
    let state = until_status(&mut client, &id, "input_required");
    let (key, request) = state["inputRequests"]
        .as_object()
        .unwrap()
        .iter()
        .next()
        .unwrap();
    assert_eq!(
        (&state["taskId"], &request["method"]),
        (&json!(id), &json!("elicitation/create"))
    );
    let answers = json!({ key: { "action": "accept", "content": { "confirm": true } } });
    let told = client.request(
        "tasks/update",
        json!({ "taskId": id, "inputResponses": answers }),
    );
    assert_eq!(told.result()["resultType"], "complete");
    let state = until_status(&mut client, &id, "completed");
    assert_eq!(state["result"]["content"][0]["text"], "Deleted a file");
    assert!(state["result"]["_meta"][RELATED].is_null(), "{state}");
    assert_eq!(
        client
            .request("tasks/get", json!({ "taskId": format!("{id}x") }))
            .error(),
        (-32602, "GGEN-E3044")
    );
    client.capabilities = json!({});
    assert_eq!(
        client.request("tasks/get", json!({ "taskId": id })).error(),
        (-32021, "GGEN-E3021")
    );
}

/// A legacy client knows nothing of a modern server's tasks: it is asked, and gets what the task
/// comes to.
fn unknowing(daemon: &Daemon, view: &str, server: &str) {
    let mut client = client(daemon, view, Era::Legacy);
    let tool = |name| named(view, server, "__", name);
    let mut exchange = client
        .start(
            "tools/call",
            json!({ "name": tool("confirm_delete"), "arguments": { "filename": "a file" } }),
        )
        .unwrap();
    let question = exchange.until("elicitation/create");
    client
        .respond(
            &question,
            json!({ "action": "accept", "content": { "confirm": true } }),
        )
        .unwrap();
    let done = exchange.until("").value;
    assert_eq!(
        done["result"]["content"][0]["text"], "Deleted a file",
        "{done}"
    );
    assert!(
        done["result"]["resultType"].is_null() && done["result"]["taskId"].is_null(),
        "{done}"
    );
    assert_eq!(
        client.tool(&tool("failing_job"), json!({})).result()["isError"],
        true
    );
    assert_eq!(
        client
            .tool(&tool("protocol_error_job"), json!({}))
            .response()
            .value["error"]["code"],
        -32603
    );
}

/// A task of 2025-11-25 that asks its client, on the stream of the request for its result.
fn legacy(daemon: &Daemon, view: &str, server: &str) {
    let (mut client, mut other) = (
        client(daemon, view, Era::Legacy),
        client(daemon, view, Era::Legacy),
    );
    assert!(
        client.server["capabilities"]["tasks"]["requests"]["tools"]["call"].is_object(),
        "{}",
        client.server
    );
    let tool = named(view, server, "__", "confirm_delete");
    let made = client.request(
        "tools/call",
        json!({ "name": tool, "arguments": { "filename": "a file" }, "task": { "ttl": 60_000 } }),
    );
    let id = made.result()["task"]["taskId"].as_str().unwrap().to_owned();
    assert!(
        !view.is_empty() || id.starts_with(&format!("{server}~")),
        "{id}"
    );
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(
            other.request(method, json!({ "taskId": id })).error(),
            (-32602, "GGEN-E3044"),
            "{method}"
        );
    }
    assert_eq!(
        other.request("tasks/list", json!({})).result(),
        &json!({ "tasks": [] })
    );
    let listed = client.request("tasks/list", json!({}));
    assert_eq!(
        listed.result()["tasks"][0]["taskId"],
        id,
        "{}",
        listed.response().raw
    );
    let mut exchange = client
        .start("tasks/result", json!({ "taskId": id }))
        .unwrap();
    let question = exchange.until("elicitation/create");
    assert_eq!(question.value["params"]["_meta"][RELATED]["taskId"], id);
    let meta = json!({ RELATED: { "taskId": id } });
    client
        .respond(
            &question,
            json!({ "action": "accept", "content": { "confirm": true }, "_meta": meta }),
        )
        .unwrap();
    let done = exchange.until("").value;
    assert_eq!(
        done["result"]["content"][0]["text"], "Deleted a file",
        "{done}"
    );
    assert_eq!(done["result"]["_meta"][RELATED]["taskId"], id);
    assert_eq!(
        client
            .request("tasks/get", json!({ "taskId": id }))
            .result()["status"],
        "completed"
    );
}

/// Servers of both eras, near and far, each in both views, with a test for those of each era.
fn everywhere(of_old: fn(&Daemon, &str, &str), of_new: fn(&Daemon, &str, &str)) {
    let (old, new) = (
        RemoteFixture::start(&["--era", "legacy"]),
        RemoteFixture::start(&["--era", "modern"]),
    );
    let daemon = daemon(json!({ "mcpServers": {
        "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "old-far": old.entry(), "new-far": new.entry(),
    } }))
    .start();
    daemon.until_ready(&["old", "new", "old-far", "new-far"]);
    std::thread::scope(|scope| {
        for (server, test) in [
            ("old", of_old),
            ("old-far", of_old),
            ("new", of_new),
            ("new-far", of_new),
        ] {
            for view in ["", server] {
                let daemon = &daemon;
                scope.spawn(move || test(daemon, view, server));
            }
        }
    });
    daemon.stop();
}

#[test]
fn tasks_pass_between_clients_and_servers_of_one_era() {
    everywhere(legacy, modern);
}

#[test]
fn tasks_pass_between_the_eras() {
    everywhere(modern, unknowing);
}

#[test]
fn a_task_outlives_the_gateway_worker() {
    let daemon = daemon(json!({ "mcpServers": { "new": fixture(&["--era", "modern"]), "old": fixture(&["--era", "legacy"]) } })).start();
    daemon.until_ready(&["new", "old"]);
    let mut new = client(&daemon, "", Era::Modern);
    let made = new.tool("new__slow_compute", json!({ "seconds": 0, "label": "it" }));
    let theirs = made.result()["taskId"].as_str().unwrap().to_owned();
    // Nobody can be asked in this session, so that the task is the shared child's.
    let mut old = Client::new(daemon.http, "old", Era::Legacy);
    let made = old.request(
        "tools/call",
        json!({ "name": "slow_compute", "arguments": { "seconds": 0, "label": "it" }, "task": {} }),
    );
    let ours = made.result()["task"]["taskId"].as_str().unwrap().to_owned();
    // A session is told of when it is stored, and what was to be stored before it is stored then
    // too.
    let _later = Client::new(daemon.http, "", Era::Legacy);
    let pid = daemon.worker_pid("gateway-0").unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.try_into().unwrap()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    daemon.until_replaced("gateway-0", pid);
    daemon.until_ready(&["new", "old"]);
    new.reconnect();
    old.reconnect();
    until_status(&mut new, &theirs, "completed");
    let done = old.request("tasks/result", json!({ "taskId": ours }));
    assert_eq!(done.text(), "Computed it");
    daemon.stop();
}
