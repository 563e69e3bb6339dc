//! Many clients at once, some of them hostile, and one honest client beside them that is answered.
//! Apart from `it`, because they keep every processor busy.

#[path = "../common/mod.rs"]
mod common;

mod daemon_fairness;
mod hostile;
mod huge_fleet;
mod look_ups;
mod network_floods;
mod ssh_fleet;
