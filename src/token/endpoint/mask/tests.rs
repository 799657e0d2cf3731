use super::super::tests::config;
use super::*;
use crate::secret::Secret;
use crate::token::RefreshToken;

fn mask() -> Mask {
    let token = RefreshToken::parse("def502/00+short").unwrap();
    let config = TokenEndpoint {
        client_auth: ClientAuth::Basic,
        client_id: "id".into(),
        client_secret: Some(Secret::new("pä ss")),
        ..config("https://as.test/token")
    };
    Mask::new(Presented::RefreshToken(&token), &config)
}

#[test]
fn what_was_presented_is_masked_in_every_form_that_was_sent() {
    let rows = [
        ("token def502/00+short is bad", "token *** is bad"),
        ("refresh_token=def502%2F00%2Bshort&x", "refresh_token=***&x"),
        ("secret pä ss", "secret ***"),
        ("client_secret=p%C3%A4+ss", "client_secret=***"),
        // base64 of `id:p%C3%A4+ss`
        ("got Basic aWQ6cCVDMyVBNCtzcw==", "got Basic ***"),
        ("def502/00+shortdef502/00+short", "******"),
    ];
    for (text, expected) in rows {
        assert_eq!(mask().remote(text), expected);
        assert_eq!(mask().local(text), expected);
    }
}

#[test]
fn a_part_of_a_secret_is_masked_however_it_is_cut_or_escaped() {
    const TOKEN: &str = "def50200a1b2c3d4/e5f6+0718=293a4b5c6d7e8f90";
    let token = RefreshToken::parse(TOKEN).unwrap();
    let config = TokenEndpoint { client_secret: Some(Secret::new("s3cret!")), ..config("https://as.test/token") };
    let mask = Mask::new(Presented::RefreshToken(&token), &config);
    let every = |length: usize, between: &str| {
        let pieces: Vec<_> = TOKEN.as_bytes().chunks(length).map(|piece| str::from_utf8(piece).unwrap()).collect();
        pieces.join(between)
    };
    let escaped = |escape: fn(u8) -> String| TOKEN.bytes().map(escape).collect::<String>();
    let base64 = |ahead: &str| BASE64_STANDARD_NO_PAD.encode(format!("{ahead}{TOKEN}"));
    let rows = [
        TOKEN.to_owned(),
        TOKEN.to_uppercase(),
        TOKEN[5..13].to_owned(),
        TOKEN[20..].to_owned(),
        every(38, " "),
        every(9, "\r\n"),
        every(4, " "),
        every(3, "-"),
        every(2, ", "),
        every(1, " "),
        every(8, "</b><b>"),
        every(8, "..."),
        every(10, "\\n"),
        every(5, "&#10;"),
        escaped(|byte| format!("%{byte:02X}")),
        escaped(|byte| format!("%25{byte:02x}")),
        escaped(|byte| format!("\\u{byte:04x}")),
        escaped(|byte| format!("\\x{byte:02x}")),
        escaped(|byte| format!("&#{byte};")),
        escaped(|byte| format!("&#x{byte:x};")),
        escaped(|byte| format!("={byte:02X}")),
        escaped(|byte| format!("{byte:02x}")),
        escaped(|byte| format!("{byte:02X} ")),
        TOKEN.replace('/', "\\/"),
        base64(""),
        base64("x"),
        base64("xy"),
        base64("7:").replace('+', "-").replace('/', "_"),
        "s%33cret%21".to_owned(),
        "s 3 c r e t !".to_owned(),
    ];
    for text in rows {
        let shown = mask.remote(&format!("the token {text} was used twice"));
        let letters = |text: &str| text.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        // Less than a part may stay at the ends of a piece that is cut from the rest.
        let (shown_letters, of_the_text) = (letters(&shown), letters(&text));
        let part = of_the_text
            .as_bytes()
            .windows(PART)
            .find(|part| shown_letters.as_bytes().windows(PART).any(|shown| shown == *part));
        assert_eq!(part, None, "{text}: {shown}");
        assert!(shown.contains(MASKED) && shown.starts_with("the token"), "{text}: {shown}");
    }
}

#[test]
fn words_stay_readable_beside_a_secret() {
    let token = RefreshToken::parse("refresh-token-of-the-canary-client").unwrap();
    let mask = Mask::new(Presented::RefreshToken(&token), &config("https://as.test/token"));
    for text in ["the grant has expired", "Client authentication failed", "AADSTS50076: use multi-factor"] {
        assert_eq!(mask.remote(text), text);
    }
}

#[test]
fn a_long_text_is_compared_only_at_its_beginning() {
    let began = std::time::Instant::now();
    assert_eq!(mask().remote(&"%25".repeat(4 << 20)).len(), 3);
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn other_blanks_make_no_secret_of_what_was_none() {
    let config = TokenEndpoint { client_secret: Some(Secret::new("pass word")), ..config("https://as.test/token") };
    let mask = Mask::new(Presented::ClientCredentials, &config);
    for text in ["got pass word", "got pass\tword", "got pass\u{a0}word"] {
        assert_eq!(mask.remote(text), "got ***", "{text:?}");
    }
}

#[test]
fn a_servers_words_are_printable_limited_and_hold_nothing_like_a_token() {
    let jwt = format!("eyJ{}", "a".repeat(38));
    let rows = [
        ("line\r\nX-Evil: \u{1b}[31mé\0", "line  X-Evil: ?[31m??".to_owned()),
        (&format!("token {jwt}."), "token ***".to_owned()),
        (&"a".repeat(40), "a".repeat(40)),
        (&"a ".repeat(300), "a ".repeat(150)),
        ("", String::new()),
    ];
    for (text, expected) in rows {
        assert_eq!(mask().remote(text), expected);
    }
}

#[test]
fn a_location_is_shown_without_its_query() {
    let rows = [
        (
            "https://web.passolution.test/de/oauth/token?code=abc",
            "https://web.passolution.test/de/oauth/token".to_owned(),
        ),
        ("/login#x", "/login".to_owned()),
        (&format!("/a/{}/b", "x".repeat(41)), "/a/***/b".to_owned()),
    ];
    for (text, expected) in rows {
        assert_eq!(mask().location(text), expected);
    }
}

#[test]
fn an_empty_secret_masks_nothing() {
    let config = TokenEndpoint { client_secret: Some(Secret::new("")), ..config("https://as.test/token") };
    assert_eq!(Mask::new(Presented::ClientCredentials, &config).remote("as it is"), "as it is");
}
