//! How a client gets in: connections are taken out of the backlogs, and their peers are let in
//! or turned away.

pub(crate) mod admission;
pub(crate) mod listener;
pub(crate) mod peer;
