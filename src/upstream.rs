//! UPSTREAM: the connections to the API, and the verdict on whether a failed request may be sent again.

pub(crate) mod failure;
pub mod pool;
pub(crate) mod verdict;

#[cfg(test)]
pub(crate) mod testing;
