//! What stands behind the two kinds of streams: the physical device, or one native device.

use std::ffi::CStr;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;
use bumpalo::Bump;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;

use super::super::StreamEnd;
use super::super::answer::Answer;
use super::completion::Pending;
use super::context::InstanceContext;
use super::device::Device;
use super::device::Outcome;
use super::device::Surroundings;
use super::driver::Driver;
use super::imports;
use super::lost::Lost;
use super::objects::Objects;
use super::reader::ReadError;
use super::reader::Reader;
use super::reader::arena;
use super::serve::Server;
use super::serve::Start;
use crate::failure::Fault;
use crate::failure::Violation;
use crate::generated::vulkan::dispatch;
use crate::generated::vulkan::native::InstanceFns;
use crate::generated::vulkan::structs;

/// Serves a stream of kind `VULKAN_INSTANCE`.
pub(crate) struct InstanceServer<'a> {
    driver: &'a Driver,
    description: &'a [u8],
    fns: InstanceFns,
    bump: Bump,
}

impl<'a> InstanceServer<'a> {
    /// A server that answers DESCRIBE with `description`.
    pub(crate) fn new(driver: &'a Driver, description: &'a [u8]) -> Self {
        let library = &driver.library;
        let fns = InstanceFns::load(|name| {
            // SAFETY:
            // - the instance is alive; the name ends with a zero byte.
            unsafe { library.entry.get_instance_proc_addr(library.instance.handle(), name.as_ptr()) }
        });
        Self { driver, description, fns, bump: arena() }
    }
}

impl InstanceServer<'_> {
    /// The one question of the registry that is asked in other words than the guest's.
    fn image_format_properties2(&self, body: &[u8], reply: Option<&mut Encoder>) -> Result<(), ReadError> {
        let objects = Objects::default();
        let mut reader = Reader::new(body, &self.bump, &objects);
        let info = reader.pointer(false, structs::dec_physical_device_image_format_info2)?;
        let mut properties = structs::skel_image_format_properties2(&mut reader)?;
        reader.finish()?;
        // SAFETY:
        // - the decoder has just put it there, and only this function has it.
        let info = unsafe { &*info };
        imports::of_question(info);
        let instance = &self.driver.library.instance;
        // SAFETY:
        // - the device came from this instance; both structures were decoded whole, chains included, and live in the arena.
        let answered = unsafe {
            instance.get_physical_device_image_format_properties2(
                self.driver.physical_device,
                info,
                &mut properties,
            )
        };
        if let Some(reply) = reply {
            reply.i32(answered.err().unwrap_or(vk::Result::SUCCESS).as_raw());
            if answered.is_ok() {
                // SAFETY:
                // - the driver filled what the skeleton gave it, all of which lives in the arena.
                unsafe { structs::out_image_format_properties2(reply, &properties) };
            }
        }
        Ok(())
    }
}

impl Server for InstanceServer<'_> {
    fn execute(&mut self, op: u16, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        if op == op::DESCRIBE {
            let reply = reply.ok_or(Violation::new("DESCRIBE", "without reply"))?;
            reply.bytes(self.description);
            return Ok(Outcome::Done);
        }
        let op = VkOp(op);
        if op == VkOp::GET_PHYSICAL_DEVICE_IMAGE_FORMAT_PROPERTIES2 {
            let answered = self.image_format_properties2(body, reply);
            self.bump.reset();
            answered.map_err(|error| super::device::refused(op, &error.into()))?;
            return Ok(Outcome::Done);
        }
        let mut context = InstanceContext {
            fns: &self.fns,
            physical_device: self.driver.physical_device,
            objects: Objects::default(),
            bump: &self.bump,
            failure: None,
        };
        dispatch::dispatch_instance(&mut context, op, body, reply)
            .map_err(|error| super::device::refused(op, &error))?;
        self.bump.reset();
        Ok(Outcome::Done)
    }

    fn poll(&mut self) -> Pending {
        Pending::Nothing
    }

    fn wait(&mut self, _timeout: Duration) {}

    fn rest(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// Serves a stream of kind `VULKAN_DEVICE`.
pub(crate) struct DeviceServer {
    around: Surroundings,
    offered: Arc<[vk::ExtensionProperties]>,
    lost: Arc<Lost>,
    device: Option<Device>,
    /// Something failed that nobody waited for. What follows may name objects that were never made, so nothing of it is
    /// run: the client is told of a lost device, whatever it asks.
    failed: bool,
}

impl DeviceServer {
    /// A server without a device yet.
    pub(crate) fn new(
        around: Surroundings,
        offered: Arc<[vk::ExtensionProperties]>,
        lost: Arc<Lost>,
    ) -> Self {
        Self { around, offered, lost, device: None, failed: false }
    }

    fn create(&mut self, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        const OP: &str = "CREATE_DEVICE";
        let reply = reply.ok_or(Violation::new(OP, "without reply"))?;
        if self.device.is_some() {
            return Err(Violation::new(OP, "a second device in one stream").into());
        }
        let allowed = |name: &CStr| {
            self.offered.iter().any(|extension| extension.extension_name_as_c_str() == Ok(name))
        };
        let on_lost = || -> super::completion::OnLost {
            let lost = Arc::clone(&self.lost);
            Box::new(move |result| lost.set(result))
        };
        let result = match Device::create(&self.around, body, allowed, on_lost)? {
            Ok(device) => {
                self.device = Some(device);
                vk::Result::SUCCESS
            }
            Err(result) => result,
        };
        reply.i32(result.as_raw());
        Ok(Outcome::Done)
    }

    /// Destroys the device, if there is one.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub(crate) fn close(&mut self) -> Result<(), Fault> {
        self.device.take().map_or(Ok(()), Device::destroy)
    }
}

impl Server for DeviceServer {
    fn start(&mut self, op: u16, body: &[u8], answer: Answer) -> Result<Start, StreamEnd> {
        match &mut self.device {
            Some(device) if !self.failed => device.start(VkOp(op), body, answer),
            _ => Ok(Start::Left(answer)),
        }
    }

    fn execute(&mut self, op: u16, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        match op {
            op::CREATE_DEVICE => self.create(body, reply),
            op::DESTROY_DEVICE => {
                self.close()?;
                Ok(Outcome::Done)
            }
            _ if self.failed => Ok(Outcome::Done),
            _ => match &mut self.device {
                Some(device) => {
                    let outcome = device.execute(op, body, reply)?;
                    self.failed = matches!(outcome, Outcome::Failed(_));
                    Ok(outcome)
                }
                None => Err(Violation::new("stream", "a command before the device").into()),
            },
        }
    }

    fn poll(&mut self) -> Pending {
        self.device.as_ref().map_or(Pending::Nothing, Device::poll)
    }

    fn wait(&mut self, timeout: Duration) {
        if let Some(device) = &self.device {
            device.wait(timeout);
        }
    }

    fn rest(&mut self) -> Result<(), Fault> {
        self.device.as_mut().map_or(Ok(()), Device::hand_over)
    }
}
