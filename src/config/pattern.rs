//! Path patterns, and the two kinds of rules with patterns: requests that clients may send, and responses that count as a refusal.
//!
//! A pattern is matched segment by segment. A rule of the allow-list is matched against the percent-decoded path, so that every spelling of a
//! segment is equal. A rule of refusals is matched against the path of `Location` as it was sent.

use http::{Method, StatusCode};

use super::plain_path::plain_path;

/// A path pattern: `*` matches one segment, `**` any number of segments, including none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(pub Vec<PatternSegment>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternSegment {
    Literal(String),
    /// `*`
    One,
    /// `**`
    Any,
}

/// A method and a path that clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    /// `None`: any method.
    pub method: Option<Method>,
    pub path: PathPattern,
}

/// A response by which the upstream refuses the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalPattern {
    pub status: StatusCode,
    pub sign: RefusalSign,
}

/// A condition for a refusal, in addition to the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalSign {
    /// The status alone.
    Status,
    /// The path of `Location` matches.
    Location(PathPattern),
    /// A Bearer challenge has this error (RFC 6750 §3).
    BearerError(String),
}

/// Why a text is not a pattern or not a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("the pattern begins neither with `/` nor with a segment `**`")]
    Start,
    #[error("the path does not begin with `/`")]
    Relative,
    #[error("a character must be percent-encoded")]
    Character,
    #[error("an empty segment or a dot segment never matches")]
    Segment,
    #[error("a `*` is not a whole segment")]
    Star,
    #[error("a segment has two readings, and the proxy refuses every request with it")]
    Ambiguous,
    #[error("not a method and a path")]
    Rule,
    #[error("the method is in lower case, and methods are case-sensitive (RFC 9110 §9.1)")]
    Method,
    #[error("not a status from 300 to 599")]
    Status,
    #[error("a pattern for `Location` requires a redirect status")]
    Location,
    #[error("not the name of a Bearer error")]
    BearerError,
}

// === impl PathPattern ===

impl PathPattern {
    /// # Errors
    /// The text is not a pattern, or matches nothing.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let rest = match text.strip_prefix('/') {
            Some(rest) => rest,
            None if text == "**" || text.starts_with("**/") => text,
            None => return Err(PatternError::Start),
        };
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#')) {
            return Err(PatternError::Character);
        }
        let mut segments = Vec::new();
        let mut texts = rest.split('/').peekable();
        while let Some(segment) = texts.next() {
            segments.push(match segment {
                "*" => PatternSegment::One,
                "**" => PatternSegment::Any,
                // The path `/a/` ends with an empty segment, and `/` consists of one.
                "" if texts.peek().is_none() => PatternSegment::Literal(String::new()),
                "" | "." | ".." => return Err(PatternError::Segment),
                _ if segment.contains('*') => return Err(PatternError::Star),
                _ => PatternSegment::Literal(segment.to_owned()),
            });
        }
        Ok(Self(segments))
    }

    /// Decodes the segments as [`plain_path`] decodes a path.
    fn plain(mut self) -> Result<Self, PatternError> {
        for segment in &mut self.0 {
            if let PatternSegment::Literal(text) = segment {
                let read = plain_path(&format!("/{text}")).ok_or(PatternError::Ambiguous)?;
                *text = read.trim_start_matches('/').to_owned();
            }
        }
        Ok(self)
    }

    /// Whether the pattern covers the whole of `path`, which has neither query nor fragment.
    ///
    /// On a mismatch, only the last `**` is widened: an earlier one could match nothing more. So the work is at most the length of the pattern
    /// times the length of the path.
    pub fn matches(&self, path: &str) -> bool {
        let mut rest = path.strip_prefix('/').unwrap_or(path).split('/');
        let mut at = 0;
        // The position after the last `**`, and the rest of the path that it has not yet matched.
        let mut widen = None;
        loop {
            let wanted = self.0.get(at);
            if let Some(PatternSegment::Any) = wanted {
                at += 1;
                widen = Some((at, rest.clone()));
                continue;
            }
            let mut next = rest.clone();
            match (wanted, next.next()) {
                (None, None) => return true,
                (Some(_), None) => return false,
                (Some(wanted), Some(segment)) if wanted.takes(segment) => {
                    at += 1;
                    rest = next;
                }
                (_, Some(_)) => {
                    let Some((past, from)) = &mut widen else { return false };
                    from.next();
                    at = *past;
                    rest = from.clone();
                }
            }
        }
    }
}

// === impl PatternSegment ===

impl PatternSegment {
    fn takes(&self, segment: &str) -> bool {
        match self {
            Self::Literal(text) => text == segment,
            Self::One => !segment.is_empty(),
            Self::Any => true,
        }
    }
}

// === impl AllowRule ===

impl AllowRule {
    /// Reads `METHOD /path/pattern`.
    ///
    /// # Errors
    /// The text is not a rule.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (method, path) = text.split_once(char::is_whitespace).ok_or(PatternError::Rule)?;
        let path = path.trim_start();
        if !path.starts_with('/') {
            return Err(PatternError::Relative);
        }
        let method = match method {
            "*" => None,
            _ if method.bytes().any(|byte| byte.is_ascii_lowercase()) => return Err(PatternError::Method),
            _ => Some(Method::from_bytes(method.as_bytes()).map_err(|_| PatternError::Rule)?),
        };
        Ok(Self { method, path: PathPattern::parse(path)?.plain()? })
    }
}

// === impl RefusalPattern ===

impl RefusalPattern {
    /// Reads `401`, `302 **/login` or `403 invalid_token`.
    ///
    /// # Errors
    /// The text is not a rule.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (status, sign) = match text.split_once(char::is_whitespace) {
            Some((status, sign)) => (status, Some(sign.trim_start())),
            None => (text, None),
        };
        let status = StatusCode::from_bytes(status.as_bytes()).map_err(|_| PatternError::Status)?;
        if !(300..600).contains(&status.as_u16()) {
            return Err(PatternError::Status);
        }
        let sign = match sign {
            None => RefusalSign::Status,
            Some(path) if status.is_redirection() => RefusalSign::Location(PathPattern::parse(path)?),
            Some(path) if path.starts_with(['/', '*']) => return Err(PatternError::Location),
            Some(error) if is_error_name(error) => RefusalSign::BearerError(error.to_owned()),
            Some(_) => return Err(PatternError::BearerError),
        };
        Ok(Self { status, sign })
    }
}

/// All registered errors consist of these characters (RFC 6750 §6.2).
fn is_error_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

#[cfg(test)]
mod tests;
