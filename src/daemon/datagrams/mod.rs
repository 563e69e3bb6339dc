//! Datagram sockets: requests come in, and replies leave from the address that was asked.

pub(crate) mod rate_limit;
pub(crate) mod socket;
