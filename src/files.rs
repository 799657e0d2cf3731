//! Files and directories whose path the configuration names, and which may belong to somebody else.

mod directory;
mod input;

pub use directory::open_directory;
pub use input::{mode_if_world_readable, read_certificates, read_private_key, read_text};
