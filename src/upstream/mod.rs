//! The services the daemon calls: room, signaling, auth.
