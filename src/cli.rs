//! Arguments to command to exit code.

pub mod config;
