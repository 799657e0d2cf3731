//! Arguments to command to exit code.
