//! DOWNSTREAM: accept, one connection, drain.
