//! Files and directories whose path the configuration names, and which may belong to somebody else.

mod directory;

pub use directory::open_directory;
