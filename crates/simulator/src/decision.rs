//! The decision of the token endpoint: it checks a call, then commits it. These are two steps, because a real server does not lock
//! its database between them.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::clock::{UnixMs, millis};
use super::options::{Client, Flavour, GrantType, Options, Reuse, Rotation};
use super::redirect_uri;
use super::token_error::{DeadCode, DeadRefresh, TokenError};
use super::token_request::TokenRequest;
use super::tokens::{Challenge, Code, Draft, Fresh, Tokens};

/// A checked call that can be committed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    client: String,
    scopes: Vec<String>,
    source: Source,
}

/// What a call exchanges for tokens. The numbers are serials.
#[derive(Clone, Copy, Debug)]
enum Source {
    Client,
    Code(u64),
    Refresh(u64),
}

const REGIONS: [&str; 3] = ["APAC", "EU", "US"];

/// League's order (`RefreshTokenGrant` in 8.5.5 and 9.4.1): the client, then the presented token, then the scopes.
/// A call that fails here spends nothing.
pub(super) fn check(
    tokens: &mut Tokens,
    options: &Options,
    request: &TokenRequest,
    now: UnixMs,
) -> Result<Plan, TokenError> {
    let grant_type = request.grant_type().ok_or(TokenError::UnsupportedGrantType)?;
    let client = check_client(options, request, grant_type)?;
    let (source, scopes) = match grant_type {
        GrantType::AuthorizationCode => check_code(tokens, options, request, client, now)?,
        GrantType::ClientCredentials => {
            // A public client cannot authenticate itself (RFC 6749 §4.4).
            client.secret.as_ref().ok_or(TokenError::Client)?;
            (Source::Client, scopes(request)?.unwrap_or_default())
        }
        GrantType::RefreshToken => check_refresh(tokens, options, request, client, now)?,
    };
    Ok(Plan { client: client.id.clone(), scopes, source })
}

/// Issues the tokens and spends the presented one. It revokes the old access token first, then the refresh token, and then creates
/// the new ones. A server that stops in between has ended the grant.
pub(super) fn commit(tokens: &mut Tokens, options: &Options, plan: Plan, now: UnixMs) -> Fresh {
    let mut after = None;
    if let Source::Refresh(serial) = plan.source
        && let Some(old) = tokens.refresh(serial).cloned()
    {
        after = Some((old.grant, old.generation));
        if options.revoke_old_access {
            tokens.revoke_access(old.access);
        }
        if options.rotation == Rotation::SingleUse {
            tokens.spend_refresh(serial, now);
        }
    }
    let issues_refresh = match plan.source {
        // RFC 6749 §4.4.3: the client can always ask again.
        Source::Client => false,
        Source::Code(_) => true,
        Source::Refresh(_) => options.rotation != Rotation::Kept,
    };
    let fresh = tokens.issue(
        Draft {
            client: plan.client,
            scopes: plan.scopes,
            after,
            access_expires_at: now.saturating_add(millis(options.access_lifetime)),
            refresh_expires_at: issues_refresh.then(|| now.saturating_add(millis(options.refresh_lifetime))),
        },
        now,
    );
    if let Source::Code(serial) = plan.source {
        // After the tokens, as league does it.
        tokens.spend_code(serial, fresh.grant);
    }
    fresh
}

// === impl Plan ===

impl Plan {
    /// The serial of the exchanged refresh token.
    pub fn parent(&self) -> Option<u64> {
        match self.source {
            Source::Refresh(serial) => Some(serial),
            Source::Client | Source::Code(_) => None,
        }
    }
}

fn check_client<'a>(
    options: &'a Options,
    request: &TokenRequest,
    grant_type: GrantType,
) -> Result<&'a Client, TokenError> {
    let id = request.client_id()?;
    let client = options.clients.iter().find(|client| client.id == id).ok_or(TokenError::Client)?;
    if !client.grants.contains(&grant_type) {
        return Err(TokenError::UnauthorizedClient);
    }
    let given = request.client_secret()?;
    if let Some(secret) = &client.secret {
        match given {
            None if options.flavour == Flavour::League9 => {
                return Err(TokenError::Parameter("client_secret".to_owned()));
            }
            Some(given) if given == secret => {}
            _ => return Err(TokenError::Client),
        }
    }
    let redirect_uri = request.text("redirect_uri")?;
    match options.flavour {
        // With any grant, a redirect URI in the call must be registered.
        Flavour::League8 => {
            if redirect_uri.is_some_and(|uri| !redirect_uri::is_registered(client, uri)) {
                return Err(TokenError::Client);
            }
        }
        Flavour::Priava => {
            if !request.tenant_region.as_deref().is_some_and(|region| REGIONS.contains(&region)) {
                return Err(TokenError::Parameter("TenantRegion".to_owned()));
            }
            if !redirect_uri.is_some_and(|uri| redirect_uri::is_registered(client, uri)) {
                return Err(TokenError::Parameter("redirect_uri".to_owned()));
            }
        }
        Flavour::Rfc6749 => {
            if request.has_two_credentials() {
                return Err(TokenError::Parameter("client_secret".to_owned()));
            }
        }
        Flavour::League9 => {}
    }
    Ok(client)
}

