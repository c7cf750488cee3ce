//! The C side: pointers of the program, its functions, memory by address, and the end of the process.

pub mod callbacks;
pub mod descriptors;
pub mod entry;
pub mod exit;
pub mod mark;
pub mod memory;
pub mod pointers;
pub mod print;
