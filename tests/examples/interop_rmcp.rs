//! The Rust SDK's client, which shares no code with the product, as a program of `tests/interop`:
//! the checks that its matrix shows, one line each.
//!
//! `interop_rmcp legacy|modern URL PROFILE`, with the path of `clients/lib/kinds.json` in `KINDS`.
//! Talks to that URL and to nothing else.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a program that cannot go on fails where it stands"
)]
#![allow(clippy::print_stdout, reason = "its lines are its result")]
#![allow(
    deprecated,
    reason = "sampling and subscriptions of legacy revisions, which the SDK is to leave behind"
)]

use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientConfig, ClientRequest,
        CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams, ElicitResult,
        ElicitationAction, ProgressNotificationParam, ProtocolVersion,
        ResourceUpdatedNotificationParam, SamplingMessage, ServerNotification,
        SubscribeRequestParams, SubscriptionFilter, UnsubscribeRequestParams,
    },
    service::{NotificationContext, PeerRequestOptions, RequestContext, RunningService},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};

const CHECK: Duration = Duration::from_secs(20);
const NOTIFIED: Duration = Duration::from_secs(12);
const POLL: Duration = Duration::from_millis(50);

type Checked = Result<String, String>;
type Client = RunningService<RoleClient, Watcher>;

/// What came from the server, and what it is to be answered.
#[derive(Clone, Default)]
struct Watcher {
    seen: Arc<Seen>,
    asked: bool,
}

#[derive(Default)]
struct Seen {
    progress: Mutex<Vec<f64>>,
    /// `tools`, `prompts`, `resources`, or a URI.
    changed: Mutex<Vec<String>>,
    questions: Mutex<Vec<String>>,
    answer: Mutex<Value>,
}

impl Seen {
    fn note(&self, what: &str) {
        self.changed.lock().unwrap().push(what.to_owned());
    }

    fn has(&self, what: &str) -> bool {
        self.changed.lock().unwrap().iter().any(|seen| seen == what)
    }
}

impl ClientHandler for Watcher {
    fn get_info(&self) -> ClientConfig {
        let capabilities = if self.asked {
            json!({"elicitation": {}, "sampling": {}})
        } else {
            json!({})
        };
        let info = json!({"name": "interop-rmcp", "version": "1.0.0"});
        let version = ProtocolVersion::V_2025_11_25;
        serde_json::from_value(
            json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}),
        )
        .unwrap()
    }

    async fn on_progress(
        &self,
        params: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.seen.progress.lock().unwrap().push(params.progress);
    }

    async fn on_resource_updated(
        &self,
        params: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.seen.note(&params.uri);
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.seen.note("tools");
    }

    async fn on_prompt_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.seen.note("prompts");
    }

    async fn on_resource_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.seen.note("resources");
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        self.seen
            .questions
            .lock()
            .unwrap()
            .push(serde_json::to_string(&request).unwrap());
        Ok(ElicitResult::new(ElicitationAction::Accept)
            .with_content(self.seen.answer.lock().unwrap().clone()))
    }

    async fn create_message(
        &self,
        params: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.seen
            .questions
            .lock()
            .unwrap()
            .push(serde_json::to_string(&params).unwrap());
        Ok(CreateMessageResult::new(
            SamplingMessage::assistant_text("interop-sampled"),
            "interop".to_owned(),
        ))
    }
}

/// One program's view of one server.
struct Program {
    url: String,
    kind: Value,
    prefix: String,
    modern: bool,
    failed: bool,
}

impl Program {
    async fn connect(&self, asked: bool) -> Result<(Client, Arc<Seen>), String> {
        let lifecycle = if self.modern {
            ClientLifecycleMode::Discover {
                preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            }
        } else {
            ClientLifecycleMode::Initialize
        };
        let watcher = Watcher {
            asked,
            ..Watcher::default()
        };
        let seen = Arc::clone(&watcher.seen);
        let transport = StreamableHttpClientTransport::from_uri(self.url.clone());
        let client = watcher
            .serve_with_lifecycle(transport, lifecycle)
            .await
            .map_err(|error| error.to_string())?;
        Ok((client, seen))
    }

