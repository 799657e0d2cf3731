//! UPSTREAM: the connections to the API, and the verdict on whether a failed request may be sent again.

pub mod failure;
pub mod pool;
pub mod verdict;

#[cfg(test)]
pub(crate) mod testing;
