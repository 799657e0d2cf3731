use std::path::Path;

use super::answers::Answers;
use super::options::{Grant, ProfileName};
use super::*;
use crate::secret::Secret;

fn answers(grant: Grant, profile: ProfileName) -> Answers {
    Answers {
        grant,
        profile,
        client_id: "7".to_owned(),
        client_secret: Some(Secret::new("canary-secret")),
        refresh_token: None,
        redirect_uri: None,
        region: None,
        upstream_url: None,
        token_url: None,
        authorize_url: None,
        scope: None,
        request_path: Some("/v1/me".to_owned()),
    }
}

/// What the written file is read as. The secret's file must exist for it.
fn read(answers: &Answers) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join(SECRET_FILE);
    std::fs::write(&secret, "canary-secret").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = Settings::new(answers, folder.path()).file();
    assert!(!text.contains("canary"), "{text}");
    let file = folder.path().join(CONFIG_FILE);
    std::fs::write(&file, &text).unwrap();
    let loaded = Config::load(&Sources::new(Some(file), std::iter::empty::<(&str, &str)>()));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    assert!(loaded.warnings.is_empty(), "{:?}\n{text}", loaded.warnings);
    loaded
}

#[test]
fn every_profile_and_grant_gives_a_valid_configuration_without_warnings() {
    for grant in [Grant::ClientCredentials, Grant::RefreshToken, Grant::Login] {
        read(&answers(grant, ProfileName::Passolution));
        let region = Some("EU \"quoted\"".to_owned());
        let redirect_uri = Some("https://app.example/callback".to_owned());
        let loaded = read(&Answers { region, redirect_uri, ..answers(grant, ProfileName::Priava) });
        assert_eq!(loaded.config.upstream.headers["TenantRegion"], "EU \"quoted\"");
        let [upstream_url, token_url, authorize_url] =
            ["api.example/v1", "login.example/token", "login.example/authorize"]
                .map(|url| Some(format!("https://{url}")));
        let custom = Answers { upstream_url, token_url, authorize_url, ..answers(grant, ProfileName::Custom) };
        let config = read(&custom).config;
        assert_eq!(config.upstream.path_prefix, "/v1");
        assert_eq!(config.check.path.as_deref(), Some("/v1/me"));
    }
}

#[test]
fn the_configuration_is_checked_before_it_is_written() {
    let check = |answers: &Answers| super::check(&Settings::new(answers, Path::new("/etc/bearer-proxy")), answers);
    assert!(check(&answers(Grant::Login, ProfileName::Passolution)).is_ok());
    let failure = check(&answers(Grant::Login, ProfileName::Priava)).unwrap_err();
    assert_eq!(failure.exit, crate::cli::Exit::InvalidConfiguration);
    assert!(failure.text.starts_with("nothing was written, because of:\n"), "{failure}");
    assert!(failure.text.contains("TenantRegion") && failure.text.contains("oauth.redirect_uri"), "{failure}");
    let secret = Some(Secret::new("canary\nsecret"));
    let failure = check(&Answers { client_secret: secret, ..answers(Grant::Login, ProfileName::Passolution) });
    let failure = failure.unwrap_err();
    assert!(failure.text.contains("oauth.client_secret (--client-secret-file)"), "{failure}");
    assert!(!failure.text.contains("canary"), "{failure}");
}