    /// Runs one check, if the server has what it needs, and prints its line.
    async fn check_on(&mut self, part: &str, name: &str, body: impl Future<Output = Checked>) {
        if self.kind[part].is_null() {
            println!("skip {name} the server has nothing for {part}");
        } else {
            self.check(name, body).await;
        }
    }

    /// Runs one check and prints its line.
    async fn check(&mut self, name: &str, body: impl Future<Output = Checked>) {
        let outcome = timeout(CHECK, body)
            .await
            .unwrap_or_else(|_| Err(format!("nothing within {} s", CHECK.as_secs())));
        match outcome {
            Ok(detail) => println!("ok {name} {detail}"),
            Err(why) => {
                self.failed = true;
                println!("FAIL {name} {}", why.replace('\n', " "));
            }
        }
    }

    fn params(&self, step: &Value, nonce: &str) -> CallToolRequestParams {
        let name = format!("{}{}", self.prefix, step["tool"].as_str().unwrap());
        CallToolRequestParams::new(name)
            .with_arguments(fill(&step["args"], nonce).as_object().unwrap().clone())
    }

    async fn call(
        &self,
        client: &Client,
        step: &Value,
        nonce: &str,
    ) -> Result<CallToolResult, String> {
        client
            .call_tool(self.params(step, nonce))
            .await
            .map_err(|error| error.to_string())
    }

    async fn echo(&self, client: &Client) -> Checked {
        let (step, nonce) = (&self.kind["echo"], nonce());
        let text = text_of(&self.call(client, step, &nonce).await?);
        insist(text.contains(&nonce), || {
            format!("answer of another call: {text}")
        })
    }

    async fn progress(&self, client: &Client, seen: &Seen) -> Checked {
        let step = &self.kind["progress"];
        seen.progress.lock().unwrap().clear();
        self.call(client, step, &nonce()).await?;
        let least = usize::try_from(step["at_least"].as_u64().unwrap()).unwrap();
        // A notification is handled in a task of its own, perhaps after the answer that came behind
        // it.
        until(|| seen.progress.lock().unwrap().len() >= least).await;
        let mut values = seen.progress.lock().unwrap().clone();
        values.sort_by(f64::total_cmp);
        let rising = values.windows(2).all(|pair| pair[0] < pair[1]);
        insist(values.len() >= least && rising, || {
            format!("progress {values:?}")
        })
    }

    async fn counted(&self, client: &Client) -> Result<Option<u64>, String> {
        let step = &self.kind["cancelled_count"];
        if step.is_null() {
            return Ok(None);
        }
        let result = self.call(client, step, "").await?;
        Ok(result
            .structured_content
            .and_then(|content| content[step["member"].as_str().unwrap()].as_u64()))
    }

