//! Arguments to command to exit code.

pub mod config;
pub mod demo;
pub mod serve;
