//! TLS towards everybody: who gets through, who doesn't, and what is said about it.

mod admin;
mod configuration;
mod gateways;
mod redis;
