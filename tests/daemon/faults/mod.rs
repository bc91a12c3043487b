//! What fails between the daemon and others: the network, and who is at its other end.

mod night;
mod peers;
mod proxy;
