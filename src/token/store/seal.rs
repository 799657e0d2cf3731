//! store/seal
pub struct Sealer;
