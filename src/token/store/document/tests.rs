use proptest::prelude::*;

use super::*;
use crate::config::StoreKey;
use crate::token::{RefreshOutcome, Trigger};

pub(in crate::token::store) fn sealer(keys: &[u8]) -> Sealer {
    Sealer::new(&keys.iter().map(|byte| StoreKey(Zeroizing::new([*byte; 32]))).collect::<Vec<_>>())
}

fn timestamps() -> impl Strategy<Value = Timestamp> {
    (Timestamp::MIN.as_second()..=Timestamp::MAX.as_second(), 0..1_000_000_000)
        .prop_filter_map("out of range", |(second, nanosecond)| Timestamp::new(second, nanosecond).ok())
}

fn tokens() -> impl Strategy<Value = String> {
    prop::collection::vec(0x21_u8..0x7f, 1..200).prop_map(|bytes| bytes.into_iter().map(char::from).collect())
}

fn last_refreshes() -> impl Strategy<Value = LastRefresh> {
    let triggers = [Trigger::Startup, Trigger::Scheduled, Trigger::Rejected, Trigger::Manual, Trigger::Peer];
    let outcomes = [
        RefreshOutcome::Ok,
        RefreshOutcome::Transient,
        RefreshOutcome::Ambiguous,
        RefreshOutcome::Rejected,
        RefreshOutcome::Misconfigured,
    ];
    let (triggers, outcomes) = (prop::sample::select(triggers.to_vec()), prop::sample::select(outcomes.to_vec()));
    (timestamps(), triggers, outcomes, any::<u64>(), any::<Option<String>>())
        .prop_map(|(at, trigger, outcome, duration_ms, error)| LastRefresh { at, trigger, outcome, duration_ms, error })
}

/// A record's own lineage, and what it has replaced.
fn lineages() -> impl Strategy<Value = (Lineage, Vec<Lineage>)> {
    let lineage = || any::<u128>().prop_map(|bits| Lineage::try_from(format!("{bits:032x}")).unwrap());
    (lineage(), prop::collection::vec(lineage(), 0..4))
}

/// Any record at all.
fn candidates() -> impl Strategy<Value = Candidate> {
    let outcomes = prop::sample::select(vec![None, Some(RefreshOutcome::Ambiguous), Some(RefreshOutcome::Rejected)]);
    let binding = (any::<String>(), any::<String>(), any::<String>());
    (tokens(), binding, any::<(bool, bool, u32)>(), timestamps(), outcomes).prop_map(
        |(token, (token_url, client_id, upstream_origin), (awaited, kept, presented), at, outcome)| {
            let token = RefreshToken::parse(token).unwrap();
            let fingerprint = token.fingerprint();
            let binding = Binding { token_url, client_id, upstream_origin };
            let intent = (presented > 0).then(|| Intent { owner: "one".into(), at, fingerprint, presented });
            let result = outcome.map(|outcome| CandidateResult { outcome, error: Some("why".into()) });
            Candidate { fingerprint, token: kept.then_some(token), binding, awaited, intent, result }
        },
    )
}

pub(in crate::token) fn records() -> impl Strategy<Value = Record> {
    let access =
        (tokens(), timestamps(), prop::option::of(timestamps())).prop_map(|(token, obtained_at, expires_at)| Access {
            token: AccessToken::parse(token).unwrap(),
            obtained_at,
            expires_at,
        });
    let refresh = tokens().prop_map(|token| RefreshToken::parse(token).unwrap());
    let intent = (any::<String>(), timestamps(), tokens(), any::<u32>()).prop_map(|(owner, at, token, presented)| {
        Intent { owner, at, fingerprint: RefreshToken::parse(token).unwrap().fingerprint(), presented }
    });
    (
        (any::<String>(), any::<String>(), any::<String>()),
        lineages(),
        any::<u64>(),
        prop::option::of(access),
        prop::option::of(refresh),
        prop::option::of(intent),
        any::<Option<String>>(),
        prop::collection::vec(tokens(), 0..4),
        prop::option::of(last_refreshes()),
        prop::option::of(candidates()),
    )
        .prop_map(
            |(
                (token_url, client_id, upstream_origin),
                (lineage, replaced),
                generation,
                access,
                refresh,
                intent,
                needs_login,
                taken,
                last,
                candidate,
            )| {
                let taken = taken.into_iter().map(|token| RefreshToken::parse(token).unwrap().fingerprint()).collect();
                Record {
                    binding: Binding { token_url, client_id, upstream_origin },
                    lineage,
                    replaced,
                    generation: Generation(generation),
                    access,
                    refresh,
                    candidate,
                    intent,
                    needs_login,
                    tried_initial: taken,
                    last_refresh: last,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_was_written_reads_back_in_clear_and_sealed(record in records()) {
        for keys in [&[][..], &[1], &[2, 1]] {
            let bytes = encode(&record, &sealer(keys)).unwrap();
            prop_assert_eq!(decode(&bytes, &sealer(keys)), Ok(record.clone()));
        }
    }

    #[test]
    fn a_document_that_was_cut_is_refused(record in records(), keys in prop::sample::select(vec![vec![], vec![1]]), at in any::<prop::sample::Index>()) {
        let bytes = encode(&record, &sealer(&keys)).unwrap();
        // Without its last newline it is still whole.
        let cut = &bytes[..at.index(bytes.len() - 1)];
        prop_assert!(matches!(decode(cut, &sealer(&keys)), Err(Unreadable::Damaged(_))));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, &sealer(&[1])).is_err());
    }

    #[test]
    fn a_changed_document_is_read_without_a_panic_and_never_quoted(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = whole().into_bytes();
        let index = at.index(bytes.len());
        bytes[index] = byte;
        if let Err(error) = decode(&bytes, &sealer(&[])) {
            prop_assert!(!error.to_string().contains("canary"), "{}", error);
        }
    }
}

fn whole() -> String {
    r#"{"format":2,"binding":{"token_url":"canary","client_id":"canary","upstream_origin":"canary"},
        "lineage":"000102030405060708090a0b0c0d0e0f","replaced":["f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"],"generation":3,
        "access":{"token":"canary","obtained_at":"2026-11-22T02:00:00Z","expires_at":null},"refresh_token":"canary",
        "intent":null,"needs_login":null,"taken":[],"last_refresh":null}"#
        .to_owned()
}