    async fn cancel(&self, client: &Client, seen: &Seen) -> Checked {
        let before = self.counted(client).await?;
        seen.progress.lock().unwrap().clear();
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(
            self.params(&self.kind["slow"], &nonce()),
        ));
        let handle = client
            .send_cancellable_request(request, PeerRequestOptions::no_options())
            .await
            .map_err(|error| error.to_string())?;
        until(|| !seen.progress.lock().unwrap().is_empty()).await;
        insist(!seen.progress.lock().unwrap().is_empty(), || {
            "the call did not begin".to_owned()
        })?;
        handle
            .cancel(Some("given up by the check".to_owned()))
            .await
            .map_err(|error| error.to_string())?;
        self.echo(client).await?;
        let Some(before) = before else {
            return Ok("echo answers afterwards".to_owned());
        };
        for _ in 0..100 {
            if self
                .counted(client)
                .await?
                .is_some_and(|count| count > before)
            {
                return Ok("counted by the server".to_owned());
            }
            sleep(POLL).await;
        }
        Err("the server was not told within 5 s".to_owned())
    }

    /// Calls the tool until its notification is there: the stream that carries it opens on its own
    /// time.
    async fn announced(&self, client: &Client, step: &Value, seen: &Seen, what: &str) -> Checked {
        let calls = async {
            while !seen.has(what) {
                let text = text_of(
                    &self
                        .call(client, step, &format!("interop-{}", nonce()))
                        .await?,
                );
                if step["again"]
                    .as_str()
                    .is_some_and(|again| text.contains(again))
                {
                    continue;
                }
                until(|| seen.has(what)).await;
            }
            Ok(what.to_owned())
        };
        timeout(NOTIFIED, calls).await.unwrap_or_else(|_| {
            Err(format!(
                "no notification about {what} within {} s",
                NOTIFIED.as_secs()
            ))
        })
    }

    async fn list_change(&self, client: &Client, seen: &Arc<Seen>) -> Checked {
        let step = &self.kind["change"];
        let list = step["list"].as_str().unwrap();
        let filter = match list {
            "tools" => SubscriptionFilter::builder().tools_list_changed(),
            "prompts" => SubscriptionFilter::builder().prompts_list_changed(),
            _ => SubscriptionFilter::builder().resources_list_changed(),
        };
        let following = self.follow(client, filter.build(), seen).await?;
        let outcome = self.announced(client, step, seen, list).await;
        following.abort();
        outcome
    }

    async fn subscribe(&self, client: &Client, seen: &Arc<Seen>) -> Checked {
        let step = &self.kind["watch"];
        let wanted = step["uri"].as_str().unwrap();
        let listed = client
            .list_all_resources()
            .await
            .map_err(|error| error.to_string())?;
        let marked = format!("{}+{wanted}", self.prefix.trim_end_matches("__"));
        let uri = if listed.iter().any(|resource| resource.uri == wanted) {
            wanted.to_owned()
        } else {
            marked
        };
        let following = self
            .follow(
                client,
                SubscriptionFilter::builder()
                    .resource_subscription(&uri)
                    .build(),
                seen,
            )
            .await?;
        if !self.modern {
            client
                .subscribe(SubscribeRequestParams::new(&uri))
                .await
                .map_err(|error| error.to_string())?;
        }
        let outcome = self.announced(client, step, seen, &uri).await;
        following.abort();
        if !self.modern {
            client
                .unsubscribe(UnsubscribeRequestParams::new(&uri))
                .await
                .map_err(|error| error.to_string())?;
        }
        outcome
    }

    /// A modern client listens; what comes is noted. A legacy one has its handlers.
    async fn follow(
        &self,
        client: &Client,
        filter: SubscriptionFilter,
        seen: &Arc<Seen>,
    ) -> Result<tokio::task::JoinHandle<()>, String> {
        if !self.modern {
            return Ok(tokio::spawn(async {}));
        }
        let mut subscription = client
            .listen(filter.clone())
            .await
            .map_err(|error| error.to_string())?;
        insist(subscription.acknowledged() == &filter, || {
            format!("acknowledged: {:?}", subscription.acknowledged())
        })?;
        let seen = Arc::clone(seen);
        Ok(tokio::spawn(async move {
            while let Ok(Some(notification)) = subscription.next().await {
                match notification {
                    ServerNotification::ToolListChangedNotification(_) => seen.note("tools"),
                    ServerNotification::PromptListChangedNotification(_) => seen.note("prompts"),
                    ServerNotification::ResourceListChangedNotification(_) => {
                        seen.note("resources")
                    }
                    ServerNotification::ResourceUpdatedNotification(update) => {
                        seen.note(&update.params.uri)
                    }
                    _ => {}
                }
            }
        }))
    }

    async fn asked(&self, name: &str, client: &Client, seen: &Seen) -> Checked {
        let (step, nonce) = (&self.kind[name], nonce());
        *seen.answer.lock().unwrap() = fill(&step["answer"], &nonce);
        seen.questions.lock().unwrap().clear();
        let text = text_of(&self.call(client, step, &nonce).await?);
        insist(
            text.contains(fill(&step["text"], &nonce).as_str().unwrap()),
            || format!("the answer is not in the result: {text}"),
        )?;
        let questions = seen.questions.lock().unwrap().clone();
        let asks = fill(&step["asks"], &nonce);
        insist(
            questions.len() == 1 && questions[0].contains(asks.as_str().unwrap_or_default()),
            || format!("asked: {questions:?}"),
        )
    }

    async fn all(&mut self) {
        let (client, seen) = match self.connect(false).await {
            Ok(connected) => connected,
            Err(why) => return self.check("connect", async { Err(why) }).await,
        };
        let version = client
            .peer_info()
            .map(|info| info.protocol_version.to_string());
        self.check("connect", async { Ok(version.unwrap_or_default()) })
            .await;
        let me = Self {
            url: self.url.clone(),
            kind: self.kind.clone(),
            prefix: self.prefix.clone(),
            modern: self.modern,
            failed: false,
        };
        let least = self.kind["at_least"]["tools"].as_u64().unwrap();
        let tools = async {
            let tools = client
                .list_all_tools()
                .await
                .map_err(|error| error.to_string())?;
            insist(tools.len() as u64 >= least, || {
                format!("{} tools", tools.len())
            })
        };
        self.check("list-tools", tools).await;
        self.check("echo", me.echo(&client)).await;
        self.check("progress", me.progress(&client, &seen)).await;
        self.check("cancel", me.cancel(&client, &seen)).await;
        self.check("list-change", me.list_change(&client, &seen))
            .await;
        self.check_on("watch", "subscribe", me.subscribe(&client, &seen))
            .await;
        // Another connection, because what a client declares is said once: this one can be asked
        // for something.
        match self.connect(true).await {
            Ok((client, seen)) => {
                for name in ["elicit", "sample"] {
                    self.check_on(name, name, me.asked(name, &client, &seen))
                        .await;
                }
                self.check("close-asked", async {
                    client
                        .cancel()
                        .await
                        .map(|_| String::new())
                        .map_err(|error| error.to_string())
                })
                .await;
            }
            Err(why) => self.check("elicit", async { Err(why) }).await,
        }
        self.check("close", async {
            client
                .cancel()
                .await
                .map(|_| String::new())
                .map_err(|error| error.to_string())
        })
        .await;
    }
}

