//! TLS towards everybody: who gets through, who doesn't, and what is said about it.

mod configuration;
mod gateways;
