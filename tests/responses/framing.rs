//! Responses whose HTTP is odd: broken middleboxes, and servers that write HTTP by hand.

use bearer_proxy::internals::token::RefreshOutcome::{self, Ambiguous, Ok};

use crate::{NEW_REFRESH, OLD_REFRESH, Row, filled, http};

const JSON: &str = r#"{"access_token":"@A","refresh_token":"@R","expires_in":60}"#;

pub fn rows() -> Vec<Row> {
    let json = filled(JSON);
    let length = json.len();
    let half = length / 2;
    let new =
        |name: &str, outcome: RefreshOutcome, response: String| Row::new(name, outcome, NEW_REFRESH, filled(&response));
    let old =
        |name: &str, outcome: RefreshOutcome, response: String| Row::new(name, outcome, OLD_REFRESH, filled(&response));
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let (first, second) = json.split_at(half);
    let many: String = (0..300).map(|number| format!("X-{number}: y\r\n")).collect();
    let mut rows = vec![
        // The length of the body.
        new("length too large", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", length + 9)),
        new("length too small", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: {half}\r\n\r\n{json}")),
        new("length one too small", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{json}", length - 1)),
        new("length zero", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{json}")),
        new("length that is no number", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{json}")),
        new("length negative", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{json}")),
        new(
            "two lengths",
            Ok,
            format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: {length}\r\n\r\n{json}"),
        ),
        new("no length", Ok, format!("HTTP/1.1 200 OK\r\n\r\n{json}")),
        new("length and chunks", Ok, format!("{chunked}Content-Length: 5\r\n\r\n{}0\r\n\r\n", chunk(&json))),
        new("behind a 204", Ok, format!("HTTP/1.1 204 No Content\r\n\r\n{json}")),
        new("cut behind the object", Ok, format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{json}\n")),
        new(
            "cut behind the successor",
            Ambiguous,
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"refresh_token\":\"@R\",\"access_tok".to_owned(),
        ),
        new(
            "a form that is cut behind the successor",
            Ambiguous,
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\naccess_token=@A&refresh_token=@R&expi".to_owned(),
        ),
        old(
            "a form that is cut within the successor",
            Ambiguous,
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\naccess_token=@A&refresh_token=@R".to_owned(),
        ),
        old(
            "cut within the successor",
            Ambiguous,
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"@A\",\"refresh_token\":\"@R".to_owned(),
        ),
        old("an empty body", Ambiguous, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned()),
        old("nothing behind the head", Ambiguous, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n".to_owned()),
        old("a head that is cut", Ambiguous, "HTTP/1.1 200 OK\r\nContent-Ty".to_owned()),
        // Chunks.
        new("chunks", Ok, format!("{chunked}\r\n{}{}0\r\n\r\n", chunk(first), chunk(second))),
        new("chunks, the last one missing", Ok, format!("{chunked}\r\n{}{}", chunk(first), chunk(second))),
        new("chunks with trailers", Ok, format!("{chunked}\r\n{}0\r\nX: y\r\n\r\n", chunk(&json))),
        new("chunks with extensions", Ok, format!("{chunked}\r\n{length:x};a=b\r\n{json}\r\n0\r\n\r\n")),
        new("called chunked, but whole", Ok, format!("{chunked}\r\n{json}")),
        new("a chunk larger than it says", Ok, format!("{chunked}\r\n{half:x}\r\n{json}\r\n0\r\n\r\n")),
        new("a chunk smaller than it says", Ok, format!("{chunked}\r\n{:x}\r\n{json}\r\n0\r\n\r\n", length + 90)),
        new(
            "chunks without line ends",
            Ok,
            format!("{chunked}\r\n{half:x}\r\n{first}{:x}\r\n{second}0\r\n\r\n", length - half),
        ),
        new("chunks cut within the last size", Ok, format!("{chunked}\r\n{}{:x}", chunk(&json), 7)),
        new("chunks with bare line feeds", Ok, format!("{chunked}\r\n{length:x}\n{json}\n0\n\n")),
        // The head.
        new("HTTP/1.0", Ok, format!("HTTP/1.0 200 OK\r\n\r\n{json}")),
        new("no reason phrase", Ok, format!("HTTP/1.1 200\r\n\r\n{json}")),
        new("bare line feeds", Ok, format!("HTTP/1.1 200 OK\nContent-Type: application/json\n\n{json}")),
        new("300 fields", Ok, format!("HTTP/1.1 200 OK\r\n{many}\r\n{json}")),
        new("a field of 200 KiB", Ok, format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n{json}", "y".repeat(200 << 10))),
        new("a field without a colon", Ok, format!("HTTP/1.1 200 OK\r\nPHP Warning\r\n\r\n{json}")),
        new("a blank before a colon", Ok, format!("HTTP/1.1 200 OK\r\nX : y\r\n\r\n{json}")),
        new("a control character in a field", Ok, format!("HTTP/1.1 200 OK\r\nX: \u{1}\r\n\r\n{json}")),
        new("a folded field", Ok, format!("HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n{json}")),
        new("a field without a name", Ok, format!("HTTP/1.1 200 OK\r\n: y\r\n\r\n{json}")),
        new("unknown transfer coding", Ok, format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n{json}")),
        new("HTTP/1.2", Ok, format!("HTTP/1.2 200 OK\r\n\r\n{json}")),
        new("a notice before the status line", Ok, format!("Warning: x\r\nHTTP/1.1 200 OK\r\n\r\n{json}")),
        new("empty lines before the status line", Ok, format!("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{json}")),
        new(
            "an interim response",
            Ok,
            format!("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{json}"),
        ),
        new(
            "two interim responses",
            Ok,
            format!("{0}{0}HTTP/1.1 200 OK\r\n\r\n{json}", "HTTP/1.1 100 Continue\r\n\r\n"),
        ),
        new(
            "another response behind it",
            Ok,
            format!(
                "{}HTTP/1.1 400 Bad Request\r\n\r\n",
                String::from_utf8(http("200 OK", "", json.as_bytes())).unwrap()
            ),
        ),
        new(
            "an upgrade that nobody asked for",
            Ok,
            format!("HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n{json}"),
        ),
        old("not HTTP", Ambiguous, "SSH-2.0-OpenSSH_9.9\r\n".to_owned()),
        old("nothing at all", Ambiguous, String::new()),
    ];
    for keep in ["Connection: keep-alive\r\n", ""] {
        let mut row = new(
            "a server that keeps the connection",
            Ok,
            format!("HTTP/1.1 200 OK\r\n{keep}Content-Length: {half}\r\n\r\n{json}"),
        );
        row.stays_open = true;
        rows.push(row);
    }
    rows
}
