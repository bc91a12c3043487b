//! From socket to handler, and the reply back.

pub mod frame;
