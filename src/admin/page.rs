//! The files of the web page. They contain no data, so they need no key.
//!
//! The sources are in `page/assets`. `cargo xtask page` compresses them, and a test compares both.

mod files;

use std::io::{self, Read};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use flate2::bufread::GzDecoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub(super) use self::files::{FILES, File};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// The same for every file.
const FIELDS: [(HeaderName, &str); 8] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    // The next version of the program may have another page.
    (CACHE_CONTROL, "no-cache"),
    (VARY, "accept-encoding"),
];

// === impl File ===

impl File {
    /// Answers a request with these header fields.
    pub(super) fn response(&self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let is_known = request.get(IF_NONE_MATCH).is_some_and(|known| is_in_list(known, &tag));
        let mut response = match (is_known, accepts_gzip(request)) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, true) => ([(CONTENT_ENCODING, "gzip")], Body::from(self.gzip)).into_response(),
            (false, false) => match self.content() {
                Ok(content) => Body::from(content).into_response(),
                Err(error) => {
                    tracing::error!(path = self.path, %error, "a file of the page could not be decompressed");
                    StatusCode::INTERNAL_SERVER_ERROR.into_response()
                }
            },
        };
        let headers = response.headers_mut();
        for (name, value) in FIELDS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
        response
    }

    /// Weak, because both encodings have the same tag: the checksum and the length at the end of a gzip file (RFC 1952 §2.3.1).
    fn tag(&self) -> String {
        let end: String = self.gzip.iter().rev().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("W/\"{end}\"")
    }

    fn content(&self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        GzDecoder::new(self.gzip).read_to_end(&mut content)?;
        Ok(content)
    }
}

/// RFC 9110 §13.1.2: a weak comparison.
fn is_in_list(list: &HeaderValue, tag: &str) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    list.to_str().is_ok_and(|list| list.split(',').any(|known| known.trim() == "*" || opaque(known) == opaque(tag)))
}

/// RFC 9110 §12.5.3.
fn accepts_gzip(request: &HeaderMap) -> bool {
    request
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
            name.trim().eq_ignore_ascii_case("gzip") && !refused
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the program embeds, and what a browser loads.
    const MAX_GZIP: usize = 40_000;

    /// Whoever changes a source runs `cargo xtask page`.
    #[test]
    fn every_source_is_in_the_program_and_every_file_has_its_source() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/page/assets");
        let mut sources: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension != "gz"))
            .collect();
        for File { path, gzip, .. } in FILES {
            let name = path.strip_prefix("/assets/").unwrap_or("index.html");
            let source = std::fs::read(folder.join(name)).unwrap();
            let file = FILES.iter().find(|file| file.path == *path).unwrap();
            assert!(file.content().unwrap() == source, "{name}.gz is outdated: run `cargo xtask page`");
            assert_eq!(gzip[4..8], [0; 4], "{name}.gz has a time, so that it differs from build to build");
            sources.retain(|path| path.file_name().unwrap() != name);
        }
        assert!(sources.is_empty(), "not in FILES: {sources:?}");
    }

    #[test]
    fn the_page_is_small() {
        let gzip: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(gzip <= MAX_GZIP, "{gzip} bytes");
    }

    #[test]
    fn a_client_gets_what_it_accepts() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        for (value, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(accepts(value), expected, "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn a_file_has_its_fields_and_is_sent_once() {
        for file in FILES {
            let mut request = HeaderMap::new();
            let whole = file.response(&request);
            assert_eq!(whole.status(), StatusCode::OK);
            assert_eq!(whole.headers().get(CONTENT_ENCODING), None);
            request.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            let compressed = file.response(&request);
            assert_eq!(compressed.headers()[CONTENT_ENCODING], "gzip");
            request.insert(IF_NONE_MATCH, whole.headers()[ETAG].clone());
            let known = file.response(&request);
            assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
            for response in [whole, compressed, known] {
                for (name, value) in FIELDS {
                    assert_eq!(response.headers()[&name], value, "{}", file.path);
                }
            }
        }
    }
}
