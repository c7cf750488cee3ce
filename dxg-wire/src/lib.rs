//! What crosses from guest to host.

mod generated;
pub mod messages;
