//! Valid messages pass. Each promise runs over HTTP/1.1 and HTTP/2 on either side, with and without TLS.

mod bodies;
mod endings;
mod fields;
mod heads;
mod responses;
mod upgrades;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use testkit::Setup;
use testkit::connection::{Connection, Protocol};
use testkit::raw::Raw;
use testkit::stage::Stage;

/// The client and the stage of one promise.
#[derive(Clone)]
struct Scene {
    stage: Arc<Stage>,
    down: Protocol,
}

struct Promise {
    name: &'static str,
    show: fn(Scene) -> Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Lists functions of a scene.
macro_rules! promises {
    ($($file:ident::$name:ident,)*) => {
        [$(Promise { name: stringify!($name), show: |scene| Box::pin($file::$name(scene)) }),*]
    };
}

const PROMISES: [Promise; 33] = promises![
    bodies::a_body_of_any_size_arrives_whole,
    bodies::a_get_with_a_body_keeps_it,
    bodies::a_request_that_expects_100_gets_it_and_its_body_arrives,
    bodies::a_response_of_any_size_comes_back_whole,
    bodies::a_slow_client_holds_the_upstream_back,
    bodies::a_slow_upstream_holds_the_client_back,
    bodies::events_come_without_delay,
    bodies::memory_stays_flat,
    bodies::the_pieces_of_a_request_arrive_as_they_are_sent,
    bodies::trailers_pass_both_ways,
    endings::a_client_that_leaves_ends_its_request_upstream,
    endings::a_client_that_leaves_within_the_response_ends_it_upstream,
    endings::a_cut_request_is_not_ended_as_if_whole,
    endings::a_cut_response_is_not_ended_as_if_whole,
    endings::a_response_may_begin_before_the_request_has_ended,
    endings::a_response_may_end_before_the_request_has,
    fields::accept_is_made_plain_where_the_client_does_not_care,
    fields::exactly_one_authorization_and_no_credential_of_the_clients,
    fields::fields_of_the_hop_end_here,
    fields::te_trailers_is_made_anew,
    fields::unknown_and_repeated_fields_pass_in_order,
    fields::via_and_host_are_the_gateways,
    heads::any_method_arrives,
    heads::path_and_query_arrive_byte_for_byte,
    responses::a_compressed_response_is_untouched,
    responses::a_part_of_a_file_is_passed_on,
    responses::any_status_comes_back,
    responses::cookies_do_not_come_back,
    responses::redirects_pass_through,
    responses::responses_without_a_body_end_at_their_head,
    responses::the_hops_own_fields_do_not_come_back,
    upgrades::a_refused_upgrade_is_an_ordinary_answer,
    upgrades::an_upgraded_connection_carries_bytes_both_ways,
];

/// All promises on one running program, with clients of both protocols.
async fn show_all(up: Protocol, tls: bool) {
    let configure = |setup: Setup| setup.set("UPSTREAM__REPLAY_LIMIT", "64KiB").set("LOG__REQUESTS", "none");
    let stage = Stage::new(up, tls, configure).await;
    let stage = Arc::new(stage);
    let only = std::env::var("PROMISE").ok();
    let mut broken = Vec::new();
    for down in [Protocol::Http1, Protocol::Http2] {
        for Promise { name, show } in &PROMISES {
            if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let scene = Scene { stage: Arc::clone(&stage), down };
            let shown = tokio::time::timeout(Duration::from_secs(60), tokio::spawn(show(scene))).await;
            if !matches!(shown, Ok(Ok(()))) {
                broken.push(format!("{name}, {down:?} to {up:?}{}", if tls { ", TLS" } else { "" }));
            }
        }
    }
    let log = stage.proxy.log().join("\n");
    assert!(broken.is_empty(), "broken:\n{}\nthe program said:\n{log}", broken.join("\n"));
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test]
async fn to_http1() {
    show_all(Protocol::Http1, false).await;
}

#[tokio::test]
async fn to_http1_with_tls() {
    show_all(Protocol::Http1, true).await;
}

#[tokio::test]
async fn to_http2() {
    show_all(Protocol::Http2, false).await;
}

#[tokio::test]
async fn to_http2_with_tls() {
    show_all(Protocol::Http2, true).await;
}

impl Scene {
    async fn client(&self) -> Connection {
        self.stage.client(self.down).await
    }

    async fn raw(&self) -> Raw {
        self.stage.raw().await
    }

    /// Whether the protocol has connection-specific fields.
    fn is_http1(&self) -> bool {
        self.down == Protocol::Http1
    }
}
