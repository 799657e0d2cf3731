//! A block that does not restore the token of its request is not sent, whatever form h2 wrote.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Its switch is its own, because the real one belongs to the process.
fn auth_indexing() -> AuthIndexing {
    AuthIndexing::with_switch(Box::leak(Box::new(AtomicBool::new(false))))
}

/// The only field of a request, as h2 gets it.
fn replaced(fields: &AuthIndexing, value: &str) -> (Replaced, HeaderName, HeaderValue) {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    let replaced = fields.replace_token(&mut headers).unwrap();
    let (name, value) = headers.iter().next().unwrap();
    (replaced, name.clone(), value.clone())
}

/// RFC 7541 §5.1.
fn integer(first: u8, prefix: u32, value: usize) -> Vec<u8> {
    let full = (1_usize << prefix) - 1;
    if value < full {
        return vec![first | u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![first | u8::try_from(full).unwrap()];
    let mut rest = value - full;
    while rest > 0x7f {
        bytes.push(0x80 | u8::try_from(rest & 0x7f).unwrap());
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// A string without Huffman coding.
fn plain(text: &str) -> Vec<u8> {
    [integer(0, 7, text.len()), text.as_bytes().to_vec()].concat()
}

fn field(coding: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[coding][..], name, value].concat()
}

/// The block after restoring. `None`: it was refused.
fn resolved(fields: &AuthIndexing, stream: u32, block: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let resolved = fields.restore(stream, block, &mut out);
    assert_eq!(resolved.is_err(), out == b"before", "what is refused is not written");
    resolved.is_ok().then_some(out)
}

#[test]
fn a_stand_in_that_is_written_in_another_way_is_refused() {
    let value = token('t', 900);
    type Coded = fn(&str, &str) -> Vec<u8>;
    let rows: &[(&str, bool, Coded)] = &[
        ("as h2 does", true, |name, value| field(0x40, &huffman(name), &huffman(value))),
        ("as h2 does for a small table", true, |name, value| field(0x00, &huffman(name), &huffman(value))),
        ("never indexed", false, |name, value| field(0x10, &huffman(name), &huffman(value))),
        ("not Huffman-coded", false, |name, value| field(0x40, &plain(name), &plain(value))),
        ("its value not Huffman-coded", false, |name, value| field(0x40, &huffman(name), &plain(value))),
        ("its name by an index", false, |_, value| field(0x40 | 62, &[], &huffman(value))),
        ("an index of another entry", false, |_, _| vec![0x80 | 62]),
        ("a static index", false, |_, _| vec![0x80 | 23]),
        ("not at all", false, |_, _| vec![0x82]),
        ("cut short", false, |name, value| {
            let mut field = field(0x40, &huffman(name), &huffman(value));
            field.pop();
            field
        }),
        ("behind what is not HPACK", false, |name, value| {
            [vec![0x40, 0x7f, 0xff], field(0x40, &huffman(name), &huffman(value))].concat()
        }),
    ];
    for (how, restored, coded) in rows {
        let fields = auth_indexing();
        let (replaced, name, placeholder) = replaced(&fields, &value);
        fields.expect(1, replaced);
        let block = coded(name.as_str(), placeholder.to_str().unwrap());
        match resolved(&fields, 1, &block) {
            Some(out) => assert!(*restored && String::from_utf8_lossy(&out).contains(&value), "{how}"),
            None => assert!(!restored, "{how}"),
        }
        assert_eq!(fields.off.load(Ordering::Relaxed), !restored, "{how}");
    }
}

#[test]
fn a_short_stand_in_that_is_written_in_another_way_is_refused() {
    // Too long for the tables.
    let value = token('t', 5000);
    type Coded = fn(&str) -> Vec<u8>;
    let rows: &[(&str, bool, Coded)] = &[
        ("as h2 does", true, |value| field(0x0f, &[8], &huffman(value))),
        ("not Huffman-coded", false, |value| field(0x0f, &[8], &plain(value))),
        ("indexed", false, |value| field(0x40 | 23, &[], &huffman(value))),
        ("never indexed", false, |value| field(0x1f, &[8], &huffman(value))),
        ("with its name", false, |value| field(0x00, &plain("authorization"), &huffman(value))),
    ];
    for (how, restored, coded) in rows {
        let fields = auth_indexing();
        let (replaced, name, placeholder) = replaced(&fields, &value);
        assert_eq!(name, AUTHORIZATION);
        fields.expect(1, replaced);
        match resolved(&fields, 1, &coded(placeholder.to_str().unwrap())) {
            Some(out) => assert!(*restored && String::from_utf8_lossy(&out).contains(&value), "{how}"),
            None => assert!(!restored, "{how}"),
        }
    }
}

#[test]
fn an_index_restores_only_the_value_that_was_taken() {
    let fields = auth_indexing();
    let block = |name: &HeaderName, value: &HeaderValue| {
        field(0x40, &huffman(name.as_str()), &huffman(value.to_str().unwrap()))
    };
    let (first, name, value) = replaced(&fields, &token('a', 900));
    fields.expect(1, first);
    resolved(&fields, 1, &block(&name, &value)).unwrap();
    let (second, name, value) = replaced(&fields, &token('b', 900));
    fields.expect(3, second);
    // With another entry after it: now the first is 64 and the second 63.
    resolved(&fields, 3, &[block(&name, &value), vec![0x40, 1, b'x', 1, b'y']].concat()).unwrap();
    fields.expect(5, first);
    assert_eq!(resolved(&fields, 5, &[0x82, 0x80 | 64]).unwrap(), b"before\x82\xc0");
    fields.expect(7, second);
    // Stream 7 was cancelled, and its block never came. Trailers restore nothing.
    fields.expect(9, second);
    resolved(&fields, 9, &[0x80 | 63]).unwrap();
    resolved(&fields, 9, &[0x40, 1, b'z', 0]).unwrap();
    fields.expect(11, second);
    resolved(&fields, 11, &[0x80 | 64]).unwrap();
    // The token of the other generation.
    fields.expect(13, second);
    assert_eq!(resolved(&fields, 13, &[0x80 | 65]), None);
}

#[tokio::test]
async fn a_block_without_its_token_ends_the_connection_before_a_byte_of_it() {
    let fields = auth_indexing();
    let (replaced, name, placeholder) = replaced(&fields, &token('t', 900));
    fields.expect(1, replaced);
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let (mut writer, flush) = RestoringWriter::new(near, fields.clone());
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    writer.write_all(&[PREFACE, &settings].concat()).await.unwrap();
    let block = field(0x40, &plain(name.as_str()), &plain(placeholder.to_str().unwrap()));
    let length = u8::try_from(block.len() >> 8).unwrap();
    let head = [0, length, u8::try_from(block.len() & 0xff).unwrap(), 1, 5, 0, 0, 0, 1];
    // In two pieces: only a whole block can be judged.
    writer.write_all(&[&head[..], &block[..10]].concat()).await.unwrap();
    let error = writer.write_all(&block[10..]).await.unwrap_err();
    assert!(error.get_ref().is_some_and(|error| error.is::<NotRestored>()), "{error}");
    assert!(writer.write_all(b"more").await.is_err() && writer.flush().await.is_err());
    std::future::poll_fn(|cx| Poll::Ready(flush.poll(cx))).await;
    drop((writer, flush));
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, [PREFACE, &settings].concat(), "a byte of the request was sent");
    // From now on h2 gets the value itself, on every connection.
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&token('t', 900)).unwrap());
    let other = AuthIndexing::with_switch(fields.off);
    assert!(fields.replace_token(&mut headers).is_none() && other.replace_token(&mut headers).is_none());
    assert_eq!(headers[AUTHORIZATION], token('t', 900));
}
