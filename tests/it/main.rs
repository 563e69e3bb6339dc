//! The real programs over real sockets: each file is a subject, named by the program it is about.
//!
//! `cargo test --test it client_` runs the tests of the files whose names begin so.

#[path = "../common/mod.rs"]
mod common;

mod capture_commit;
mod capture_faults;
mod client_datagram;
mod client_discover;
mod client_discover_names;
mod client_fleet;
mod client_hosts;
mod client_memory;
mod client_names;
mod client_resolver;
mod client_ssh;
mod client_stream;
mod client_unix;
mod completions;
mod daemon_bad_input;
mod daemon_capture;
mod daemon_clients;
mod daemon_command;
mod daemon_datagram;
mod daemon_launch;
mod daemon_limits;
mod daemon_listen;
mod daemon_manager;
mod daemon_shared_sockets;
mod daemon_stop;
mod datagram_hostile;
mod datagram_launch;
mod manual;
mod metrics;
mod nagios;
mod network_addresses;
mod passed_descriptors;
mod render_progress;
mod render_watch;
mod textbook;
