//! The loss of a device, carried from the thread that meets it to the thread of the stream.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering;

use ash::vk;
use dxg_wire::doorbell;

/// Result of the driver that meant a loss, until the stream's thread has seen it.
#[derive(Debug)]
pub(crate) struct Lost {
    result: AtomicI32,
    bell: OwnedFd,
}

impl Lost {
    /// Nothing is lost. The descriptor beside it is readable from the moment something is.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let bell = doorbell::create()?;
        let watched = bell.try_clone()?;
        Ok((Self { result: AtomicI32::new(vk::Result::SUCCESS.as_raw()), bell }, watched))
    }

    /// Tells the stream's thread; the first result counts.
    pub(crate) fn set(&self, result: vk::Result) {
        let none = vk::Result::SUCCESS.as_raw();
        if self.result.compare_exchange(none, result.as_raw(), Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            doorbell::ring(&self.bell);
        }
    }

    /// Whether there is a loss that [`Self::take`] has not given out.
    pub(crate) fn is_new(&self) -> bool {
        self.result.load(Ordering::Acquire) != vk::Result::SUCCESS.as_raw()
    }

    /// The loss, once.
    pub(crate) fn take(&self) -> Option<vk::Result> {
        let result = self.result.swap(vk::Result::SUCCESS.as_raw(), Ordering::AcqRel);
        doorbell::drain(&self.bell);
        (result != vk::Result::SUCCESS.as_raw()).then(|| vk::Result::from_raw(result))
    }
}
