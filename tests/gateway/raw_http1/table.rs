//! The table's format.

const TEXT: &str = include_str!("requests.txt");

#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    /// The RFC's section.
    pub rule: String,
    pub sent: Vec<u8>,
    /// The statuses. Empty: the connection ends without a response.
    pub answers: Vec<u16>,
    /// Method, target, and body if there is one, escaped.
    pub seen: Vec<String>,
}

pub fn read() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in TEXT.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            assert!(rows.iter().all(|row| row.name != name), "{name} is there twice");
            let (rule, sent, answers, seen) = Default::default();
            rows.push(Row { name: name.to_owned(), rule, sent, answers, seen });
            continue;
        }
        let Some(row) = rows.last_mut() else { continue };
        match line.split_once(' ') {
            Some(("rule", rule)) => row.rule = rule.to_owned(),
            Some(("send", text)) => row.sent.extend(unescape(text)),
            Some(("answer", "closed")) => {}
            Some(("answer", statuses)) => row.answers = statuses.split(' ').map(|code| code.parse().unwrap()).collect(),
            Some(("seen", text)) => row.seen.push(escape(&unescape(text))),
            _ => assert!(line.is_empty() || line.starts_with('#'), "{line}"),
        }
    }
    assert!(rows.iter().all(|row| !row.rule.is_empty() && !row.sent.is_empty()), "a row is not complete");
    rows
}

/// As text, for comparison.
pub fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '\\' => match rest.as_bytes()[1] {
                b'x' => {
                    bytes.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                    4
                }
                letter => {
                    let known = [(b'r', b'\r'), (b'n', b'\n'), (b't', b'\t'), (b'0', 0), (b'\\', b'\\')];
                    bytes.push(known.iter().find(|(known, _)| *known == letter).unwrap().1);
                    2
                }
            },
            '{' => {
                let end = rest.find('}').unwrap();
                let (piece, count) = rest[1..end].rsplit_once('*').unwrap();
                bytes.extend(unescape(piece).repeat(count.parse().unwrap()));
                end + 1
            }
            other => {
                bytes.extend(other.to_string().bytes());
                other.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}
