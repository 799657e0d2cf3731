//! Any response is classified without a panic, and without a secret in the error.

use proptest::prelude::*;

use super::*;

/// Bodies from noise to JSON with the members that matter, quoting the secrets in them.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        Just("access_token"),
        Just("refresh_token"),
        Just("token_type"),
        Just("expires_in"),
        Just("error"),
        Just("error_description"),
        Just("hint"),
        Just("message"),
        Just("retry-after"),
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"Bearer\"".to_owned()),
        Just("\"invalid_grant\"".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| serde_json::to_string(&format!("{text}{TOKEN}{text}")).unwrap()),
        any::<String>().prop_map(|text| serde_json::to_string(&format!("{SECRET}{text}")).unwrap()),
        ".*",
    ];
    let object = proptest::collection::vec((name, value), 0..6).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(",")).into_bytes()
    });
    prop_oneof![proptest::collection::vec(any::<u8>(), 0..300), object]
}

proptest! {
    #[test]
    fn any_answer_is_classified_without_a_panic_and_without_a_leak(
        status in 100_u16..1000,
        body in bodies(),
        retry_after in proptest::collection::vec(any::<u8>(), 0..40),
        cut in proptest::option::of(Just("reset")),
        grant_type in prop_oneof![Just(GrantType::RefreshToken), Just(GrantType::ClientCredentials), Just(GrantType::Code)],
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let mut headers = headers(&[(CONTENT_TYPE, TOKEN), (LOCATION, SECRET)]);
        headers.extend(HeaderValue::from_bytes(&retry_after).ok().map(|value| (RETRY_AFTER, value)));
        let received = Received { status, headers: &headers, body: &body, cut };
        let (token, code) = (RefreshToken::parse(TOKEN).unwrap(), Secret::new("code"));
        let now = "2026-11-22T02:00:00Z".parse().unwrap();
        let answer = classify(received, presented(grant_type, &token, &code), now, &mask());
        prop_assert!(!format!("{answer:?}").contains("canary"), "{answer:?}");
        if let CallResult::Failed(failure) = answer {
            prop_assert!(failure.outcome != RefreshOutcome::Ok);
            prop_assert!(failure.error.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{}", failure.error);
            if let Some(wait) = failure.retry_after {
                prop_assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(300));
            }
            if grant_type == GrantType::ClientCredentials {
                prop_assert!(failure.outcome != RefreshOutcome::Rejected);
            }
        }
    }
}
