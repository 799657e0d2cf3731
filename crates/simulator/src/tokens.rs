//! Every token and code that the server has issued, live or revoked. No row is ever removed.
//!
//! The texts of tokens stay here. The ledger names a token by its serial number.

use std::collections::HashMap;

use super::clock::UnixMs;

mod minting;

/// The grant of an authorization code, and its PKCE challenge (RFC 7636).
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub client: String,
    pub scopes: Vec<String>,
    pub redirect_uri: Option<String>,
    pub challenge: Option<Challenge>,
    pub expires_at: UnixMs,
    /// The grant that it was exchanged for.
    pub spent_for: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Plain(String),
    S256(String),
}

#[derive(Clone, Debug)]
pub(super) struct Access {
    pub grant: u64,
    pub expires_at: UnixMs,
    pub revoked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub client: String,
    pub scopes: Vec<String>,
    pub grant: u64,
    pub generation: u64,
    /// The access token that was issued with it.
    pub access: u64,
    pub expires_at: UnixMs,
    pub revoked: bool,
    /// When a refresh spent it. A revocation by an operator leaves this empty.
    pub spent_at: Option<UnixMs>,
}

/// The tokens to issue.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub client: String,
    pub scopes: Vec<String>,
    /// The grant and generation that it continues. None starts a grant.
    pub after: Option<(u64, u64)>,
    pub access_expires_at: UnixMs,
    /// None issues no refresh token.
    pub refresh_expires_at: Option<UnixMs>,
}

/// The issued tokens.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub access: u64,
    pub access_text: String,
    pub refresh: Option<(u64, String)>,
    pub grant: u64,
    pub generation: u64,
    pub expires_at: UnixMs,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    access: Vec<Access>,
    refresh: Vec<Refresh>,
    codes: Vec<Code>,
    by_text: HashMap<String, Key>,
    grants: u64,
}

#[derive(Clone, Copy, Debug)]
enum Key {
    Access(u64),
    Refresh(u64),
    Code(u64),
}

// === impl Tokens ===

impl Tokens {
    pub fn issue(&mut self, draft: Draft, now: UnixMs) -> Fresh {
        let (grant, generation) = match draft.after {
            Some((grant, generation)) => (grant, generation + 1),
            None => {
                self.grants += 1;
                (self.grants, 1)
            }
        };
        let access_text = minting::access_token(&draft.client, &draft.scopes, now, draft.access_expires_at);
        self.access.push(Access { grant, expires_at: draft.access_expires_at, revoked: false });
        let access = self.access.len() as u64;
        self.by_text.insert(access_text.clone(), Key::Access(access));
        let refresh = draft.refresh_expires_at.map(|expires_at| {
            let text = minting::encrypted(minting::REFRESH_CHARS);
            self.refresh.push(Refresh {
                client: draft.client,
                scopes: draft.scopes,
                grant,
                generation,
                access,
                expires_at,
                revoked: false,
                spent_at: None,
            });
            let serial = self.refresh.len() as u64;
            self.by_text.insert(text.clone(), Key::Refresh(serial));
            (serial, text)
        });
        Fresh { access, access_text, refresh, grant, generation, expires_at: draft.access_expires_at }
    }

    pub fn issue_code(&mut self, code: Code) -> String {
        let text = minting::encrypted(minting::CODE_CHARS);
        self.codes.push(code);
        self.by_text.insert(text.clone(), Key::Code(self.codes.len() as u64));
        text
    }

    pub fn find_access(&self, text: &str) -> Option<(u64, &Access)> {
        match self.by_text.get(text)? {
            Key::Access(serial) => Some((*serial, row(&self.access, *serial)?)),
            _ => None,
        }
    }

    pub fn find_refresh(&self, text: &str) -> Option<(u64, &Refresh)> {
        match self.by_text.get(text)? {
            Key::Refresh(serial) => Some((*serial, self.refresh(*serial)?)),
            _ => None,
        }
    }

    pub fn find_code(&self, text: &str) -> Option<(u64, &Code)> {
        match self.by_text.get(text)? {
            Key::Code(serial) => Some((*serial, row(&self.codes, *serial)?)),
            _ => None,
        }
    }

