//! An authorization server and API that behave as the real ones.
