//! A Vulkan driver without a device, for tests.
//!
//! *Why.* Software renderers have one queue, finish at once and do not fail. This driver has three queues in two
//! families, keeps work back until it is told to go on, and fails when it is told to: see [`Control`].
//!
//! It is a Vulkan library by itself (`vkGetInstanceProcAddr`) and a driver for the loader (`vk_icdGetInstanceProcAddr`):
//! one device at a time. What a test says through `fake_control` holds for the whole process; a test in another process
//! speaks through the sizes of what it makes.

// UNSAFETY: the functions of a driver are called by foreign code, with raw pointers.
#![expect(unsafe_code, reason = "a Vulkan driver is called with raw pointers")]

mod device;
mod handles;
mod instance;
mod recording;
mod state;

pub use state::BUFFER_THAT_FAILS_BYTES;
pub use state::BUFFER_THAT_LOSES_BYTES;
pub use state::Control;
pub use state::Count;
pub use state::MEMORY_ALLOCATIONS;
pub use state::MEMORY_THAT_FAILS_BYTES;
pub use state::QUERIES_THAT_FAIL;
pub use state::SETS_THAT_FAIL;

use state::STATE;

/// Changes what the driver does. `kind` is a [`Control`].
#[unsafe(no_mangle)]
pub extern "C" fn fake_control(kind: u32, value: u64) {
    STATE.control(Control(kind), value);
}

/// Counts something. `kind` is a [`Count`].
#[unsafe(no_mangle)]
pub extern "C" fn fake_count(kind: u32) -> u64 {
    STATE.count(Count(kind))
}
