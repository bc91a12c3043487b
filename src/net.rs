//! The sockets of the daemon's core: the system's, or those of a simulated network.
//!
//! Whoever listens, accepts, connects or looks at a socket in the way of a message does it with what
//! stands here, so that the whole core runs on simulated hosts too (feature `simulation`).

#[cfg(feature = "simulation")]
mod simulated;
#[cfg(not(feature = "simulation"))]
mod system;

#[cfg(feature = "simulation")]
pub use self::simulated::{
    TcpListener, TcpStream, are_descriptors_short, forget_readable, hand_over, keep_alive, listen,
    lookup_host, peek, read_now, readable, write_now,
};
#[cfg(not(feature = "simulation"))]
pub use self::system::{
    TcpListener, TcpStream, are_descriptors_short, forget_readable, hand_over, keep_alive, listen,
    lookup_host, peek, read_now, readable, write_now,
};
