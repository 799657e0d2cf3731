//! The check of a redirect URI (league's `RedirectUriValidator`).

use url::{Host, Url};

use super::options::Client;

/// An exact match, except for the port of an `http` URI on a loopback address (RFC 8252 §7.3). `localhost` is a name and not an
/// address, so its port must match.
pub(super) fn is_registered(client: &Client, uri: &str) -> bool {
    match without_port(uri) {
        Some(wanted) => client.redirect_uris.iter().any(|known| without_port(known).as_ref() == Some(&wanted)),
        None => client.redirect_uris.iter().any(|known| known == uri),
    }
}

/// None if it is not on a loopback address.
fn without_port(uri: &str) -> Option<Url> {
    let mut url = Url::parse(uri).ok().filter(|url| url.scheme() == "http")?;
    let is_loopback = match url.host()? {
        Host::Ipv4(address) => address.octets() == [127, 0, 0, 1],
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(_) => false,
    };
    url.set_port(None).ok()?;
    is_loopback.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_may_change_its_port() {
        let registered =
            ["http://127.0.0.1/callback", "http://[::1]/cb", "http://localhost/cb", "https://app.example/cb"];
        let client =
            Client { redirect_uris: registered.iter().map(|uri| (*uri).to_owned()).collect(), ..Client::default() };
        let cases = [
            ("http://127.0.0.1/callback", true),
            ("http://127.0.0.1:49152/callback", true),
            ("http://127.0.0.1:49152/other", false),
            ("https://127.0.0.1:49152/callback", false),
            ("http://127.0.0.2/callback", false),
            ("http://[::1]:8000/cb", true),
            ("http://localhost/cb", true),
            ("http://localhost:8000/cb", false),
            ("https://app.example/cb", true),
            ("https://app.example:8443/cb", false),
            ("https://app.example/cb/", false),
            ("not a uri", false),
        ];
        for (uri, expected) in cases {
            assert_eq!(is_registered(&client, uri), expected, "{uri}");
        }
    }
}