fn insist(condition: bool, why: impl FnOnce() -> String) -> Checked {
    if condition {
        Ok(String::new())
    } else {
        Err(why())
    }
}

/// Waits for a condition, for 1.5 s at most.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..30 {
        if condition() {
            return;
        }
        sleep(POLL).await;
    }
}

fn fill(value: &Value, nonce: &str) -> Value {
    serde_json::from_str(&value.to_string().replace("$NONCE", nonce)).unwrap()
}

fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

fn text_of(result: &CallToolResult) -> String {
    result
        .content
        .iter()
        .filter_map(|block| block.as_text())
        .map(|text| text.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [mode, url, profile] = arguments.as_slice() else {
        println!("FAIL usage interop_rmcp legacy|modern URL PROFILE");
        return ExitCode::from(64);
    };
    let kinds: Value =
        serde_json::from_str(&std::fs::read_to_string(std::env::var("KINDS").unwrap()).unwrap())
            .unwrap();
    let profile: Value = serde_json::from_str(profile).unwrap();
    let mut program = Program {
        url: url.clone(),
        kind: kinds[profile["kind"].as_str().unwrap()].clone(),
        prefix: profile["prefix"].as_str().unwrap_or_default().to_owned(),
        modern: mode == "modern",
        failed: false,
    };
    program.all().await;
    if program.failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
