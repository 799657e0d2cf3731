//! Files and directories that the configuration names, and that may belong to another user.

mod directory;
mod input;

pub use directory::open_directory;
pub use input::{mode_if_world_readable, read_certificates, read_private_key, read_text};
