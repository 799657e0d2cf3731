//! The functions of the fuzz targets (`fuzz/`), and the tests that replay their corpora.
//!
//! A function takes any bytes, and panics if the program breaks a promise. It is next to the code that it tests.
//!
//! | target | input |
//! |---|---|
//! | [`answer`] | a response of the token endpoint |
//! | [`document`] | a stored document |
//! | [`headers`] | the headers of a request and a response |
//! | [`path`] | an allow-list and a path |
//! | [`config`] | a configuration: its file and environment |

use http::{HeaderMap, HeaderName, HeaderValue};

pub use crate::config::fuzzing::config;
pub use crate::proxy::guard::fuzzing::path;
pub use crate::proxy::headers::fuzzing::headers;
pub use crate::token::endpoint::fuzzing::answer;
pub use crate::token::store::fuzzing::document;

/// An input in the format of an HTTP/1.1 message, which a person can read and write.
pub(crate) struct Message<'a> {
    pub(crate) line: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: &'a [u8],
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Ignores lines that are not fields.
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

    /// Runs every input of the corpus.
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
