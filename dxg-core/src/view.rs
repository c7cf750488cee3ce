//! Memory of the device that this process sees: a window of the host or a mapping of the kernel.

use dxg_wire::shm::SharedSlice;

use crate::kernel::KernelView;

/// A range of device memory. The device may write it at any time: there are copies and atomic loads, and no slices.
#[derive(Debug)]
pub(crate) enum View {
    /// A window, or part of one.
    Window(SharedSlice),
    /// A mapping that the kernel made.
    Kernel(KernelView),
}

impl View {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Window(memory) => memory.len(),
            Self::Kernel(memory) => memory.len(),
        }
    }

    /// Copies out; `None` past the end.
    pub(crate) fn read(&self, at: usize, into: &mut [u8]) -> Option<()> {
        match self {
            Self::Window(memory) => memory.copy_out(at, into).ok(),
            Self::Kernel(memory) => memory.read(at, into),
        }
    }

    /// Copies in; `None` past the end.
    pub(crate) fn write(&self, at: usize, from: &[u8]) -> Option<()> {
        match self {
            Self::Window(memory) => memory.copy_in(at, from).ok(),
            Self::Kernel(memory) => memory.write(at, from),
        }
    }

    /// The value at an aligned offset; `None` past the end or misaligned.
    pub(crate) fn load_u64(&self, at: usize) -> Option<u64> {
        match self {
            Self::Window(memory) => {
                memory.atomic_u64(at).ok().map(|word| word.load(std::sync::atomic::Ordering::Acquire))
            }
            Self::Kernel(memory) => memory.load_u64(at),
        }
    }
}
