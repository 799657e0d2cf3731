//! store/memory
pub struct MemoryStore;
