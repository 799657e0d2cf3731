//! A REQUEST: the tower stack, in the order of processing.
