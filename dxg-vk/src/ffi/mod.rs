//! The C side of the driver: exported functions, entry points, handles and pointers of the program.
//!
//! An entry point turns handles and pointers into references, slices and values, and calls logic that knows neither. What
//! a program must guarantee is in the Vulkan specification; each conversion says which guarantee it stands on.

mod binding;
mod command;
pub(crate) mod describe;
mod descriptor_writes;
mod descriptors;
mod device;
mod event;
mod fd;
mod fence;
pub(crate) mod forward;
pub(crate) mod guard;
mod handles;
pub mod host_pointers;
mod instance;
pub mod loader;
mod memory;
mod memory_fd;
mod physical;
pub(crate) mod pipeline_scrub;
mod pipelines;
mod pointers;
mod private_data;
pub(crate) mod proc_address;
mod procs;
mod queries;
mod queries_physical;
mod queue;
mod resources;
mod semaphore;
mod sync_fd;
mod templates;
pub(crate) mod wayland;
mod wsi;
