//! store/postgres
pub struct PostgresStore;
