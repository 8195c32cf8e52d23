//! The Rust SDK's client, which shares no code with the product, through ggend in both of its
//! lifecycles.

use ggend_tests::{RemoteFixture, daemon, fixture};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{
        CallToolRequestParams, NumberOrString, ProgressNotificationParam, ProgressToken,
        ProtocolVersion, RequestParamsMeta,
    },
    service::NotificationContext,
    transport::StreamableHttpClientTransport,
};
use serde_json::json;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Watcher {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Watcher {
    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.progress.lock().unwrap().push(params.progress);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_lists_and_calls_in_both_lifecycles() {
    let remote = RemoteFixture::start(&["--era", "modern"]);
    let config = json!({ "mcpServers": { "old": fixture(&["--era", "legacy"]), "new": fixture(&["--era", "modern"]), "far": remote.entry() } });
    let daemon = daemon(config).start();
    daemon.until_ready(&["old", "new", "far"]);
    for server in ["old", "new", "far"] {
        for lifecycle in [
            ClientLifecycleMode::Initialize,
            ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            },
        ] {
            println!("{server}, {lifecycle:?}");
            let watcher = Watcher::default();
            let transport = StreamableHttpClientTransport::from_uri(format!(
                "http://{}/mcp/{server}",
                daemon.http
            ));
            let client = watcher
                .clone()
                .serve_with_lifecycle(transport, lifecycle)
                .await
                .unwrap();
            let tools = client.list_all_tools().await.unwrap();
            assert!(tools.iter().any(|tool| tool.name == "echo"), "{tools:?}");
            let call = |name: &'static str, arguments: serde_json::Value| {
                CallToolRequestParams::new(name)
                    .with_arguments(arguments.as_object().unwrap().clone())
            };
            let echo = client
                .call_tool(call("echo", json!({ "message": "hello" })))
                .await
                .unwrap();
            assert_eq!(echo.content[0].as_text().unwrap().text, "hello");
            let mut stepwise = call("progress", json!({ "steps": 3, "ms": 5 }));
            stepwise.set_progress_token(ProgressToken(NumberOrString::String("rmcp".into())));
            client.call_tool(stepwise).await.unwrap();
            let wrong = client.call_tool(call("no-such-tool", json!({}))).await;
            assert!(wrong.is_err(), "{wrong:?}");
            client.cancel().await.unwrap();
            assert_eq!(*watcher.progress.lock().unwrap(), [1.0, 2.0, 3.0]);
        }
    }
    daemon.stop();
}
