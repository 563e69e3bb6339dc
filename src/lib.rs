//! ruptime: remote uptime, in the spirit of "a socket is a file descriptor".
//!
//! systemd holds the listening sockets; `ruptimed` inherits them, hands each connection to
//! `uptime` as its standard output and error, and leaves when nobody asks. `ruptime` asks one
//! machine or thousands.
//!
//! Data flows one way through each program:
//!
//! - [`daemon`]: descriptors → classified sockets → loop → hand-off → reaping and limits →
//!   journal and service manager;
//! - [`client`]: arguments → targets → query → parsed report → rendering.
//!
//! The two share nothing but the [`PORT`] and the [`SERVICE`] name: the protocol is "connect, read to the end".

mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "daemon")]
pub mod daemon;
pub mod escape;
#[cfg(test)]
mod found;
mod rights;

/// The service's name in services(5), looked up by the client.
pub const SERVICE: &str = "ruptime";

/// The port, stream and datagram, where services(5) does not know [`SERVICE`]. A configurable
/// default, not an IANA registration (10501-10539 are unassigned).
pub const PORT: u16 = 10513;
