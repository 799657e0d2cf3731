//! What the fuzz targets (`fuzz/`) call, and the tests that replay their corpora. A target is a function of any bytes that returns
//! where the program keeps what it promises, and panics where it does not; it stands beside the code that it tries.
//!
//! | target | tries |
//! |---|---|
//! | [`answer`] | what an answer of the token endpoint is taken for |
//! | [`document`] | what a store reads back |
//! | [`headers`] | header hygiene, both directions |
//! | [`path`] | the allow-list, and the patterns that it is made of |
//! | [`config`] | a configuration's file and environment |

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::config::fuzzing::config;
pub use crate::proxy::guard::fuzzing::path;
pub use crate::proxy::headers::fuzzing::headers;
pub use crate::token::endpoint::fuzzing::answer;
pub use crate::token::store::fuzzing::document;

/// An input that looks like a message of HTTP/1.1, so that a person can read and write it.
pub(crate) struct Message<'a> {
    pub(crate) line: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'a [u8],
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Lines that are no fields are passed over.
    pub(crate) fn read(data: &'a [u8]) -> Self {
        let end = data.windows(2).position(|pair| pair == b"\n\n");
        let (head, body) = end.map_or((data, &[][..]), |end| (&data[..end], &data[end + 2..]));
        let mut lines = head.split(|byte| *byte == b'\n');
        let line = lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
        let mut headers = HeaderMap::new();
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.append(name, value);
            }
        }
        Self { line, headers, body }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every input that is worth keeping, under the ordinary test command.
    fn replay(target: &str, run: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut count = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count >= 20, "{} has {count} files", folder.display());
    }

    #[test]
    fn the_corpus_of_answers_holds() {
        replay("answer", super::answer);
    }

    #[test]
    fn the_corpus_of_documents_holds() {
        replay("document", super::document);
    }

    #[test]
    fn the_corpus_of_headers_holds() {
        replay("headers", super::headers);
    }

    #[test]
    fn the_corpus_of_paths_holds() {
        replay("path", super::path);
    }

    #[test]
    fn the_corpus_of_configurations_holds() {
        let folder = tempfile::tempdir().unwrap();
        replay("config", |data| super::config(folder.path(), data));
    }
}
