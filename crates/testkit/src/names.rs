//! Host names for the program: its own `/etc/hosts` and `/etc/resolv.conf`, and a name server.
//!
//! The files are mounted in a mount namespace of the program. That needs root.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::net::UdpSocket;

use crate::{Setup, program};

/// The two files. Dropping this removes them.
pub struct Names {
    folder: TempDir,
}

/// A name server on its own loopback address.
pub struct NameServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Question>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub kind: Kind,
    /// Equal ids mean that the client repeated a question.
    pub id: (SocketAddr, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
}

#[derive(Clone, Copy, Debug)]
pub enum Reply {
    Silence,
    NoAddress,
    Loopback,
}

/// Whether this machine lets the tests mount files for a program. Prints a line if not.
pub fn can_be_mounted() -> bool {
    let tried =
        std::process::Command::new("unshare").args(["--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"]).output();
    let can = tried.is_ok_and(|output| output.status.success());
    if !can {
        println!("not run: a mount namespace needs root");
    }
    can
}

impl Names {
    pub fn new(hosts: &str, resolv_conf: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hosts"), hosts).unwrap();
        std::fs::write(folder.path().join("resolv.conf"), resolv_conf).unwrap();
        Self { folder }
    }

    /// The command that runs a program with these names.
    fn wrapper(&self) -> [String; 5] {
        let folder = self.folder.path().display();
        let mounts =
            ["hosts", "resolv.conf"].map(|file| format!("mount --bind {folder}/{file} /etc/{file} && ")).concat();
        ["unshare", "--mount", "sh", "-c", &format!(r#"{mounts}exec "$0" "$@""#)].map(str::to_owned)
    }

    pub fn seen_by(&self, setup: Setup) -> Setup {
        let wrapper = self.wrapper();
        setup.under(&wrapper.each_ref().map(String::as_str))
    }

    /// The exit code and output of a command with these names.
    pub async fn run(&self, setup: &Setup, arguments: &[&str]) -> (i32, String, String) {
        let wrapper = self.wrapper();
        let path = std::env::var("PATH").unwrap();
        let program = program();
        let words: Vec<_> =
            wrapper.iter().skip(1).map(String::as_str).chain([&*program]).chain(arguments.iter().copied()).collect();
        setup.again().raw("PATH", path).program(&wrapper[0]).run(&words).await
    }
}

impl NameServer {
    /// `reply` gets the earlier questions and the new one.
    pub async fn start(reply: impl Fn(&[Question], &Question) -> Reply + Send + 'static) -> Self {
        // resolv.conf cannot name a port other than 53, so each server has its own address.
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let own = std::process::id().to_ne_bytes();
        let address = Ipv4Addr::new(127, own[0] | 1, own[1], NEXT.fetch_add(1, Ordering::Relaxed));
        let socket = UdpSocket::bind((address, 53)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Question>>>::default();
        let log = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut message = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut message).await.unwrap();
                let Some((question, end)) = parse(&message[..length], client) else { continue };
                let reply = reply(&log.lock().unwrap(), &question);
                log.lock().unwrap().push(question.clone());
                if let Some(answer) = answer(&message[..end], question.kind, reply) {
                    socket.send_to(&answer, client).await.unwrap();
                }
            }
        });
        Self { address, asked }
    }

    pub fn resolv_conf(&self, options: &str) -> String {
        format!("nameserver {}\noptions {options}\n", self.address.ip())
    }

    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }
}

/// The question of a message (RFC 1035 §4.1), and its end.
fn parse(message: &[u8], client: SocketAddr) -> Option<(Question, usize)> {
    let name = message.get(12..)?.iter().position(|byte| *byte == 0)?;
    let end = 12 + name + 5;
    let kind = match message.get(end - 4..end)? {
        [0, 1, 0, 1] => Kind::A,
        [0, 28, 0, 1] => Kind::Aaaa,
        _ => return None,
    };
    Some((Question { kind, id: (client, u16::from_be_bytes([message[0], message[1]])) }, end))
}

fn answer(question: &[u8], kind: Kind, reply: Reply) -> Option<Vec<u8>> {
    let record: &[u8] = match (reply, kind) {
        (Reply::Silence, _) => return None,
        (Reply::NoAddress, _) => &[],
        (Reply::Loopback, Kind::A) => &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1],
        (Reply::Loopback, Kind::Aaaa) => {
            &[0xc0, 12, 0, 28, 0, 1, 0, 0, 0, 60, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        }
    };
    let head = [question[0], question[1], 0x81, 0x80, 0, 1, 0, u8::from(!record.is_empty()), 0, 0, 0, 0];
    Some([&head, &question[12..], record].concat())
}
