//! Responses in content codings and character encodings that the client did not request, and large responses.

use std::io::Write;

use bearer_proxy::internals::token::RefreshOutcome::{self, Ambiguous, Ok, Rejected};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::{NEW_REFRESH, OLD_REFRESH, Row, filled, http};

pub fn rows() -> Vec<Row> {
    let json = filled(r#"{"access_token":"@A","refresh_token":"@R","expires_in":60}"#);
    let json = json.as_bytes();
    let padded = [b"{\"x\":\"", "y".repeat(1_200_000).as_bytes(), b"\",", &json[1..]].concat();
    let cut = |mut bytes: Vec<u8>, by: usize| {
        bytes.truncate(bytes.len() - by);
        bytes
    };
    let wide = |read: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(read).collect::<Vec<u8>>();
    let text = str::from_utf8(json).unwrap();
    let marked = format!("\u{feff}{text}");
    let no = br#"{"error":"invalid_grant"}"#;
    let rows: Vec<(&str, &str, Vec<u8>, RefreshOutcome, &str)> = vec![
        ("200 OK", "gzip", gzip(json), Ok, "gzip"),
        ("200 OK", "x-gzip", gzip(json), Ok, "x-gzip"),
        ("200 OK", "GZIP", gzip(json), Ok, "gzip in capitals"),
        ("200 OK", "identity", gzip(json), Ok, "gzip, called identity"),
        ("200 OK", "gzip", json.to_vec(), Ok, "called gzip, but plain"),
        ("200 OK", "gzip, gzip", gzip(&gzip(json)), Ok, "gzip twice"),
        ("200 OK", "gzip", cut(gzip(json), 8), Ok, "gzip without its checksum"),
        ("200 OK", "gzip", [gzip(json), b"\n<!-- x -->".to_vec()].concat(), Ok, "gzip with text behind"),
        ("200 OK", "deflate", zlib(json), Ok, "deflate"),
        ("200 OK", "deflate", deflate(json), Ok, "deflate without the header of zlib"),
        ("200 OK", "deflate", json.to_vec(), Ok, "called deflate, but plain"),
        ("200 OK", "br", json.to_vec(), Ok, "called br, but plain"),
        ("200 OK", "nonsense", json.to_vec(), Ok, "unknown coding"),
        ("200 OK", "gzip", gzip(&padded), Ok, "gzip of 1.2 MiB"),
        ("200 OK", "identity", padded, Ok, "1.2 MiB"),
        ("200 OK", "identity", marked.as_bytes().to_vec(), Ok, "a byte order mark"),
        ("200 OK", "identity", wide(u16::to_le_bytes, &marked), Ok, "UTF-16, little-endian"),
        ("200 OK", "identity", wide(u16::to_be_bytes, &marked), Ok, "UTF-16, big-endian"),
        ("200 OK", "identity", wide(u16::to_le_bytes, text), Ok, "UTF-16 without a mark"),
        ("200 OK", "identity", [b"\xff\xe9\n", json].concat(), Ok, "Latin-1 before"),
        ("200 OK", "identity", [b"{\"x\":\"\xe9\",", &json[1..]].concat(), Ok, "Latin-1 within"),
        ("200 OK", "identity", [b"\0\0", json].concat(), Ok, "NULs before"),
        ("200 OK", "identity", [json, &[0; 512]].concat(), Ok, "NULs behind"),
    ];
    let mut rows: Vec<Row> = rows
        .into_iter()
        .map(|(status, coding, body, outcome, name)| {
            Row::new(name, outcome, NEW_REFRESH, http(status, &format!("Content-Encoding: {coding}\r\n"), &body))
        })
        .collect();
    let gzipped = "Content-Encoding: gzip\r\n";
    let bomb = gzip(&vec![b' '; 24 << 20]);
    rows.push(Row::new("a decompression bomb", Ambiguous, OLD_REFRESH, http("200 OK", gzipped, &bomb)));
    rows.push(Row::new("brotli", Ambiguous, OLD_REFRESH, http("200 OK", "Content-Encoding: br\r\n", b"\x8b\x03\x80x")));
    rows.push(Row::new("a refusal in gzip", Rejected, OLD_REFRESH, http("400 Bad Request", gzipped, &gzip(no))));
    rows
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}
