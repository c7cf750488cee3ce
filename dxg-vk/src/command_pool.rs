//! Which command buffers a command pool holds.

use std::collections::HashSet;

use ash::vk;
use parking_lot::Mutex;

/// A command pool.
#[derive(Debug, Default)]
pub struct CommandPool {
    buffers: Mutex<HashSet<vk::CommandBuffer>>,
}

impl CommandPool {
    /// Adds a command buffer.
    pub fn insert(&self, buffer: vk::CommandBuffer) {
        self.buffers.lock().insert(buffer);
    }

    /// Removes a command buffer; says whether it was there.
    pub fn remove(&self, buffer: vk::CommandBuffer) -> bool {
        self.buffers.lock().remove(&buffer)
    }

    /// Visits every command buffer.
    pub fn each(&self, visit: impl FnMut(vk::CommandBuffer)) {
        self.buffers.lock().iter().copied().for_each(visit);
    }

    /// Removes all.
    pub fn take_all(&self) -> HashSet<vk::CommandBuffer> {
        std::mem::take(&mut self.buffers.lock())
    }
}
