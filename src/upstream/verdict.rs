//! May this be sent again? A pure table (RFC 9110 §9.2.2).
