//! Memory: of the device, and of the host where the device can reach it.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::slice;

use super::Context;
use super::api::Address;
use super::api::Error;

/// `count` numbers in memory of the device.
pub(super) struct DeviceMemory<'a> {
    context: &'a Context,
    pub(super) address: Address,
    pub(super) size_bytes: usize,
}

impl<'a> DeviceMemory<'a> {
    pub(super) fn new(context: &'a Context, count: u32) -> Result<Self, Error> {
        let size_bytes = count as usize * size_of::<f32>();
        let mut address = 0;
        // SAFETY: the place to write to is alive.
        let done = unsafe { (context.api.allocate)(&raw mut address, size_bytes) };
        context.api.check("cuMemAlloc", done)?;
        Ok(Self { context, address, size_bytes })
    }
}

impl Drop for DeviceMemory<'_> {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated; the driver waits for work that uses it.
        let _ = unsafe { (self.context.api.free)(self.address) };
    }
}

/// `count` numbers in pinned memory of the host: copies from and to it need not wait for the program.
pub(super) struct HostMemory<'a> {
    context: &'a Context,
    pub(super) numbers: NonNull<f32>,
    count: usize,
}

impl<'a> HostMemory<'a> {
    pub(super) fn new(context: &'a Context, count: u32) -> Result<Self, Error> {
        let count = count as usize;
        let mut pointer: *mut c_void = std::ptr::null_mut();
        // SAFETY: the place to write to is alive.
        let done = unsafe { (context.api.allocate_host)(&raw mut pointer, count * size_of::<f32>(), 0) };
        context.api.check("cuMemHostAlloc", done)?;
        let numbers = NonNull::new(pointer.cast()).expect("an allocation that succeeded is somewhere");
        // SAFETY: the memory is ours alone, as large as that, and aligned to pages.
        unsafe { numbers.write_bytes(0, count) };
        Ok(Self { context, numbers, count })
    }

    /// The numbers; the caller sees to it that no copy from or to them is under way.
    pub(super) fn numbers(&self) -> &[f32] {
        // SAFETY: so many numbers were written when the memory was made, and it lives as long as `self`.
        unsafe { slice::from_raw_parts(self.numbers.as_ptr(), self.count) }
    }

    /// The same, to write to.
    pub(super) fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: so many numbers were written when the memory was made, and `self` is borrowed by nobody else.
        unsafe { slice::from_raw_parts_mut(self.numbers.as_ptr(), self.count) }
    }
}

impl Drop for HostMemory<'_> {
    fn drop(&mut self) {
        // SAFETY: the memory was allocated by the driver and no reference to it is left.
        let _ = unsafe { (self.context.api.free_host)(self.numbers.as_ptr().cast()) };
    }
}
