//! What the integration tests and the benchmarks use of the program.
//!
//! Only `main` uses the library otherwise. Without this feature, nothing but the entry point is public, so the compiler reports
//! dead code.

pub mod check {
    pub use crate::check::*;
}
pub mod clock {
    pub use crate::clock::*;
}
pub mod config {
    pub use crate::config::*;
}
pub mod descriptors {
    pub use crate::descriptors::*;
}
pub mod downstream {
    pub use crate::downstream::*;
}
pub mod metrics {
    pub use crate::metrics::*;
}
pub mod proxy {
    pub use crate::proxy::*;
}
pub mod token {
    pub use crate::token::*;
}
pub mod upstream {
    pub use crate::upstream::*;
}
