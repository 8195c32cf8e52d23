//! Refuses a request: its body is read or not, as its client needs it to hear the refusal.

use super::{answer::Refusal, body::Body, receive::Upload, service::Rules};
use bytes::Bytes;
use http::{HeaderValue, Response, Version, header, request::Parts};
use http_body_util::BodyExt;
use std::time::Duration;

/// A refused HTTP/2 request may still send so many bytes, within so long, before it is answered.
const LITTLE: usize = 64 << 10;
const SOON: Duration = Duration::from_millis(250);

/// Refuses a request whose body may still be on its way.
pub(super) async fn refuse(
    refusal: &Refusal,
    head: &Parts,
    mut incoming: impl Upload,
    rules: &Rules,
) -> Response<Body> {
    // A client that waits for "100 Continue" sends nothing when it is refused.
    if incoming.is_end_stream() || head.headers.contains_key(header::EXPECT) {
        return refusal.response(b"");
    }
    // libcurl gives an HTTP/2 stream up whose answer comes before it has sent everything, and the
    // answer with it.
    if head.version > Version::HTTP_11 && ends_soon(&mut incoming).await {
        return refusal.response(b"");
    }
    // In HTTP/2 too: letting go of the rest before the answer is sent would cancel the stream.
    let mut response = refusal.with(Body::linger(
        refusal.body(b""),
        incoming,
        tokio::time::sleep(rules.patience),
    ));
    if head.version <= Version::HTTP_11 {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Takes what is left of a body, if it is little and comes at once.
async fn ends_soon(incoming: &mut impl Upload) -> bool {
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = incoming.frame().await {
            taken += frame.data_ref().map_or(1, Bytes::len);
            if taken > LITTLE {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(SOON, rest).await.unwrap_or(false)
}
