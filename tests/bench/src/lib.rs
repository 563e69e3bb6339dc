//! Load generator and floors for ruptime's benchmark.
//!
//! `load` asks a server as N concurrent clients, each asking again as soon as it has its answer (a closed loop),
//! and prints one JSON line. `floor` is what the machine itself allows: the least that any server of the kind
//! can do. A figure is worth something only as a ratio to a floor measured in the same run.
//!
//! - [`args`]: the command lines of both programs
//! - [`answer`]: is this text an answer?
//! - [`engine`]: the one loop; slots, deadlines, the measured window
//! - [`conversation`]: one request over TCP, UDP or a UNIX stream, as a non-blocking state
//! - [`tally`]: what is counted, and how it is told
//! - [`floors`]: the servers that do the least, and the textbook's
//! - [`names`]: a name server that is far away
//! - [`spawn`]: the bare cost of a command
//! - [`weigh`]: what one run of a command uses

pub mod answer;
pub mod args;
pub mod conversation;
pub mod engine;
pub mod floors;
pub mod names;
pub mod spawn;
pub mod tally;
pub mod weigh;
