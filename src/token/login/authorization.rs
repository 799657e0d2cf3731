//! One authorization request, and the check of what comes back.

use std::fmt;

use url::Url;

use super::pkce;
use super::{Callback, LoginError};
use crate::config::{LoginConfig, TokenEndpoint};
use crate::secret::Secret;
use crate::token::NoRandomness;

/// An authorization request (RFC 6749 §4.1.1) that waits for its response.
pub struct Authorization {
    redirect_uri: String,
    /// `None`: the server has no authorization page. It shows codes in its own interface.
    request: Option<Request>,
}

struct Request {
    url: Url,
    state: Secret,
    verifier: Secret,
}

/// The response belongs to another request: it was forged, or it is the answer to an earlier login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongState;

// === impl Authorization ===

impl Authorization {
    /// `redirect_uri`: as the server must read it. The token request repeats it byte for byte.
    ///
    /// # Errors
    /// The operating system supplies no random numbers.
    pub fn new(client: &TokenEndpoint, login: &LoginConfig, redirect_uri: &str) -> Result<Self, NoRandomness> {
        let request = login.authorize_url.as_ref().map(|url| Request::new(client, login, url, redirect_uri));
        Ok(Self { redirect_uri: redirect_uri.to_owned(), request: request.transpose()? })
    }

    /// Where the person logs in.
    pub fn url(&self) -> Option<&Url> {
        self.request.as_ref().map(|request| &request.url)
    }

    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    pub(super) fn verifier(&self) -> Option<&Secret> {
        self.request.as_ref().map(|request| &request.verifier)
    }

    /// The state comes first: without it, anyone could end a login with a forged error.
    ///
    /// # Errors
    /// The response belongs to another request.
    pub fn check(&self, callback: &Callback) -> Result<(), WrongState> {
        match (&self.request, callback) {
            // PKCE ties a bare code to this request at the server.
            (_, Callback::BareCode(_)) | (None, _) => Ok(()),
            (Some(request), Callback::Code { state, .. } | Callback::Error { state, .. }) => {
                if state.as_ref() == Some(&request.state) { Ok(()) } else { Err(WrongState) }
            }
        }
    }

    /// The code of a response that was checked.
    ///
    /// # Errors
    /// The response is an error (RFC 6749 §4.1.2.1).
    pub fn code(callback: Callback) -> Result<Secret, LoginError> {
        match callback {
            Callback::Code { code, .. } | Callback::BareCode(code) => Ok(code),
            Callback::Error { error, description, .. } => {
                let said = if description.is_empty() { error.clone() } else { format!("{error}: {description}") };
                Err(if error == "access_denied" { LoginError::Denied { said } } else { LoginError::Refused { said } })
            }
        }
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization").field("redirect_uri", &self.redirect_uri).finish_non_exhaustive()
    }
}

// === impl Request ===

impl Request {
    fn new(client: &TokenEndpoint, login: &LoginConfig, url: &Url, redirect_uri: &str) -> Result<Self, NoRandomness> {
        let (state, verifier) = (pkce::random()?, pkce::random()?);
        let mut url = url.clone();
        // A query of the configured URL is kept (RFC 6749 §3.1).
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .extend_pairs(login.scope.iter().map(|scope| ("scope", scope)))
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &pkce::challenge(&verifier))
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(login.parameters.iter().map(|(name, value)| (name, value.expose())));
        Ok(Self { url, state, verifier })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{Config, GrantConfig, Sources};

    fn authorization(more: &[(&str, &str)]) -> Authorization {
        let base = [("BEARER_PROXY_OAUTH__CLIENT_ID", "7"), ("BEARER_PROXY_OAUTH__CLIENT_SECRET", "canary")];
        let variables = base.iter().chain(more).map(|(name, value)| (name.to_string(), value.to_string()));
        let config = Config::load(&Sources::new(None, variables)).unwrap().config;
        let GrantConfig::RefreshToken { endpoint, .. } = &config.oauth.grant else { panic!("another grant") };
        Authorization::new(endpoint, &config.oauth.login, "http://127.0.0.1:4000/callback").unwrap()
    }

    fn query(authorization: &Authorization) -> HashMap<String, String> {
        authorization.url().unwrap().query_pairs().into_owned().collect()
    }

    #[test]
    fn a_request_has_what_the_server_needs_and_nothing_secret() {
        let authorization = authorization(&[
            ("BEARER_PROXY_OAUTH__AUTHORIZE_URL", "https://as.example/authorize?tenant=x"),
            ("BEARER_PROXY_OAUTH__AUTHORIZE_PARAMETERS", "{ access_type = \"offline\" }"),
        ]);
        let url = authorization.url().unwrap();
        assert!(url.as_str().starts_with("https://as.example/authorize?tenant=x&response_type=code&client_id=7&"));
        assert!(!url.as_str().contains("canary"));
        let query = query(&authorization);
        assert_eq!(query["redirect_uri"], "http://127.0.0.1:4000/callback");
        assert_eq!((&*query["scope"], &*query["access_type"]), ("*", "offline"));
        assert_eq!(query["code_challenge_method"], "S256");
        assert_eq!(query["code_challenge"], pkce::challenge(authorization.verifier().unwrap()));
        assert_ne!(query["state"], authorization.verifier().unwrap().expose());
    }

    #[test]
    fn only_the_response_to_this_request_is_accepted_even_if_it_is_an_error() {
        let authorization = authorization(&[]);
        let state = query(&authorization)["state"].clone();
        for (text, expected) in [
            (format!("code=c&state={state}"), Ok(())),
            (format!("error=access_denied&state={state}"), Ok(())),
            (format!("code=c&state={state}x"), Err(WrongState)),
            ("code=c&state=".to_owned(), Err(WrongState)),
            ("code=c".to_owned(), Err(WrongState)),
            ("error=access_denied".to_owned(), Err(WrongState)),
            ("error=access_denied&state=another".to_owned(), Err(WrongState)),
        ] {
            assert_eq!(authorization.check(&Callback::from_query(&text).unwrap()), expected, "{text}");
        }
        assert_eq!(authorization.check(&Callback::from_pasted("bare").unwrap()), Ok(()));
    }

    #[test]
    fn a_denial_is_told_apart_from_other_errors() {
        let failure = |query: &str| Authorization::code(Callback::from_query(query).unwrap()).unwrap_err();
        let said = failure("error=access_denied&error_description=no&state=s");
        assert!(matches!(&said, LoginError::Denied { said } if said == "access_denied: no"), "{said:?}");
        assert!(matches!(failure("error=server_error"), LoginError::Refused { said } if said == "server_error"));
    }
}
