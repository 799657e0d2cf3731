//! DOWNSTREAM: listeners, workers, connections, and the drain.
//!
//! ```text
//! listener ─ accept (one loop, in worker 0) ─ the worker with the fewest connections ─ connection ─ service
//! ```
//!
//! Each worker is a thread with its own runtime. A connection stays in its worker, so that threads share nothing on the path of a
//! request. One accept loop assigns connections to workers. With `SO_REUSEPORT`, the kernel would assign them by hash, and the four
//! long-lived connections of a typical client could all land on one core.
//!
//! A connection costs one timer, whatever its number of requests: see `lifetime`.

mod accept;
mod admission;
mod command;
mod connection;
mod connection_state;
mod connections;
mod context;
mod drain;
mod event_batching;
mod half_close;
mod http;
mod in_flight;
mod lifetime;
mod limits;
pub mod listener;
mod protocol;
mod server;
mod service;
mod settings;
mod signals;
mod socket;
mod stream;
mod stream_stall;
mod strict_http1;
pub mod tls;
mod transport;
mod worker;

pub use connections::Connections;
pub use limits::Limits;
pub use server::{BindError, Running, Server, StartError};
#[cfg(feature = "internals")]
pub use service::{BoxError, Service};
pub use service::{KeyRefused, OwnResponse};
pub use signals::Ambiguity;
pub use stream::Stream;

#[cfg(test)]
mod tests;
