//! The text of a response's body, whatever content coding and character encoding the server chose.
//!
//! The request asks for no coding, but some servers and middleboxes apply one. The first bytes of a body are more reliable than
//! `Content-Encoding`: some middleboxes decode a body and keep the field, and others do the reverse.

use std::io::Read;

use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use zeroize::Zeroizing;

/// The largest body, both as sent and as decompressed.
pub(super) const MAX_BODY: usize = 16 << 20;

/// The server may compress a body, and a middlebox may compress it again.
const MAX_CODINGS: usize = 3;

/// The text of a body, up to the first byte that can't be decompressed, or up to [`MAX_BODY`].
pub(super) fn text(headers: &HeaderMap, body: &[u8]) -> Zeroizing<String> {
    let mut decoded;
    let mut bytes = body;
    for _ in 0..MAX_CODINGS {
        let Some(next) = decompressed(headers, bytes) else { break };
        decoded = next;
        bytes = &decoded;
    }
    Zeroizing::new(characters(bytes.trim_ascii()))
}

/// `None`: it is not compressed.
fn decompressed(headers: &HeaderMap, body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let deflate = || {
        let codings = headers.get_all(CONTENT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
        codings.flat_map(|codings| codings.split(',')).any(|coding| coding.trim().eq_ignore_ascii_case("deflate"))
    };
    match body {
        [0x1f, 0x8b, ..] => Some(bounded(GzDecoder::new(body))),
        // The header of zlib (RFC 1950 §2.2). No JSON, form or page begins with it.
        [0x78, second, ..] if (0x7800 + u16::from(*second)) % 31 == 0 => Some(bounded(ZlibDecoder::new(body))),
        // Some servers send raw deflate without that header. Decompressing a plain text would yield garbage.
        _ if deflate() && !is_text(body) => Some(bounded(DeflateDecoder::new(body))),
        _ => None,
    }
}

/// Detects the coding by the first bytes.
fn is_text(body: &[u8]) -> bool {
    body.iter().take(16).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

/// Decompresses as far as possible, up to the limit.
fn bounded(decoder: impl Read) -> Zeroizing<Vec<u8>> {
    let mut decoded = Zeroizing::new(Vec::new());
    // An error ends the body like a lost connection. The bytes before it count.
    let _ = decoder.take(MAX_BODY as u64).read_to_end(&mut decoded);
    decoded
}

/// Decodes UTF-8, or UTF-16 if the first bytes indicate it.
fn characters(bytes: &[u8]) -> String {
    let utf16 = |read: fn([u8; 2]) -> u16| {
        let units = bytes.chunks_exact(2).map(|pair| read([pair[0], pair[1]]));
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect::<String>()
    };
    let text = match bytes {
        [0xff, 0xfe, ..] => utf16(u16::from_le_bytes),
        [0xfe, 0xff, ..] => utf16(u16::from_be_bytes),
        // Without a byte order mark: the first two characters of JSON are ASCII.
        [first, 0, second, 0, ..] if *first != 0 && *second != 0 => utf16(u16::from_le_bytes),
        [0, first, 0, second, ..] if *first != 0 && *second != 0 => utf16(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    };
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const JSON: &str = r#"{"access_token":"x","refresh_token":"y"}"#;

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

    fn coded(coding: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_str(coding).unwrap())])
    }

    #[test]
    fn a_body_is_decompressed_whatever_its_header_says() {
        let json = JSON.as_bytes();
        let rows = [
            ("gzip", gzip(json)),
            ("x-gzip", gzip(json)),
            ("identity", gzip(json)),
            ("gzip", json.to_vec()),
            ("gzip, gzip", gzip(&gzip(json))),
            ("deflate", zlib(json)),
            ("deflate", deflate(json)),
            ("deflate", json.to_vec()),
            ("br", json.to_vec()),
            // The checksum behind the data is damaged or cut off.
            ("gzip", gzip(json).split_last_chunk::<8>().unwrap().0.to_vec()),
            ("gzip", [gzip(json), b"trailing garbage".to_vec()].concat()),
        ];
        for (number, (coding, body)) in rows.into_iter().enumerate() {
            assert_eq!(*text(&coded(coding), &body), JSON, "row {number}: {coding}");
        }
    }

    #[test]
    fn a_decompression_bomb_is_bounded() {
        let bomb = gzip(&vec![b' '; 4 * MAX_BODY]);
        assert!(bomb.len() < 100_000);
        assert_eq!(bounded(GzDecoder::new(&*bomb)).len(), MAX_BODY);
        assert_eq!(*text(&HeaderMap::new(), &bomb), "");
    }

    #[test]
    fn a_text_is_read_in_any_common_encoding() {
        let wide = |read: fn(u16) -> [u8; 2], text: &str| text.encode_utf16().flat_map(read).collect::<Vec<u8>>();
        let marked = format!("\u{feff}{JSON}");
        let rows = [
            JSON.as_bytes().to_vec(),
            marked.as_bytes().to_vec(),
            wide(u16::to_le_bytes, &marked),
            wide(u16::to_be_bytes, &marked),
            wide(u16::to_le_bytes, JSON),
            wide(u16::to_be_bytes, JSON),
        ];
        for (number, body) in rows.into_iter().enumerate() {
            assert_eq!(*text(&HeaderMap::new(), &body), JSON, "row {number}");
        }
        assert_eq!(*text(&HeaderMap::new(), b"{\"x\":\"\xff\"}"), "{\"x\":\"\u{fffd}\"}");
    }
}
