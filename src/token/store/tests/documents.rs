//! What every durable store promises about its documents.

use super::*;

pub(super) async fn the_first_key_encrypts_from_the_next_write_on_and_all_decrypt(site: Site) {
    let mut present = grant(1, "one");
    write(&site.store().await, NOTHING, &present).await;
    assert!(site.raw().await.contains("access-1"));

    // Until a person says that it is theirs, it may be anybody's.
    let store = site.store_with_keys(&[1]).await;
    let plaintext = site.raw().await;
    for error in [
        store.load().await.unwrap_err(),
        store.write(expecting(&present), &grant(2, "two")).await.unwrap_err(),
        store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Refused(text) if text.contains("bearer-proxy seal")), "{error:?}");
    }
    assert_eq!(site.raw().await, plaintext);
    assert_eq!(store.seal().await.unwrap(), Sealing::Sealed);
    assert!(!site.raw().await.contains("access-1"));
    assert_eq!(store.seal().await.unwrap(), Sealing::AlreadySealed);

    // Each step reads what the one before it wrote: keys at all, two rotations, and the end of each.
    for (generation, keys) in [(2, &[1][..]), (3, &[2, 1]), (4, &[2]), (5, &[3, 2]), (6, &[3])] {
        let store = site.store_with_keys(keys).await;
        assert_eq!(store.load().await.unwrap(), Some(present.clone()), "keys {keys:?}");
        let next = grant(generation, &generation.to_string());
        write(&store, expecting(&present), &next).await;
        assert!(!site.raw().await.contains("refresh_token"), "keys {keys:?}");
        present = next;
    }
}

pub(super) async fn a_wrong_key_is_a_clear_error_and_changes_nothing(site: Site) {
    let present = grant(1, "one");
    write(&site.store_with_keys(&[1]).await, NOTHING, &present).await;
    let before = site.raw().await;
    for keys in [&[][..], &[2], &[2, 3]] {
        let store = site.store_with_keys(keys).await;
        let errors = [
            store.load().await.unwrap_err(),
            store.write(expecting(&present), &grant(2, "two")).await.unwrap_err(),
            store.write(NOTHING, &grant(2, "two")).await.unwrap_err(),
            store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
        ];
        for error in errors {
            assert!(
                matches!(&error, StoreError::WrongKey(text) if text.contains("is encrypted with key")),
                "{error:?}"
            );
        }
        assert_eq!(site.raw().await, before, "keys {keys:?}");
        assert!(site.kept_aside().await.is_empty());
    }
    assert_eq!(site.store_with_keys(&[2, 1]).await.load().await.unwrap(), Some(present));
}

pub(super) async fn a_damaged_document_is_refused_and_replaced_only_when_asked_for(site: Site) {
    let store = site.store_with_keys(&[1]).await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let whole = site.raw().await;
    let mut kept = 0;
    for damaged in ["", " ", "\u{1}\u{2}", "{}", "[]", "{\"format\":1}", "def50200", &whole[..whole.len() / 2]] {
        site.put_raw(damaged).await;
        for error in [
            store.load().await.unwrap_err(),
            store.write(NOTHING, &grant(2, "two")).await.unwrap_err(),
            store.write(expecting(&grant(1, "one")), &grant(2, "two")).await.unwrap_err(),
            site.store().await.load().await.unwrap_err(),
        ] {
            assert!(matches!(&error, StoreError::Damaged(_)), "{damaged:?}: {error:?}");
            assert!(damaged.is_empty() || !error.to_string().contains("def50200"), "{error}");
        }
        assert_eq!(site.raw().await, damaged);

        let lease = held(store.lease("a person", LONG).await.unwrap());
        let imported = grant(7, "imported");
        assert!(matches!(store.replace_damaged(&imported).await.unwrap(), Written::Done));
        store.release(lease).await;
        assert_eq!(store.load().await.unwrap(), Some(imported.clone()));
        kept += 1;
        let aside = site.kept_aside().await;
        assert!(aside.iter().any(|text| text == damaged), "{damaged:?} is lost: {aside:?}");
        assert_eq!(aside.len(), kept, "one copy of each: {aside:?}");

        let written = store.replace_damaged(&grant(8, "eight")).await.unwrap();
        assert!(matches!(&written, Written::Superseded(Some(present)) if **present == imported), "{written:?}");
    }
}

pub(super) async fn a_document_of_a_newer_version_is_left_alone(site: Site) {
    let store = site.store().await;
    write(&store, NOTHING, &grant(1, "one")).await;
    let newer = site.raw().await.replacen("\"format\": 2", "\"format\": 3", 1);
    site.put_raw(&newer).await;
    for error in [
        store.load().await.unwrap_err(),
        store.write(expecting(&grant(1, "one")), &grant(2, "two")).await.unwrap_err(),
        store.replace_damaged(&grant(2, "two")).await.unwrap_err(),
    ] {
        assert!(matches!(&error, StoreError::Damaged(text) if text.contains("newer version (format 3")), "{error:?}");
    }
    assert_eq!(site.raw().await, newer);
    assert!(site.kept_aside().await.is_empty());
}
