//! How exchanges end: early, truncated, or because one side has left.

use std::sync::{Arc, Mutex};

use http::{Method, Response};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::Scene;
use testkit::body::{Feed, fed, full, pattern};
use testkit::connection::{get, read, request};
use testkit::within;

/// Passes one value from the upstream to the test.
fn handover<T: Send>() -> (impl Fn(T) + Clone + Send + Sync, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    let sender = Arc::new(Mutex::new(Some(sender)));
    let give = move |thing| {
        if let Some(sender) = sender.lock().unwrap().take() {
            let _ = sender.send(thing);
        }
    };
    (give, receiver)
}

pub async fn a_response_may_begin_before_the_request_has_ended(scene: Scene) {
    scene.stage.origin.on("/early", |arrived| async move {
        Ok(Response::new(arrived.request.into_body().map_err(Into::into).boxed_unsync()))
    });
    let mut client = scene.client().await;
    let (feed, body) = fed();
    assert!(feed.send("first").await);
    let mut response = within(client.send(request(Method::POST, "/early", body))).await.unwrap();
    for piece in ["first", "second", "third"] {
        if piece != "first" {
            assert!(feed.send(piece).await);
        }
        assert_eq!(within(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    drop(feed);
    assert_eq!(within(read(response)).await.body, "");
}

pub async fn a_response_may_end_before_the_request_has(scene: Scene) {
    scene
        .stage
        .origin
        .on("/enough", |_| async move { Ok(Response::builder().status(413).body(full("enough")).unwrap()) });
    let mut client = scene.client().await;
    let (feed, body) = fed();
    assert!(feed.send(pattern(1000)).await);
    let response = within(client.send(request(Method::POST, "/enough", body))).await.unwrap();
    let answer = within(read(response)).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (413, "enough"));
    assert_eq!(answer.problem(), "");
    drop(feed);
}

pub async fn a_cut_response_is_not_ended_as_if_whole(scene: Scene) {
    for announced in [None, Some(100)] {
        scene.stage.origin.on("/cut", move |_| async move {
            let (feed, body) = fed();
            tokio::spawn(async move {
                feed.send("begun").await;
                feed.fail().await;
            });
            let mut response = Response::new(body);
            if let Some(length) = announced {
                response.headers_mut().insert("content-length", length.into());
            }
            Ok(response)
        });
        let mut client = scene.client().await;
        // The head may be under way when the connection ends. The client then sees a truncated head or body.
        let Ok(mut response) = within(client.send(get("/cut"))).await else { continue };
        if response.status() == 502 {
            continue;
        }
        assert_eq!(response.status(), 200);
        let ended = within(async {
            loop {
                match response.body_mut().frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(_)) => {}
                }
            }
        });
        assert!(!ended.await, "it was ended as if whole ({announced:?})");
    }
}

pub async fn a_cut_request_is_not_ended_as_if_whole(scene: Scene) {
    let (give, body) = handover();
    scene.stage.origin.on("/cut-request", move |arrived| {
        give(arrived.request.into_body());
        std::future::pending()
    });
    let mut client = scene.client().await;
    let (feed, feeding) = fed();
    let asking = tokio::spawn(async move {
        let _ = client.send(request(Method::POST, "/cut-request", feeding)).await;
    });
    feed.send("begun").await;
    let mut body = within(body).await.unwrap();
    assert_eq!(within(body.frame()).await.unwrap().unwrap().into_data().unwrap(), "begun");
    feed.fail().await;
    assert!(within(body.frame()).await.unwrap().is_err(), "it was ended as if whole");
    within(asking).await.unwrap();
}

pub async fn a_client_that_leaves_ends_its_request_upstream(scene: Scene) {
    let (give, body) = handover();
    scene.stage.origin.on("/left", move |arrived| {
        // This is dropped with the exchange.
        let (alive, gone) = oneshot::channel::<()>();
        give(gone);
        async move {
            let _alive = alive;
            let _request = arrived;
            std::future::pending().await
        }
    });
    let mut client = scene.client().await;
    let asking = tokio::spawn(async move {
        let _ = client.send(get("/left")).await;
        client
    });
    let gone = within(body).await.unwrap();
    asking.abort();
    assert!(within(gone).await.is_err());
}

pub async fn a_client_that_leaves_within_the_response_ends_it_upstream(scene: Scene) {
    let (give, feed) = handover::<Feed>();
    scene.stage.origin.on("/left-later", move |_| {
        let (feed, body) = fed();
        give(feed);
        async move { Ok(Response::new(body)) }
    });
    let mut client = scene.client().await;
    let mut response = within(client.send(get("/left-later"))).await.unwrap();
    let feed = within(feed).await.unwrap();
    feed.send("begun").await;
    assert_eq!(within(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap(), "begun");
    drop(response);
    client.close().await;
    // A write shows that the socket is closed.
    within(async {
        while feed.send("more").await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
