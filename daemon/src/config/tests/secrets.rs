//! Planted secrets must not come out.

use super::Host;
use crate::config::{redacted, redacted_text};

#[test]
fn no_planted_secret_is_shown() {
    let host = Host::with(
        r#"{
  "description": "uses Bearer PLANT-1",
  "metadata": {"owner": "ops", "api_key": "PLANT-2", "list": [{"password": "PLANT-3"}]},
  "mcpServers": {
    "a": {
      "command": "npx",
      "args": ["-y", "pkg@1.2.3", "--token", "PLANT-4", "--api-key=PLANT-5", "-H", "X-Any: PLANT-6", "--header", "Authorization: Bearer PLANT-7",
               "-e", "ANY=PLANT-8", "postgres://me:PLANT-9@db/x", "postgres://me:PLANT/10@db/x", "https://h/p?access_token=PLANT-11&page=2",
               "{\"secret\": \"PLANT-12\"}", "host=db password=PLANT-13", "--url=https://PLANT-14@h/", "Authorization:Bearer PLANT-15",
               "ghp_PLANT16PLANT16", "--dir", "/srv/data", "PASSWORD=PLANT-17 x", "-u", "me:PLANT-18", "Bearer  PLANT-19",
               "--config={\"password\":\"PLANT-30\",\"port\":5432}", "--config", "{\"db\": {\"apiKey\": \"PLANT-31\"}}",
               "--config={password: \"PLANT-32 PLANT-33\"}", "--set=db.host=h,db.password=PLANT-34", "-Dspring.datasource.password=PLANT-35",
               "Server=h;Uid=u;Pwd=PLANT-36;", "--env=ANY=PLANT-37", "--header=X-Any: PLANT-38", "--user=me:PLANT-39",
               "settings: {\"a\": [{\"client_secret\": \"PLANT-40\"}]} and more", "--x=password:PLANT-41,url=http://h/", "{'token':'PLANT-42'}",
               "x password=PLANT[43]PLANT", "--data=grant_type=x&client_secret=PLANT-44", "[[\"token=PLANT-45\"]]", "-ePASSWORD=PLANT-46"],
      "env": {"GITHUB_TOKEN": "PLANT-20", "ANYTHING": "PLANT-21", "NODE_ENV": "production", "DEBUG": "https://u:PLANT-22@h/"}
    },
    "b": {
      "url": "https://u:PLANT-23@h.example/mcp?key=PLANT-24&view=all#token=PLANT-25",
      "headers": {"Authorization": "Bearer PLANT-26", "X-Whatever": "PLANT-27", "Accept": "application/json"}
    },
    "c": {"url": "https://h.example/s/PLANT28abcdef0123456789/mcp"}
  },
  "tracing": {"otlp": {"headers": "x-any=PLANT-29"}}
}"#,
    );
    let shown = redacted(&host.loaded().config).to_string();
    assert!(!shown.contains("PLANT"), "{shown}");
    for kept in [
        "npx",
        "pkg@1.2.3",
        "--token",
        "/srv/data",
        "production",
        "application/json",
        "view=all",
        "page=2",
        "h.example/mcp",
        "GITHUB_TOKEN",
        "ops",
        "5432",
        "db.host=h",
        "and more",
    ] {
        assert!(shown.contains(kept), "{kept} is not in {shown}");
    }
}

#[test]
fn headers_for_the_collector_come_from_variables_credentials_and_files_and_are_not_shown() {
    let of = |host: &Host| {
        host.loaded()
            .config
            .tracing
            .otlp
            .headers
            .map(|headers| headers.expose().to_owned())
    };
    let text = r#"{"tracing": {"otlp": {"headers": "a=${KEY},b=${credential:otlp}"}}}"#;
    let host = Host::with(text).env(&[("KEY", "PLANT-1"), ("credential:otlp", "PLANT-2")]);
    assert_eq!(of(&host).as_deref(), Some("a=PLANT-1,b=PLANT-2"));
    let said = Host::with(text).env(&[("KEY", "PLANT-1")]).problems();
    let expected = "Error 1:34: tracing.otlp.headers: credential otlp is not there and ${credential:otlp} has no default [GGEN-E1006]\n";
    assert_eq!(said, expected);
    let host = Host::new();
    let file = host.write("etc/headers", "a=PLANT\n");
    let with = |more: &str| {
        format!(
            r#"{{"tracing": {{"otlp": {{"headers_file": "{}"{more}}}}}}}"#,
            file.display()
        )
    };
    host.write("cwd/.mcp.json", with(""));
    assert_eq!(of(&host).as_deref(), Some("a=PLANT"));
    host.write("cwd/.mcp.json", with(r#", "headers": "b=PLANT""#));
    assert!(
        host.problems()
            .contains("tracing.otlp.headers_file stands beside tracing.otlp.headers"),
        "{}",
        host.problems()
    );
    host.write("etc/headers", "PLANT");
    host.write("cwd/.mcp.json", with(""));
    let said = host.problems();
    assert!(
        said.contains("has no `=`") && !said.contains("PLANT"),
        "{said}"
    );
}

#[test]
fn what_is_no_secret_is_kept() {
    for text in [
        "@modelcontextprotocol/server-filesystem@2025.11.25",
        "/home/me/project-2024",
        "http://127.0.0.1:3000/mcp",
        "--verbose",
        "server-everything",
        "stdio",
    ] {
        assert_eq!(redacted_text(text), text);
    }
}

#[test]
fn problems_do_not_show_values_of_entries() {
    let host = Host::with(
        r#"{"mcpServers": {"a": {"command": "x", "env": {"T": ["PLANT"]}, "headers": {"A": "PLANT\n"}, "url": "PLANT", "type": "http"}}}"#,
    );
    assert!(!host.problems().contains("PLANT"), "{}", host.problems());
}
