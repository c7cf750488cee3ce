//! What the guest's entry points stand on, in this test: requests go straight to the host's dispatch.

// UNSAFETY: handles of the test are pointers to its objects, as in the guest.
#![expect(unsafe_code, reason = "handles are pointers")]

use std::rc::Rc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;

use crate::calls::State;
use crate::calls::Stream;

/// A device or physical device of the test.
pub(crate) struct Target {
    pub(crate) state: Rc<State>,
    pub(crate) stream: Stream,
}

impl Target {
    pub(crate) fn post(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<(), vk::Result> {
        let mut request = Encoder::new();
        body(&mut request);
        self.state.dispatch(self.stream, op, request.as_slice(), None);
        Ok(())
    }

    pub(crate) fn call<R>(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        let mut request = Encoder::new();
        body(&mut request);
        let mut answer = Encoder::new();
        self.state.dispatch(self.stream, op, request.as_slice(), Some(&mut answer));
        let mut decoder = Decoder::new(answer.as_slice());
        let result = reply(&mut decoder).expect("reply");
        decoder.finish().expect("whole reply");
        Ok(result)
    }

    pub(crate) fn new_id(&self, _kind: ObjectKind) -> Result<u64, vk::Result> {
        Ok(self.state.new_id())
    }

    pub(crate) fn free_id(&self, _kind: ObjectKind, _id: u64) {}
}

/// # Safety
/// The handle is the device of a live host.
pub(crate) unsafe fn device<'a>(handle: vk::Device) -> &'a Target {
    // SAFETY: the handle is a pointer to a target that the caller keeps.
    unsafe { &*(handle.as_raw() as *const Target) }
}

/// # Safety
/// The handle is the physical device of a live host.
pub(crate) unsafe fn physical_device<'a>(handle: vk::PhysicalDevice) -> &'a Target {
    // SAFETY: the handle is a pointer to a target that the caller keeps.
    unsafe { &*(handle.as_raw() as *const Target) }
}

/// # Safety
/// The handle is the recording of a live host, and nobody else records.
pub(crate) unsafe fn record<'a>(handle: vk::CommandBuffer) -> &'a mut Encoder {
    // SAFETY: the handle is a pointer to an encoder that the caller keeps and uses here only.
    unsafe { &mut *(handle.as_raw() as *mut Encoder) }
}

/// In this test the handle of a command buffer that is a parameter is its id.
///
/// # Safety
/// None: nothing is dereferenced.
pub(crate) unsafe fn command_buffer_id(handle: vk::CommandBuffer) -> u64 {
    handle.as_raw()
}