fn check_refresh(
    tokens: &mut Tokens,
    options: &Options,
    request: &TokenRequest,
    client: &Client,
    now: UnixMs,
) -> Result<(Source, Vec<String>), TokenError> {
    let dead = |why| Err(TokenError::RefreshToken(why));
    let Some((serial, presented)) = tokens.find_refresh(request.required("refresh_token")?) else {
        return dead(DeadRefresh::Undecryptable);
    };
    if presented.client != client.id || !request.client_id_is_text() {
        return dead(DeadRefresh::NotLinked);
    }
    if presented.expires_at < now {
        return dead(DeadRefresh::Expired);
    }
    if presented.revoked {
        let spent_at = presented.spent_at;
        let grant = presented.grant;
        match options.reuse {
            Reuse::Leeway(leeway) if spent_at.is_some_and(|at| now <= at.saturating_add(millis(leeway))) => {}
            Reuse::Leeway(_) | Reuse::Refuse => return dead(DeadRefresh::Revoked),
            Reuse::RevokeGrant => {
                tokens.revoke_grant(grant);
                return dead(DeadRefresh::Revoked);
            }
        }
    }
    let granted = tokens.refresh(serial).map(|refresh| refresh.scopes.clone()).unwrap_or_default();
    let wanted = scopes(request)?.unwrap_or_else(|| granted.clone());
    match wanted.iter().find(|scope| !granted.contains(scope)) {
        Some(wider) => Err(TokenError::Scope(wider.clone())),
        None => Ok((Source::Refresh(serial), wanted)),
    }
}

fn check_code(
    tokens: &mut Tokens,
    options: &Options,
    request: &TokenRequest,
    client: &Client,
    now: UnixMs,
) -> Result<(Source, Vec<String>), TokenError> {
    let dead = |why| Err(TokenError::Code(why));
    let Some((serial, code)) = tokens.find_code(request.required("code")?) else {
        return dead(DeadCode::Undecryptable);
    };
    if code.expires_at < now {
        return dead(DeadCode::Expired);
    }
    if let Some(grant) = code.spent_for {
        if options.reuse == Reuse::RevokeGrant {
            // RFC 6749 §4.1.2: a code that is presented twice has leaked.
            tokens.revoke_grant(grant);
        }
        return dead(DeadCode::Revoked);
    }
    if code.client != client.id || !request.client_id_is_text() {
        return dead(DeadCode::OtherClient);
    }
    match (&code.redirect_uri, request.text("redirect_uri")?) {
        (Some(_), None) => return Err(TokenError::Parameter("redirect_uri".to_owned())),
        (registered, Some(given)) if registered.as_deref() != Some(given) => return dead(DeadCode::OtherRedirectUri),
        _ => {}
    }
    check_verifier(code, request.text("code_verifier")?)?;
    Ok((Source::Code(serial), code.scopes.clone()))
}

/// PKCE (RFC 7636 §4.6).
fn check_verifier(code: &Code, verifier: Option<&str>) -> Result<(), TokenError> {
    let (challenge, verifier) = match (&code.challenge, verifier) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(TokenError::Code(DeadCode::UnexpectedVerifier)),
        (Some(_), None) => return Err(TokenError::Parameter("code_verifier".to_owned())),
        (Some(challenge), Some(verifier)) => (challenge, verifier),
    };
    if !is_pkce_text(verifier) {
        return Err(TokenError::Code(DeadCode::VerifierMalformed));
    }
    let proves = match challenge {
        Challenge::Plain(text) => verifier == text,
        Challenge::S256(hash) => *hash == URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes())),
    };
    if proves { Ok(()) } else { Err(TokenError::Code(DeadCode::WrongVerifier)) }
}

/// The alphabet and length of verifier and challenge (RFC 7636 §4.1, §4.2).
pub(super) fn is_pkce_text(text: &str) -> bool {
    (43..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

fn scopes(request: &TokenRequest) -> Result<Option<Vec<String>>, TokenError> {
    Ok(request.text("scope")?.map(|text| text.split_ascii_whitespace().map(str::to_owned).collect()))
}
