//! A node of the Flower framework ([`VERSION`] only): existing deployments can be joined by Rust clients.
//!
//! Flower's Fleet protocol is protobuf over HTTP/1.1 POST. Every request is signed with the node's P-384 key; payloads
//! are hashed objects in chunks. [`FlowerTransport`] registers, activates, keeps a heartbeat on its own thread, pulls
//! tasks, pushes answers and leaves when the runs it took part in are over. Server applications need no change: stock
//! strategies of Flower aggregate what these nodes send. A server of another version is refused before anything else is
//! said, because Flower changes its wire with every release.
//!
//! `flower-app/` beside this crate is a template of a server application; it polls often instead of every three seconds.

mod connection;
mod object;
mod transport;
mod wire;

pub use connection::{NodeKey, VERSION};
pub use transport::{FlowerConfig, FlowerTransport};
