//! Entry points of the driver and what they stand on.

pub(crate) mod forward;
pub(crate) mod proc_address;
