//! The life of a request that was let in: a command of its own or a run that is shared, and the
//! end of its connection.

pub(crate) mod capture;
pub(crate) mod children;
pub(crate) mod linger;
