//! Every metric of the program.
