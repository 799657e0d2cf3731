//! A process is killed after it wrote the new pair and before it renamed the file. The next process stores that pair, whatever
//! `oauth.ambiguous_retry` is, and even if it is killed in the process.

use futures_util::future::join_all;
use http::StatusCode;
use simulator::{Options, Simulator};

use crate::killed_at_every_step::ask_for_a_refresh;
use crate::pipe::{Pipe, stop_at};
use crate::support::Proxy;

#[tokio::test]
async fn the_next_process_stores_it() {
    for policy in ["until_clear", "never"] {
        let deaths = [("written 2", "adopting"), ("flushed 2", "adopted")];
        join_all(deaths.map(|(death, next)| stored_after(policy, death, next))).await;
    }
}

async fn stored_after(policy: &str, death: &str, next: &str) {
    let what = format!("{policy}, killed at {death}, then at {next}");
    let simulator = Simulator::start(Options { rate_limit: None, ..Options::league8() }).await.unwrap();
    let proxy = Proxy::before(&simulator).set("OAUTH__AMBIGUOUS_RETRY", policy).start().await;
    proxy.ready().await;
    let setup = proxy.stop().await.unset("OAUTH__REFRESH_TOKEN");
    let mut pipe = Pipe::new();

    let killed = stop_at(pipe.report(setup.again()), death).start().await;
    let asking = ask_for_a_refresh(killed.admin_address());
    pipe.stopped(killed.pid(), death).await;
    killed.kill().await;
    drop(asking);
    let killed = stop_at(pipe.report(setup.again()), next).spawn();
    pipe.stopped(killed.pid(), next).await;
    killed.kill().await;

    let proxy = setup.start().await;
    proxy.ready().await;
    let spent = || simulator.with_ledger(|ledger| ledger.calls_per_refresh_token());
    let before = spent();
    assert!(before.values().all(|count| *count == 1), "{what}: {before:?}\n{}", proxy.log().join("\n"));
    assert_eq!(proxy.get("/api/v2/version").await.status, StatusCode::OK, "{what}\n{}", proxy.log().join("\n"));
    assert_eq!(spent(), before, "{what}: nothing was presented for it");
    let refreshed = proxy.refresh().await;
    assert_eq!(refreshed.status, StatusCode::OK, "{what}: {}\n{}", refreshed.text(), proxy.log().join("\n"));
    assert!(spent().values().all(|count| *count == 1), "{what}: {:?}", spent());
    proxy.stop().await;
}
