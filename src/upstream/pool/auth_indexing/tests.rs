mod restored;
mod table;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::task::LocalSet;

use super::*;

type Sender = SendRequest<Bytes>;

/// h2's client above the writer, and a hyper server that returns the `authorization` that it read, the number of fields, and the
/// length of the body. `buffer`: how much one write takes.
async fn connected(buffer: usize) -> (Sender, AuthIndexing) {
    let (near, far) = tokio::io::duplex(buffer);
    serve(far);
    over(near).await
}

async fn over<T: AsyncRead + AsyncWrite + Unpin + 'static>(io: T) -> (Sender, AuthIndexing) {
    let fields = AuthIndexing::default();
    let (writer, flush) = RestoringWriter::new(io, fields.clone());
    let (sender, connection) =
        h2::client::Builder::new().max_header_list_size(256 * 1024).handshake(writer).await.unwrap();
    tokio::task::spawn_local(drive(connection, flush));
    (sender, fields)
}

async fn drive<T>(mut connection: Connection<RestoringWriter<T>, Bytes>, flush: Flush<T>)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    std::future::poll_fn(|cx| {
        loop {
            let polled = Pin::new(&mut connection).poll(cx);
            if polled.is_ready() || !flush.poll(cx) {
                return polled;
            }
        }
    })
    .await
    .unwrap();
}

