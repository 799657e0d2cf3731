//! Detects requests that a browser sends for a page of another site (cross-site request forgery, WebSocket hijacking).
//!
//! Such a page can do harm without reading a response. A POST without a preflight, or a WebSocket, reaches everything that the browser
//! can reach, including loopback. Browsers name the page's site in fields that no script can change. A request without these fields
//! comes from a program or from an old browser, which cannot be distinguished.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::PageOrigin;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// `host`: the host and port of the request's target. `admitted`: `guard.origins`.
///
/// `Sec-Fetch-Site` decides if it is present. Browsers send it only to origins that they trust: HTTPS and loopback.
pub(super) fn is_cross_site(headers: &HeaderMap, host: Option<&str>, admitted: &[PageOrigin]) -> bool {
    let (sites, origins) = (headers.get_all(SEC_FETCH_SITE), headers.get_all(ORIGIN));
    let (has_site, has_origin) = (sites.iter().next().is_some(), origins.iter().next().is_some());
    let is_own = |origin| read(origin).zip(host).is_some_and(|(origin, host)| origin.is_served_by(host));
    let is_foreign = match (has_site, has_origin) {
        (false, false) => return false,
        (true, _) => !sites.iter().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")),
        (false, true) => !origins.iter().all(is_own),
    };
    let is_admitted = |origin| read(origin).is_some_and(|origin| admitted.contains(&origin));
    is_foreign && !(has_origin && origins.iter().all(is_admitted))
}

fn read(origin: &HeaderValue) -> Option<PageOrigin> {
    PageOrigin::parse(origin.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: Option<&str>, lines: &[(&'static str, &'static str)]) -> bool {
        let admitted = ["https://app.example", "chrome-extension://abc"].map(|text| PageOrigin::parse(text).unwrap());
        let lines = lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        is_cross_site(&lines.collect(), host, &admitted)
    }

    #[test]
    fn a_page_of_another_site_is_told_by_its_browser() {
        let (site, origin) = ("sec-fetch-site", "origin");
        for (lines, foreign) in [
            (&[][..], false),
            (&[(site, "same-origin")], false),
            (&[(site, "none")], false),
            (&[(site, "cross-site")], true),
            // A sibling domain is another origin.
            (&[(site, "same-site")], true),
            (&[(site, "")], true),
            (&[(site, "Same-Origin")], true),
            (&[(site, "same-origin, none")], true),
            (&[(site, "same-origin"), (site, "cross-site")], true),
            (&[(origin, "http://localhost:8080")], false),
            (&[(origin, "https://localhost:8080")], false),
            (&[(origin, "ws://LOCALHOST:8080")], false),
            (&[(origin, "http://localhost")], true),
            (&[(origin, "http://localhost:3000")], true),
            (&[(origin, "https://evil.example")], true),
            (&[(origin, "null")], true),
            (&[(origin, "")], true),
            (&[(origin, "http://localhost:8080"), (origin, "null")], true),
            // The first decides, whatever the second says.
            (&[(site, "cross-site"), (origin, "http://localhost:8080")], true),
            (&[(site, "same-origin"), (origin, "https://evil.example")], false),
            (&[(site, "none"), (origin, "null")], false),
            // Origins that the operator named.
            (&[(origin, "https://app.example")], false),
            (&[(origin, "https://APP.example:443")], false),
            (&[(origin, "chrome-extension://abc")], false),
            (&[(site, "cross-site"), (origin, "https://app.example")], false),
            (&[(site, "cross-site"), (origin, "http://app.example")], true),
            (&[(site, "cross-site"), (origin, "https://app.example:8443")], true),
            (&[(origin, "https://app.example"), (origin, "https://evil.example")], true),
        ] {
            assert_eq!(verdict(Some("localhost:8080"), lines), foreign, "{lines:?}");
        }
        assert!(verdict(None, &[(origin, "http://localhost")]), "nothing to compare with");
        assert!(!verdict(Some("a"), &[(origin, "https://a")]));
        assert!(!verdict(Some("a:443"), &[(origin, "wss://a")]));
    }
}
