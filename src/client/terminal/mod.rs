//! What is drawn on the terminal, and the signals that come from it.

pub(crate) mod frame;
pub(super) mod progress;
pub(crate) mod screen;
pub(crate) mod signals;
