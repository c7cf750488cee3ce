//! Data structures of the object model, each without threads, memory or messages of its own.

pub mod address_space;
pub mod table;
pub mod timeline;
