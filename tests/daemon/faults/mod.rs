//! What fails between the daemon and others: the network, and who is at its other end.

mod callers;
mod night;
mod peers;
pub(crate) mod proxy;
mod redis;