fn serve(io: DuplexStream) {
    let service = service_fn(async |request: Request<hyper::body::Incoming>| {
        let (head, body) = request.into_parts();
        let length = body.collect().await?.to_bytes().len();
        let mut response = Response::new(Full::new(Bytes::new()));
        let mut answers = head.headers.get_all(AUTHORIZATION).iter();
        let value = answers.next().unwrap().clone();
        assert!(answers.next().is_none());
        response.headers_mut().insert("read", value);
        response.headers_mut().insert("fields", head.headers.len().into());
        response.headers_mut().insert("length", length.into());
        Ok::<_, hyper::Error>(response)
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(builder.max_header_list_size(256 * 1024).serve_connection(TokioIo::new(io), service));
}

fn request(value: &str, others: &[(String, String)]) -> Request<()> {
    let mut request = Request::post("http://origin.test/a").body(()).unwrap();
    for (name, value) in others {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    request
}

async fn check(sender: &mut Sender, fields: &AuthIndexing, value: &str, others: &[(String, String)], body: usize) {
    let mut request = request(value, others);
    let count = request.headers().len();
    let replaced = fields.replace_token(request.headers_mut());
    assert_eq!(replaced.is_some(), value.len() >= WORTHWHILE);
    let kept = request.headers().get(AUTHORIZATION).is_some_and(|field| field == value);
    assert_eq!(kept, value.len() < WORTHWHILE);
    let (response, mut stream) = sender.clone().ready().await.unwrap().send_request(request, body == 0).unwrap();
    if let Some(replaced) = replaced {
        fields.expect(response.stream_id().as_u32(), replaced);
    }
    if body > 0 {
        stream.send_data(Bytes::from(vec![b'x'; body]), true).unwrap();
    }
    let response = response.await.unwrap();
    assert_eq!(response.headers()["read"], value);
    assert_eq!(response.headers()["fields"], count.to_string());
    assert_eq!(response.headers()["length"], body.to_string());
}

fn token(byte: char, length: usize) -> String {
    format!("Bearer {}", byte.to_string().repeat(length - "Bearer ".len()))
}

#[tokio::test]
async fn the_upstream_reads_the_value_whatever_its_length() {
    LocalSet::new()
        .run_until(async {
            let (mut sender, fields) = connected(64 * 1024).await;
            // Around each step in the encoding of an integer, and around one and two frames.
            for length in
                [20, 63, 64, 126, 127, 128, 254, 255, 256, 937, 16_250, 16_383, 16_384, 16_385, 33_000, 70_000]
            {
                check(&mut sender, &fields, &token('t', length), &[], 0).await;
            }
        })
        .await;
}

#[tokio::test]
async fn tokens_of_several_generations_go_out_on_one_connection() {
    LocalSet::new()
        .run_until(async {
            let (mut sender, fields) = connected(64 * 1024).await;
            for generation in ['a', 'b', 'a', 'c', 'b', 'a'] {
                check(&mut sender, &fields, &token(generation, 900), &[("x-other".into(), generation.to_string())], 10)
                    .await;
            }
            assert_eq!(fields.known.borrow().values.len(), 3);
        })
        .await;
}

#[tokio::test]
async fn many_requests_at_once_each_carry_their_own() {
    LocalSet::new()
        .run_until(async {
            let (sender, fields) = connected(4096).await;
            let requests = (0..200).map(|number| {
                let (mut sender, fields) = (sender.clone(), fields.clone());
                async move { check(&mut sender, &fields, &token(['a', 'b'][number % 2], 900), &[], number * 97).await }
            });
            futures_util::future::join_all(requests).await;
        })
        .await;
}

#[tokio::test]
async fn a_block_that_takes_several_frames_is_one_block() {
    LocalSet::new()
        .run_until(async {
            let (mut sender, fields) = connected(1000).await;
            for size in [15_000, 16_300, 17_000, 40_000] {
                let others: Vec<_> = (0..4).map(|number| (format!("x-{number}"), "\u{7e}".repeat(size / 4))).collect();
                check(&mut sender, &fields, &token('t', 900), &others, 100_000).await;
            }
        })
        .await;
}

#[tokio::test]
async fn trailers_and_large_bodies_pass_as_they_are() {
    LocalSet::new()
        .run_until(async {
            let (near, far) = tokio::io::duplex(3000);
            let seen = tokio::spawn(async move {
                let mut connection = h2::server::handshake(far).await.unwrap();
                let (request, mut respond) = connection.accept().await.unwrap().unwrap();
                let read = async move {
                    let value = request.headers()[AUTHORIZATION].clone();
                    let mut body = request.into_body();
                    let mut bytes = Vec::new();
                    while let Some(data) = body.data().await {
                        let data = data.unwrap();
                        body.flow_control().release_capacity(data.len()).unwrap();
                        bytes.extend_from_slice(&data);
                    }
                    let trailers = body.trailers().await.unwrap().unwrap();
                    respond.send_response(Response::new(()), true).unwrap();
                    (value, bytes, trailers)
                };
                let mut read = std::pin::pin!(read);
                tokio::select! {
                    seen = &mut read => seen,
                    _ = async { while connection.accept().await.is_some() {} } => read.await,
                }
            });
            let (mut sender, fields) = over(near).await;
            let sent: Vec<u8> = (0..300_000_u32).map(|number| u8::try_from(number % 251).unwrap()).collect();
            let mut trailers = HeaderMap::new();
            trailers.insert("x-sum", HeaderValue::from_static("1"));
            let mut request = request(&token('t', 900), &[]);
            let replaced = fields.replace_token(request.headers_mut()).unwrap();
            let (response, mut stream) = sender.send_request(request, false).unwrap();
            fields.expect(response.stream_id().as_u32(), replaced);
            stream.send_data(Bytes::from(sent.clone()), false).unwrap();
            stream.send_trailers(trailers.clone()).unwrap();
            let _ = response.await;
            let (value, bytes, got) = seen.await.unwrap();
            assert_eq!(value, token('t', 900));
            assert!(bytes == sent);
            assert_eq!(got, trailers);
        })
        .await;
}

/// Counts what is written to it.
struct Counted {
    io: DuplexStream,
    written: Rc<Written>,
}

#[derive(Default)]
struct Written {
    calls: Cell<usize>,
    bytes: Cell<usize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.calls.set(self.written.calls.get() + 1);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.written.bytes.set(self.written.bytes.get() + written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn requests_that_come_together_are_one_write() {
    LocalSet::new()
        .run_until(async {
            let (near, far) = tokio::io::duplex(64 * 1024);
            serve(far);
            let written = Rc::<Written>::default();
            let (sender, fields) = over(Counted { io: near, written: Rc::clone(&written) }).await;
            check(&mut sender.clone(), &fields, &token('t', 900), &[], 10).await;
            let before = written.calls.get();
            let requests = (0..5).map(|_| {
                let (mut sender, fields) = (sender.clone(), fields.clone());
                async move { check(&mut sender, &fields, &token('t', 900), &[], 2000).await }
            });
            futures_util::future::join_all(requests).await;
            // One more for the frames that h2 sends about the responses.
            assert!(written.calls.get() - before <= 2, "{} writes", written.calls.get() - before);
        })
        .await;
}

#[test]
fn a_short_value_is_left_to_h2() {
    let mut headers = HeaderMap::new();
    assert!(AuthIndexing::default().replace_token(&mut headers).is_none());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer short"));
    assert!(AuthIndexing::default().replace_token(&mut headers).is_none());
    assert_eq!(headers[AUTHORIZATION], "Bearer short");
}

/// A string of these characters as h2 writes it.
fn huffman(text: &str) -> Vec<u8> {
    let bits: String = text.chars().map(|char| format!("{:05b}", "012aceio".find(char).unwrap())).collect();
    let bytes: Vec<u8> = bits
        .as_bytes()
        .chunks(8)
        .map(|bits| u8::from_str_radix(&format!("{:1<8}", str::from_utf8(bits).unwrap()), 2).unwrap())
        .collect();
    let mut string = vec![];
    match bytes.len() {
        short @ ..127 => string.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            let (low, high) = ((long - 127) % 128, (long - 127) / 128);
            assert!(high < 128);
            string.extend([0xff, u8::try_from(low).unwrap() | if high > 0 { 0x80 } else { 0 }]);
            string.extend((high > 0).then(|| u8::try_from(high).unwrap()));
        }
    }
    string.extend(bytes);
    string
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_request_arrives_as_it_was(
        buffer in 1_usize..20_000,
        exchanges in prop::collection::vec(
            ("[!-~]{0,40}", 8_usize..3000, prop::collection::vec(("x-[a-z]{1,9}", "[!-~]{0,60}"), 0..12), 0_usize..40_000),
            1..5,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let (mut sender, fields) = connected(buffer).await;
            for (begin, length, others, body) in exchanges {
                let value = format!("Bearer {begin}{}", "k".repeat(length));
                check(&mut sender, &fields, &value, &others, body).await;
            }
        });
    }
}
