//! `transports.http.compression`: gzip for whole answers from 1 KiB on, never for event streams.

use super::{body::Body, service::Http};
use crate::worker::edge::listen::Handler;
use http::{Request, Response};
use hyper::body::Incoming;
use std::convert::Infallible;
use tower::{ServiceExt, service_fn};
use tower_http::compression::{
    Compression, CompressionBody, CompressionLevel,
    predicate::{And, NotForContentType, Predicate, SizeAbove},
};

/// [`Http`] with compressed answers.
#[derive(Debug)]
pub(crate) struct Compressed(pub(super) Http);

impl Handler for Compressed {
    type Body = CompressionBody<Body>;

    async fn handle(&self, request: Request<Incoming>) -> Response<Self::Body> {
        let service = service_fn(|request| async { Ok::<_, Infallible>(self.0.handle(request).await) });
        let worth: And<SizeAbove, NotForContentType> = SizeAbove::new(1024).and(NotForContentType::SSE);
        let compression = Compression::new(service).quality(CompressionLevel::Fastest).compress_when(worth);
        match compression.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn accepted(&self) {
        self.0.accepted();
    }

    fn overloaded(&self) -> bytes::Bytes {
        self.0.overloaded()
    }
}

impl AsRef<Http> for Compressed {
    fn as_ref(&self) -> &Http {
        &self.0
    }
}
