//! Fetches the keys of a token issuer: a key set (RFC 7517), or the key set that an issuer's
//! metadata names (RFC 8414, OpenID Connect Discovery). Bounded in time and size, over TLS unless
//! on loopback; no redirect is followed. May not: open any file but the host's certificates.

use crate::auth::{Keys, Source};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use std::{error::Error, net::IpAddr, time::Duration};

/// For everything that one attempt takes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of metadata and of a key set.
const MOST: usize = 256 << 10;

/// The members of the metadata that matter here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the keys of an issuer.
///
/// # Errors
/// What went wrong, in words that may be logged.
pub(crate) async fn fetch(source: &Source) -> Result<Keys, String> {
    let work = async {
        let address = match source {
            Source::Set(address) => address.clone(),
            Source::Issuer(issuer) => discover(issuer).await?,
        };
        let text = get(&address).await?;
        Keys::from_set(&text).map_err(|error| format!("{address}: {error}"))
    };
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// Finds the key set of an issuer. That the metadata names the same issuer is what binds the two
/// (RFC 8414 §3.3).
async fn discover(issuer: &str) -> Result<String, String> {
    let mut why = String::new();
    for address in well_known(issuer) {
        match get(&address).await {
            Ok(text) => {
                let found: Metadata = serde_json::from_str(&text)
                    .map_err(|_| format!("{address}: not the metadata of an issuer"))?;
                if found.issuer != issuer {
                    return Err(format!("{address}: is the metadata of another issuer"));
                }
                return Ok(found.jwks_uri);
            }
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// RFC 8414 §3.1 and OpenID Connect Discovery 1.0 §4, in the order that MCP clients try them.
fn well_known(issuer: &str) -> Vec<String> {
    let bare = issuer.trim_end_matches('/');
    let at = bare
        .find("://")
        .and_then(|scheme| bare[scheme + 3..].find('/').map(|slash| scheme + 3 + slash));
    match at {
        None => ["oauth-authorization-server", "openid-configuration"]
            .map(|name| format!("{bare}/.well-known/{name}"))
            .into(),
        Some(at) => {
            let (origin, path) = bare.split_at(at);
            vec![
                format!("{origin}/.well-known/oauth-authorization-server{path}"),
                format!("{origin}/.well-known/openid-configuration{path}"),
                format!("{bare}/.well-known/openid-configuration"),
            ]
        }
    }
}

async fn get(address: &str) -> Result<String, String> {
    let wrong = |what: String| format!("{address}: {what}");
    let uri: Uri = address
        .parse()
        .map_err(|_| wrong("not an address".to_owned()))?;
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    if !secure && !is_local(&uri) {
        return Err(wrong("http is for loopback only".to_owned()));
    }
    let request = Request::get(uri)
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|error| wrong(error.to_string()))?;
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    let response = if secure {
        // Reads files: not on the event loop.
        let builder = tokio::task::spawn_blocking(|| {
            HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        });
        let builder = builder
            .await
            .map_err(|error| wrong(error.to_string()))?
            .map_err(|error| wrong(error.to_string()))?;
        let connector = builder.https_only().enable_http1().wrap_connector(plain);
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector)
            .request(request)
            .await
    } else {
        Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(plain)
            .request(request)
            .await
    };
    let response = response.map_err(|error| wrong(causes(&error)))?;
    if response.status() != StatusCode::OK {
        return Err(wrong(format!("answers {}", response.status())));
    }
    let body = Limited::new(response.into_body(), MOST)
        .collect()
        .await
        .map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| wrong("answers no text".to_owned()))
}

fn is_local(uri: &Uri) -> bool {
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|host| host.to_canonical().is_loopback())
}

fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test fails by panicking"
    )]

    use super::{Source, fetch, well_known};
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    /// Answers one request after the other with what `answer` makes of the path, for as long as the
    /// process lives.
    fn server(answer: impl Fn(&str) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut head = [0; 4096];
                let length = socket.read(&mut head).unwrap_or(0);
                let path = String::from_utf8_lossy(&head[..length])
                    .split(' ')
                    .nth(1)
                    .unwrap_or_default()
                    .to_owned();
                socket
                    .write_all(answer(&path).as_bytes())
                    .unwrap_or_default();
            }
        });
        address
    }

    fn ok(body: &str) -> String {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    }

    const SET: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"1"}]}"#;

    #[test]
    fn metadata_is_looked_for_where_the_standards_say() {
        assert_eq!(
            well_known("https://a/"),
            [
                "https://a/.well-known/oauth-authorization-server",
                "https://a/.well-known/openid-configuration"
            ]
        );
        let below = [
            "https://a/.well-known/oauth-authorization-server/t",
            "https://a/.well-known/openid-configuration/t",
            "https://a/t/.well-known/openid-configuration",
        ];
        assert_eq!(well_known("https://a/t"), below);
    }

    #[tokio::test]
    async fn keys_come_by_set_and_by_issuer_and_from_nowhere_else() {
        let address = server(|path| {
            match path {
            "/keys" => ok(SET),
            "/empty" => ok(r#"{"keys":[]}"#),
            "/big" => ok(&"x".repeat(300 << 10)),
            "/moved" => "HTTP/1.1 302 Found\r\nlocation: /keys\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
        }
        });
        assert!(fetch(&Source::Set(format!("{address}/keys"))).await.is_ok());
        for (path, why) in [
            ("/empty", "no key"),
            ("/big", "length limit"),
            ("/moved", "302"),
            ("/none", "404"),
        ] {
            let error = fetch(&Source::Set(format!("{address}{path}")))
                .await
                .expect_err(path);
            assert!(error.contains(why), "{path}: {error}");
        }
        let keys = format!("{address}/keys");
        let issuer = server(move |path| match path {
            "/.well-known/openid-configuration" => ok(&format!(
                r#"{{"issuer":"http://other","jwks_uri":"{keys}"}}"#
            )),
            _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_owned(),
        });
        let error = fetch(&Source::Issuer(issuer))
            .await
            .expect_err("another issuer");
        assert!(error.contains("another issuer"), "{error}");
        let error = fetch(&Source::Set("http://192.0.2.1/keys".to_owned()))
            .await
            .expect_err("not TLS");
        assert!(error.contains("loopback only"), "{error}");
    }
}
