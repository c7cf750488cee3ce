//! What generated entry points stand on.

// UNSAFETY: from handles of the program to objects of the driver.
#![expect(unsafe_code, reason = "dispatchable handles are pointers")]
#![allow(dead_code)]
use ash::vk;
use dxg_wire::codec::*;
use dxg_wire::generated::vulkan::*;
pub(crate) struct Target;
impl Target {
    pub(crate) fn post(&self, _op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<(), vk::Result> {
        body(&mut Encoder::new());
        Ok(())
    }
    pub(crate) fn call<R>(
        &self,
        _op: VkOp,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        body(&mut Encoder::new());
        reply(&mut Decoder::new(&[])).map_err(|_| vk::Result::ERROR_DEVICE_LOST)
    }
    pub(crate) fn new_id(&self, _kind: ObjectKind) -> Result<u64, vk::Result> {
        Ok(1)
    }
    pub(crate) fn free_id(&self, _kind: ObjectKind, _id: u64) {}
}
pub(crate) unsafe fn device<'a>(_h: vk::Device) -> &'a Target {
    &Target
}
pub(crate) unsafe fn physical_device<'a>(_h: vk::PhysicalDevice) -> &'a Target {
    &Target
}
pub(crate) unsafe fn record<'a>(h: vk::CommandBuffer) -> &'a mut Encoder {
    use ash::vk::Handle;
    unsafe { &mut *(h.as_raw() as *mut Encoder) }
}
pub(crate) unsafe fn command_buffer_id(h: vk::CommandBuffer) -> u64 {
    use ash::vk::Handle;
    h.as_raw()
}
