//! `transports.http.compression`: gzip for whole answers from 1 KiB on, never for event streams.

use super::body::Body;
use http::{Request, Response};
use std::convert::Infallible;
use tower::{ServiceExt, service_fn};
use tower_http::compression::{
    Compression, CompressionBody, CompressionLevel,
    predicate::{And, NotForContentType, Predicate, SizeAbove},
};

/// The answer that `respond` gives, compressed if that is worth it and the client takes it.
pub(super) async fn answer<B, F: Future<Output = Response<Body>>>(
    request: Request<B>,
    respond: impl FnMut(Request<B>) -> F,
) -> Response<CompressionBody<Body>> {
    let mut respond = respond;
    let service = service_fn(|request| {
        let response = respond(request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let worth: And<SizeAbove, NotForContentType> = SizeAbove::new(1024).and(NotForContentType::SSE);
    let compression = Compression::new(service)
        .quality(CompressionLevel::Fastest)
        .compress_when(worth);
    match compression.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
