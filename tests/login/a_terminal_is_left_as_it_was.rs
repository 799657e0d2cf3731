//! A terminal echoes again after a login, however the login ended, and what was pasted late reaches no shell.

use rustix::process::Signal;
use rustix::termios::LocalModes;
use simulator::{Options, Simulator};

use crate::program::{Ended, Login, Setup};
use crate::{Stdin, browser};

async fn waiting() -> (Simulator, Login) {
    let simulator = Simulator::start(Options::league8()).await.unwrap();
    let mut login = Setup::new(&simulator).login(Stdin::Terminal, &[]);
    login.says("Nothing is shown.").await;
    let modes = rustix::termios::tcgetattr(login.terminal.as_ref().unwrap()).unwrap();
    assert!(!modes.local_modes.intersects(LocalModes::ECHO | LocalModes::ICANON), "the code would be echoed");
    (simulator, login)
}

fn is_as_before(ended: &Ended) {
    let (before, after, unread) = ended.terminal.as_ref().unwrap();
    assert_eq!(
        (before.local_modes, before.input_modes, before.output_modes),
        (after.local_modes, after.input_modes, after.output_modes)
    );
    assert_eq!(*unread, 0, "the shell would read it");
    assert_eq!(ended.text.matches("\x1b[?2004h").count(), 1);
    assert_eq!(ended.text.matches("\x1b[?2004l").count(), 1);
}

#[tokio::test]
async fn by_every_signal() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let (_simulator, login) = waiting().await;
        login.signal(signal);
        let ended = login.ended().await;
        assert_eq!(ended.code, 1, "{signal:?}: {}", ended.text);
        is_as_before(&ended);
    }
}

#[tokio::test]
async fn by_a_key_and_by_success() {
    let (_simulator, mut login) = waiting().await;
    login.keys(b"\x1c");
    is_as_before(&login.ended().await);

    let (_simulator, mut login) = waiting().await;
    let back = browser::redirect(&login.url().await).await;
    assert_eq!(browser::open(&back).await.status, 200);
    let ended = login.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    is_as_before(&ended);
}

#[tokio::test]
async fn what_is_pasted_late_is_discarded() {
    let (_simulator, mut login) = waiting().await;
    let back = browser::redirect(&login.url().await).await;
    // The paste has begun when the browser comes back, and its end arrives after that.
    login.keys(b"\x1b[200~http://127.0.0.1/callback?code=late");
    let page = tokio::spawn(async move { browser::open(&back).await.status });
    login.says("stored as generation 1").await;
    let ended = login.ended().await;
    assert_eq!((ended.code, page.await.unwrap()), (0, 200), "{}", ended.text);
    is_as_before(&ended);
    assert!(!ended.text.contains("late"), "{}", ended.text);
}
