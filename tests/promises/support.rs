//! Starts the built program as its user would, and speaks to it as its clients do.

mod client;
mod disk;
pub mod names;
mod proxy;

pub use client::{Answer, Client, request};
pub use disk::{Disk, Trouble};
pub use proxy::{PROGRAM, Proxy, Setup, output};
