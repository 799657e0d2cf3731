use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

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

/// h2's client above the writer, and a server of hyper's that answers with the `authorization` that it has read, and with the
/// number of fields, and of bytes in the body. `buffer`: as much as a write takes.
async fn connected(buffer: usize) -> (Sender, StandIns) {
    let (near, far) = tokio::io::duplex(buffer);
    serve(far);
    over(near).await
}

async fn over<T: AsyncRead + AsyncWrite + Unpin + 'static>(io: T) -> (Sender, StandIns) {
    let fields = StandIns::default();
    let (writer, flush) = FieldWriter::new(io, fields.clone());
    let (sender, connection) =
        h2::client::Builder::new().max_header_list_size(256 * 1024).handshake(writer).await.unwrap();
    tokio::task::spawn_local(drive(connection, flush));
    (sender, fields)
}

async fn drive<T>(mut connection: Connection<FieldWriter<T>, Bytes>, flush: Flush<T>)
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

async fn check(sender: &mut Sender, fields: &StandIns, value: &str, others: &[(String, String)], body: usize) {
    let mut request = request(value, others);
    let count = request.headers().len();
    let replaced = fields.put(request.headers_mut());
    assert_eq!(replaced.is_some(), value.len() >= WORTHWHILE);
    assert_eq!(request.headers()[AUTHORIZATION] == value, value.len() < WORTHWHILE);
    let (response, mut stream) = sender.clone().ready().await.unwrap().send_request(request, body == 0).unwrap();
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
            // Around each step of an integer's encoding, of a frame, and of two frames.
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
            assert_eq!(fields.0.borrow().len(), 3);
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
            fields.put(request.headers_mut()).unwrap();
            let (response, mut stream) = sender.send_request(request, false).unwrap();
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
    writes: Rc<Cell<usize>>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.set(self.writes.get() + 1);
        Pin::new(&mut self.io).poll_write(cx, buf)
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
            let writes = Rc::new(Cell::new(0));
            let (sender, fields) = over(Counted { io: near, writes: Rc::clone(&writes) }).await;
            check(&mut sender.clone(), &fields, &token('t', 900), &[], 10).await;
            let before = writes.get();
            let requests = (0..5).map(|_| {
                let (mut sender, fields) = (sender.clone(), fields.clone());
                async move { check(&mut sender, &fields, &token('t', 900), &[], 2000).await }
            });
            futures_util::future::join_all(requests).await;
            // And one for what h2 has to say to the answers.
            assert!(writes.get() - before <= 2, "{} writes", writes.get() - before);
        })
        .await;
}

#[test]
fn a_short_value_is_left_to_h2() {
    let mut headers = HeaderMap::new();
    assert!(StandIns::default().put(&mut headers).is_none());
    headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer short"));
    assert!(StandIns::default().put(&mut headers).is_none());
    assert_eq!(headers[AUTHORIZATION], "Bearer short");
}

#[test]
fn the_value_is_marked_as_never_to_be_indexed() {
    let stand_in = StandIn::new(&HeaderValue::from_str(&token('t', 900)).unwrap()).unwrap();
    assert_eq!(stand_in.sent[..2], [0x1f, 8]);
    assert!(stand_in.sent.ends_with(b"tttt"));
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