#[test]
fn what_is_no_document_is_refused_with_a_text_that_quotes_nothing() {
    let cases = [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("canary", "it is not JSON (line 1, column 1)"),
        ("{\"format\":1", "it is cut short (line 1, column 11)"),
        ("null", "it is JSON without a format number"),
        ("[1]", "it is JSON without a format number"),
        ("{}", "it is JSON without a format number"),
        ("{\"format\":\"canary\"}", "it is JSON without a format number"),
        ("{\"format\":-1}", "it is JSON without a format number"),
        ("{\"format\":1}", "a value is missing or of another kind (line 1, column 12)"),
        (
            "{\"format\":1,\"sealed\":{\"key\":\"canary\",\"nonce\":\"\",\"data\":\"\"}}",
            "its encrypted part was changed or cut",
        ),
    ];
    for (text, expected) in cases {
        let error = decode(text.as_bytes(), &sealer(&[1])).unwrap_err();
        assert_eq!(error, Unreadable::Damaged(expected.to_owned()), "{text:?}");
    }
    for (part, changed) in [
        ("\"generation\":3", "\"generation\":\"canary\""),
        ("\"generation\":3,", ""),
        ("\"refresh_token\":\"canary\"", "\"refresh_token\":7"),
        ("\"refresh_token\":\"canary\",", ""),
        ("\"refresh_token\":\"canary\"", "\"refresh_token\":\"can\\tary\""),
        ("\"token\":\"canary\"", "\"token\":\"\""),
        ("2026-11-22T02:00:00Z", "canary"),
        ("\"taken\":[]", "\"taken\":[\"canary\"]"),
        ("\"lineage\":\"000102030405060708090a0b0c0d0e0f\",", ""),
        ("\"lineage\":\"0001", "\"lineage\":\"canary"),
        ("\"replaced\":[\"", "\"replaced\":[\"canary"),
        ("\"format\":2", "\"format\":0"),
    ] {
        let text = whole().replace(part, changed);
        assert_ne!(text, whole(), "{part}");
        let error = decode(text.as_bytes(), &sealer(&[])).unwrap_err();
        assert!(matches!(error, Unreadable::Damaged(_)), "{changed}: {error}");
        assert!(!error.to_string().contains("canary"), "{changed}: {error}");
    }
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let error = decode(br#"{"format":3,"generation":"somehow else"}"#, &sealer(&[])).unwrap_err();
    assert_eq!(error, Unreadable::Newer(3));
    assert!(error.to_string().contains("newer version (format 3; this one reads up to 2)"), "{error}");
    let newer = whole().replace("\"format\":2", "\"format\":3").into_bytes();
    let sealed = sealer(&[1]).seal(Zeroizing::new(newer), FORMAT_1).unwrap().unwrap();
    let sealed = serde_json::json!({ "format": 1, "sealed": sealed }).to_string();
    assert_eq!(decode(sealed.as_bytes(), &sealer(&[1])), Err(Unreadable::Newer(3)));
}

#[test]
fn unknown_fields_are_passed_over_so_that_a_version_can_be_rolled_back() {
    let newer = whole().replace("\"generation\":3", "\"generation\":3,\"added\":{\"later\":[1]}");
    assert_eq!(decode(newer.as_bytes(), &sealer(&[])), decode(whole().as_bytes(), &sealer(&[])));
    assert!(decode(newer.as_bytes(), &sealer(&[])).is_ok());
}

#[test]
fn a_plaintext_document_is_refused_where_keys_are_set_and_read_for_the_one_who_seals_it() {
    let keys = sealer(&[1]);
    for text in [whole(), WRITTEN_BY_0_1_0.to_owned()] {
        let error = decode(text.as_bytes(), &keys).unwrap_err();
        assert_eq!(error, Unreadable::Plaintext);
        assert!(error.to_string().contains("bearer-proxy seal"), "{error}");
        let (record, form) = decode_any(text.as_bytes(), &keys).unwrap();
        let sealed = encode(&record, &keys).unwrap();
        assert_eq!((form, decode_any(&sealed, &keys)), (Form::Plaintext, Ok((record, Form::Sealed))));
        let text = std::str::from_utf8(&sealed).unwrap();
        assert!(!text.contains("refresh_token"), "{text}");
        let error = decode(&sealed, &sealer(&[])).unwrap_err();
        assert!(matches!(error, Unreadable::WrongKey(_)), "{error}");
    }
}

#[test]
fn the_header_of_a_sealed_document_is_authenticated_before_it_is_compared() {
    let named = |name: &str| sealer(&[1]).with_name(name);
    let record = decode(whole().as_bytes(), &sealer(&[])).unwrap();
    let sealed = encode(&record, &named("one")).unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
    assert_eq!((&envelope["name"], &envelope["lineage"]), (&"one".into(), &record.lineage.to_string().into()));
    assert_eq!(decode(&sealed, &named("one")), Ok(record.clone()));
    // Another grant's, copied here as it is.
    for sealer in [named("other"), sealer(&[1])] {
        assert_eq!(decode(&sealed, &sealer), Err(Unreadable::OtherName));
    }
    // The same, relabelled.
    let other = serde_json::json!("0123456789abcdef0123456789abcdef");
    let changes: [(&str, serde_json::Value); 6] = [
        ("/name", "other".into()),
        ("/name", serde_json::Value::Null),
        ("/lineage", other),
        ("/binding/token_url", "https://elsewhere.test/token".into()),
        ("/binding/client_id", "8".into()),
        ("/format", 1.into()),
    ];
    for (place, value) in changes {
        let mut changed = envelope.clone();
        *changed.pointer_mut(place).unwrap() = value;
        for sealer in [named("one"), named("other"), sealer(&[1])] {
            let error = decode(changed.to_string().as_bytes(), &sealer).unwrap_err();
            assert_eq!(error, Unreadable::Damaged("its encrypted part was changed or cut".to_owned()), "{place}");
        }
    }
    // One part's end is not another's beginning.
    let shifted = Binding { token_url: "canaryc".into(), client_id: "anary".into(), ..record.binding.clone() };
    let mut changed = envelope;
    changed["binding"] = serde_json::to_value(shifted).unwrap();
    assert!(decode(changed.to_string().as_bytes(), &named("one")).is_err());
}

/// As version 0.1.0 wrote them: its own field names, order and spelling.
const WRITTEN_BY_0_1_0: &str = include_str!("format_1.json");
const SEALED_BY_0_1_0: &str = include_str!("format_1_sealed.json");

#[test]
fn a_document_of_the_first_format_is_read_and_written_as_the_present_one_of_a_derived_lineage() {
    let derived = |record: &Record| Lineage::derived(&record.binding);
    let plain = decode(WRITTEN_BY_0_1_0.as_bytes(), &sealer(&[])).unwrap();
    let sealed = decode(SEALED_BY_0_1_0.as_bytes(), &sealer(&[1])).unwrap();
    for record in [&plain, &sealed] {
        assert_eq!((record.lineage, record.replaced.as_slice()), (derived(record), &[][..]));
        assert_eq!(
            (record.generation, record.refresh.as_ref().unwrap().secret().expose()),
            (Generation(3), "refresh-3")
        );
        let again = encode(record, &sealer(&[])).unwrap();
        assert!(std::str::from_utf8(&again).unwrap().contains("\"format\": 2"));
        assert_eq!(decode(&again, &sealer(&[])).as_ref(), Ok(record));
    }
    assert_eq!(Record { access: plain.access.clone(), ..sealed }, plain);
    // A lineage was no field of that format.
    let with =
        WRITTEN_BY_0_1_0.replace("\"generation\"", "\"lineage\": \"000102030405060708090a0b0c0d0e0f\", \"generation\"");
    assert_eq!(decode(with.as_bytes(), &sealer(&[])), Ok(plain));
}