    pub fn refresh(&self, serial: u64) -> Option<&Refresh> {
        row(&self.refresh, serial)
    }

    pub fn spend_refresh(&mut self, serial: u64, now: UnixMs) {
        if let Some(refresh) = row_mut(&mut self.refresh, serial) {
            refresh.revoked = true;
            refresh.spent_at.get_or_insert(now);
        }
    }

    pub fn spend_code(&mut self, serial: u64, grant: u64) {
        if let Some(code) = row_mut(&mut self.codes, serial) {
            code.spent_for = Some(grant);
        }
    }

    /// Returns false for an unknown token.
    pub fn revoke_access(&mut self, serial: u64) -> bool {
        row_mut(&mut self.access, serial).map(|access| access.revoked = true).is_some()
    }

    /// Returns false for an unknown token.
    pub fn revoke_refresh(&mut self, serial: u64) -> bool {
        row_mut(&mut self.refresh, serial).map(|refresh| refresh.revoked = true).is_some()
    }

    pub fn revoke_all_access(&mut self) {
        self.access.iter_mut().for_each(|access| access.revoked = true);
    }

    pub fn revoke_all_refresh(&mut self) {
        self.refresh.iter_mut().for_each(|refresh| refresh.revoked = true);
    }

    /// Ends a grant: revokes all of its tokens.
    pub fn revoke_grant(&mut self, grant: u64) {
        self.access.iter_mut().filter(|access| access.grant == grant).for_each(|access| access.revoked = true);
        self.refresh.iter_mut().filter(|refresh| refresh.grant == grant).for_each(|refresh| refresh.revoked = true);
    }
}

/// Serials count from 1.
fn row<T>(rows: &[T], serial: u64) -> Option<&T> {
    rows.get(usize::try_from(serial).ok()?.checked_sub(1)?)
}

fn row_mut<T>(rows: &mut [T], serial: u64) -> Option<&mut T> {
    rows.get_mut(usize::try_from(serial).ok()?.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(after: Option<(u64, u64)>) -> Draft {
        Draft {
            client: "c".to_owned(),
            scopes: vec!["*".to_owned()],
            after,
            access_expires_at: 10_000,
            refresh_expires_at: Some(20_000),
        }
    }

    #[test]
    fn generations_grow_along_a_grant() {
        let mut tokens = Tokens::default();
        let first = tokens.issue(draft(None), 0);
        let second = tokens.issue(draft(Some((first.grant, first.generation))), 0);
        let other = tokens.issue(draft(None), 0);
        assert_eq!((first.grant, first.generation, first.access), (1, 1, 1));
        assert_eq!((second.grant, second.generation, second.access), (1, 2, 2));
        assert_eq!((other.grant, other.generation, other.access), (2, 1, 3));
    }

    #[test]
    fn an_access_token_is_not_taken_for_a_refresh_token() {
        let mut tokens = Tokens::default();
        let fresh = tokens.issue(draft(None), 0);
        assert!(tokens.find_refresh(&fresh.access_text).is_none());
        assert!(tokens.find_access(&fresh.refresh.unwrap().1).is_none());
    }

    #[test]
    fn the_end_of_a_grant_is_the_end_of_its_tokens_alone() {
        let mut tokens = Tokens::default();
        let ended = tokens.issue(draft(None), 0);
        let other = tokens.issue(draft(None), 0);
        tokens.revoke_grant(ended.grant);
        assert!(tokens.find_access(&ended.access_text).unwrap().1.revoked);
        assert!(tokens.find_refresh(&ended.refresh.unwrap().1).unwrap().1.revoked);
        assert!(!tokens.find_access(&other.access_text).unwrap().1.revoked);
        assert!(!tokens.find_refresh(&other.refresh.unwrap().1).unwrap().1.revoked);
    }

    #[test]
    fn there_is_no_token_zero() {
        let mut tokens = Tokens::default();
        tokens.issue(draft(None), 0);
        assert!(!tokens.revoke_access(0));
        assert!(tokens.revoke_access(1));
        assert!(!tokens.revoke_access(2));
    }
}
