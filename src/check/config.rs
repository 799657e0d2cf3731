//! Checks of the configuration. They read the result of loading it, and nothing else.

use http::Method;

use super::finding::Finding;
use super::ids::Id;
use crate::config::{AllowRule, Config, Errors, Loaded, Topic};

const SEE_KEYS: &str = "correct the key; `bearer-proxy config` prints every key with its value and its source";

pub fn judge(loaded: Result<&Loaded, &Errors>, service_links: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    match loaded {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                let detail = warning.to_string();
                findings.extend(match warning.topic {
                    Topic::UnusedKey => Some(Id::ConfigUnusedKey.warn(detail, "remove the key")),
                    Topic::Exposure => Some(Id::ConfigInsecureExposure.warn(
                        detail,
                        "set guard.client_keys, tls.client_ca_file or guard.hosts, or listen on a loopback address",
                    )),
                    Topic::Other => Some(Id::ConfigDoubtful.warn(detail, "correct or remove the value")),
                    _ => None,
                });
            }
            findings.extend(post_to_laravel(&loaded.config));
        }
        Err(Errors(errors)) => {
            for error in errors {
                let detail = error.to_string();
                findings.extend(match error.topic() {
                    Topic::UnknownKey => Some(Id::ConfigUnknownKey.fail(detail, "correct or remove the key")),
                    Topic::Other => Some(Id::ConfigInvalid.fail(detail, SEE_KEYS)),
                    _ => None,
                });
            }
        }
    }
    if let Some(first) = service_links.first() {
        let count = service_links.len();
        findings.push(Id::ConfigServiceLinks.warn(
            format!("Kubernetes injects {count} variables of services, such as {first}; bearer-proxy ignores them"),
            "set enableServiceLinks: false in the pod's spec",
        ));
    }
    findings
}

/// Laravel takes the method from the parameter `_method` of a POST body, which the proxy streams and does not read.
fn post_to_laravel(config: &Config) -> Option<Finding> {
    let rules = config.guard.allow.as_deref().filter(|_| config.profile.has_method_in_body())?;
    let allows = |method: &Method, like: &AllowRule| {
        rules.iter().any(|rule| rule.method.as_ref().is_none_or(|other| other == method) && rule.path == like.path)
    };
    let overridden = [Method::PUT, Method::PATCH, Method::DELETE];
    let is_wider = |rule: &&AllowRule| {
        rule.method.as_ref() == Some(&Method::POST) && !overridden.iter().all(|method| allows(method, rule))
    };
    let count = rules.iter().filter(is_wider).count();
    let paths = if count == 1 { "path" } else { "paths" };
    (count > 0).then(|| {
        Id::ConfigAllowPostLaravel.warn(
            format!("guard.allow permits POST on {count} {paths}. Laravel turns a POST with `_method` in its body into PUT, PATCH or DELETE, and the proxy does not read bodies"),
            "also allow PUT, PATCH and DELETE if clients may use them; otherwise give the grant fewer scopes",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{load, names};

    #[test]
    fn each_fault_of_a_configuration_has_its_id() {
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let rows: &[Case<'_>] = &[
            (&[], &[]),
            (&[("LISTN", "127.0.0.1:1")], &["config-unknown-key"]),
            (&[("LISTEN", "nowhere")], &["config-invalid"]),
            (&[("OAUTH__ACCESS_TOKEN", "x")], &["config-unused-key"]),
            (&[("LISTEN", "0.0.0.0:8080")], &["config-insecure-exposure"]),
            (&[("LISTEN", "0.0.0.0:8080"), ("GUARD__HOSTS", "api")], &[]),
            (&[("UPSTREAM__REPLAY_BUDGET", "1KiB")], &["config-doubtful"]),
            (&[("GUARD__ALLOW", "GET /a,POST /a")], &["config-allow-post-laravel"]),
            (&[("GUARD__ALLOW", "GET /a,* /a,POST /a")], &[]),
            (&[("GUARD__ALLOW", "PUT /a,PATCH /a,DELETE /a,POST /a")], &[]),
            (&[("GUARD__ALLOW", "PUT /b,PATCH /a,DELETE /a,POST /a")], &["config-allow-post-laravel"]),
            (&[("GUARD__ALLOW", "GET /a")], &[]),
            (
                &[
                    ("GUARD__ALLOW", "POST /a"),
                    ("PROFILE", "custom"),
                    ("UPSTREAM__URL", "https://a.test"),
                    ("OAUTH__TOKEN_URL", "https://a.test/token"),
                ],
                &[],
            ),
        ];
        for (variables, expected) in rows {
            assert_eq!(names(&judge(load(variables).as_ref(), &[])), *expected, "{variables:?}");
        }
        let links = ["BEARER_PROXY_ADMIN_PORT".to_owned()];
        assert_eq!(names(&judge(load(&[]).as_ref(), &links)), ["config-service-links"]);
    }
}
