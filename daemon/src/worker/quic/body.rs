//! The body of a request, read only as far as it is asked for: QUIC's flow control gives the
//! back-pressure.

use crate::http3::Connection;
use bytes::{Buf, Bytes};
use h3::{error::Code, quic, server::RequestStream};
use http::{HeaderMap, header};
use http_body::{Frame, SizeHint};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

type Half =
    <<Connection as quic::OpenStreams<Bytes>>::BidiStream as quic::BidiStream<Bytes>>::RecvStream;

/// A body whose length is what was announced, or an error (RFC 9114 §4.1.2).
pub(super) struct Upload {
    stream: RequestStream<Half, Bytes>,
    /// Bytes that are still to come, if their number was announced.
    left: Option<u64>,
    over: bool,
}

/// Why a body ends before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The stream or its connection ended.
    #[error("the stream ended")]
    Stream(#[source] h3::error::StreamError),
    /// More or fewer bytes than announced.
    #[error("the body is not as long as its Content-Length says")]
    Length,
}

/// What a head says about the length of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Announced {
    /// Nothing.
    Unknown,
    /// So many bytes.
    Bytes(u64),
    /// Nonsense: the request is malformed.
    Malformed,
}

impl Announced {
    /// From all `Content-Length` headers (RFC 9110 §8.6).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter().map(|value| {
            let digits = value.to_str().ok().filter(|text| {
                !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
            })?;
            digits.parse().ok()
        });
        match lengths.next() {
            None => Self::Unknown,
            Some(first) => first
                .filter(|_| lengths.all(|other| other == first))
                .map_or(Self::Malformed, Self::Bytes),
        }
    }
}

impl Upload {
    /// Of the receiving half of a request's stream.
    pub(super) const fn new(stream: RequestStream<Half, Bytes>, announced: Announced) -> Self {
        let left = if let Announced::Bytes(bytes) = announced {
            Some(bytes)
        } else {
            None
        };
        Self {
            stream,
            left,
            over: false,
        }
    }

    fn fails(&mut self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.over = true;
        Poll::Ready(Some(Err(broken)))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let data = ready!(self.stream.poll_recv_data(cx))
            .map(|data| data.map(|mut data| data.copy_to_bytes(data.remaining())));
        match data {
            Ok(Some(bytes)) => {
                if let Some(left) = self.left {
                    match left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
                        Some(left) => self.left = Some(left),
                        None => {
                            self.stream.stop_sending(Code::H3_MESSAGE_ERROR);
                            return self.fails(Broken::Length);
                        }
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ok(None) if self.left.is_some_and(|left| left > 0) => self.fails(Broken::Length),
            // Trailers, if there are any, say nothing that matters here.
            Ok(None) => {
                self.over = true;
                Poll::Ready(None)
            }
            Err(error) => self.fails(Broken::Stream(error)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::Announced;
    use http::{HeaderMap, HeaderValue, header};

    #[test]
    fn lengths_are_digits_and_agree() {
        let of = |values: &[&'static str]| {
            let pairs = values
                .iter()
                .map(|value| (header::CONTENT_LENGTH, HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            Announced::of(&headers)
        };
        assert_eq!(of(&[]), Announced::Unknown);
        assert_eq!(of(&["0"]), Announced::Bytes(0));
        assert_eq!(of(&["12", "12"]), Announced::Bytes(12));
        for nonsense in [
            &["12", "13"][..],
            &["+1"],
            &[""],
            &["1,1"],
            &["99999999999999999999"],
        ] {
            assert_eq!(of(nonsense), Announced::Malformed, "{nonsense:?}");
        }
    }
}
