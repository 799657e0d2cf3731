//! The request line.

use http::Method;

use super::Scene;
use testkit::body::{empty, full};
use testkit::connection::{get, request};
use testkit::within;

pub async fn any_method_arrives(scene: Scene) {
    let mut record = scene.stage.origin.record("/method");
    let mut client = scene.client().await;
    for name in [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "PROPFIND",
        "QUERY",
        "M-SEARCH",
        // Methods are case-sensitive (RFC 9110 §9.1).
        "get",
        "x!#$%&'*+.^_`|~1",
    ] {
        let method = Method::from_bytes(name.as_bytes()).unwrap();
        let body = if name == "POST" { full("x") } else { empty() };
        assert_eq!(client.ask(request(method, "/method", body)).await.status, 200, "{name}");
        let seen = within(record.recv()).await.unwrap();
        assert_eq!(seen.method, name);
        assert_eq!(seen.body, if name == "POST" { "x" } else { "" }, "{name}");
    }
}

pub async fn path_and_query_arrive_byte_for_byte(scene: Scene) {
    let mut client = scene.client().await;
    for target in [
        "/",
        "/?",
        "/??",
        "/?a=b&c=d",
        "//",
        "//a//b",
        "/a/./b/../c",
        "/a%2Fb%2fc",
        "/%41%7e%C3%A4",
        "/a;v=1;w=2/b?c;d",
        "/a+b%20c?d+e%20f",
        "/:@!$&'()*,=-._~",
        "/p?:@/?!$&'()*+,;=-._~",
        "/p?q=%00%0d%0a",
        "/a?redirect=http://other.example/x?y=z",
        "/?[]{}|^\\",
    ] {
        let path = target.split('?').next().unwrap();
        let mut record = scene.stage.origin.record(path);
        assert_eq!(client.ask(get(target)).await.status, 200, "{target}");
        assert_eq!(within(record.recv()).await.unwrap().target, target);
    }
}
