//! Two network namespaces, joined by a pair of interfaces, so that a path can lose packets.

use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Setup;

/// Removed when dropped.
pub struct Namespaces {
    pub client: String,
    pub server: String,
}

impl Namespaces {
    /// The addresses of the two sides: loopback addresses, because the program sends plaintext only to those.
    pub const CLIENT: &str = "127.77.0.1";
    pub const SERVER: &str = "127.77.0.2";

    /// `None`: this user or this machine can't create them.
    pub fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() || !succeeds("nft", &["--version"]) {
            println!("not run: network namespaces need root and the commands `ip` and `nft`");
            return None;
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |side: &str| format!("bp-{}-{number}-{side}", std::process::id());
        let namespaces = Self { client: name("c"), server: name("s") };
        let Self { client, server } = &namespaces;
        let made = ip(&format!("netns add {client}"))
            && ip(&format!("netns add {server}"))
            && ip(&format!("-n {client} link add bp0 type veth peer name bp0 netns {server}"))
            && [(client, Self::CLIENT), (server, Self::SERVER)].into_iter().all(|(side, address)| {
                let route = "echo 1 >/proc/sys/net/ipv4/conf/bp0/route_localnet";
                succeeds("ip", &["netns", "exec", side, "sh", "-c", route])
                    && ip(&format!("-n {side} addr add {address}/30 dev bp0"))
                    && ip(&format!("-n {side} link set bp0 up"))
                    && ip(&format!("-n {side} link set lo up"))
            });
        if !made {
            println!("not run: this machine does not let the test create network namespaces");
        }
        made.then_some(namespaces)
    }

    /// Runs this on a thread in a namespace.
    pub fn within<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/run/netns/{name}")).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    /// A program that runs on the client's side.
    pub fn around(&self, setup: Setup) -> Setup {
        setup.under(&["nsenter", &format!("--net=/run/netns/{}", self.client)])
    }

    /// Runs a command of `nft` on the server's side.
    pub fn nft(&self, command: &str) {
        let words: Vec<&str> = ["netns", "exec", &self.server, "nft"].into_iter().chain(command.split(' ')).collect();
        assert!(succeeds("ip", &words), "{command}");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.client));
        ip(&format!("netns del {}", self.server));
    }
}

fn ip(arguments: &str) -> bool {
    succeeds("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn succeeds(command: &str, arguments: &[&str]) -> bool {
    Command::new(command).args(arguments).output().is_ok_and(|output| output.status.success())
}
