//! store/file
pub struct FileStore;
