//! Payloads of semaphores and fences that others share: a monitored fence, and the host's semaphore over its cell.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ash::vk;
use dxg_core::Fence;
use dxg_core::FenceValue;
use dxg_wire::cell::FenceCell;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;

use super::not_made;
use super::not_opened;
use super::page::Kind;
use super::page::Page;
use super::semaphore::Semaphore;
use crate::cells::Cell;
use crate::device::Device;

/// A payload; ended with [`Self::retire`].
#[derive(Debug)]
pub struct Payload {
    /// What the host knows it by.
    id: u64,
    kind: Kind,
    cell: Cell,
    page: Page,
    fence: Fence,
    /// What it was imported from: sharing it on is a copy of that.
    descriptor: Option<OwnedFd>,
}

/// A payload as a submission names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The host's semaphore.
    pub id: u64,
    /// The value to wait for or to signal.
    pub value: u64,
}

impl Payload {
    /// Makes a payload that stands at `initial`.
    ///
    /// # Errors
    /// Out of memory, or device lost.
    pub fn create(device: &Device, kind: Kind, initial: u64) -> Result<Arc<Self>, vk::Result> {
        let on = device.physical.exchange.device(&device.physical.streams)?;
        let fence = on.create_shared_fence(FenceValue(initial)).map_err(|error| not_made(&error))?;
        let uuid = device.physical.streams.vgpu_uuid().0;
        Self::over(device, kind, fence, None, |page| {
            page.label(kind, uuid);
            true
        })
    }

    /// Opens the payload that a descriptor names.
    ///
    /// # Errors
    /// Invalid external handle when it names none of this kind on this virtual GPU, out of memory, or device lost.
    pub fn open(device: &Device, kind: Kind, descriptor: OwnedFd) -> Result<Arc<Self>, vk::Result> {
        let on = device.physical.exchange.device(&device.physical.streams)?;
        let fence = on.open_shared_fence(descriptor.as_fd()).map_err(|error| not_opened(&error))?;
        let uuid = device.physical.streams.vgpu_uuid().0;
        Self::over(device, kind, fence, Some(descriptor), |page| page.agrees_with(kind, uuid))
    }

    fn over(
        device: &Device,
        kind: Kind,
        fence: Fence,
        descriptor: Option<OwnedFd>,
        is_right: impl FnOnce(&Page) -> bool,
    ) -> Result<Arc<Self>, vk::Result> {
        let window = fence.page().ok_or(vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        let page = Page::new(&window.memory).filter(is_right);
        let page = page.ok_or(vk::Result::ERROR_INVALID_EXTERNAL_HANDLE)?;
        let words =
            FenceCell::new(window.memory.clone()).map_err(|_| vk::Result::ERROR_INVALID_EXTERNAL_HANDLE)?;
        let cell = Cell::shared(words, window.io_address.0);
        let id = device.objects.semaphores.insert(Semaphore::Payload).map_err(vk::Result::from)?;
        let body = |encoder: &mut dxg_wire::codec::Encoder| {
            encoder.u64(id);
            encoder.u64(cell.io_address());
        };
        // With an answer: the window may go as soon as the fence does, and the host must have seen it.
        let made = device
            .call(VkOp(op::CREATE_SHARED_SEMAPHORE), body, |reply| Ok(vk::Result::from_raw(reply.i32()?)))
            .and_then(|result| result.result());
        if let Err(error) = made {
            device.objects.semaphores.remove(id);
            return Err(error);
        }
        device.note_shared_sync();
        Ok(Arc::new(Self { id, kind, cell, page, fence, descriptor }))
    }

    /// What it stands for.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its value.
    #[must_use]
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// A wait for it by a submission that names `value`, which only a timeline semaphore has.
    #[must_use]
    pub fn wait(&self, value: u64) -> Use {
        let value = if self.kind == Kind::Timeline { value } else { self.page.next_wait() };
        Use { id: self.id, value }
    }

    /// A signal of it by a submission that names `value`, which only a timeline semaphore has.
    #[must_use]
    pub fn signal(&self, value: u64) -> Use {
        let value = match self.kind {
            Kind::Timeline => value,
            Kind::Binary => self.page.next_signal(self.cell.value()),
            Kind::Fence => self.page.fence_target(),
        };
        Use { id: self.id, value }
    }

    /// The value at which a fence is signalled.
    #[must_use]
    pub fn fence_target(&self) -> u64 {
        self.page.fence_target()
    }

    /// Resets a fence.
    pub fn reset_fence(&self) {
        self.page.reset_fence(self.cell.value());
    }

    /// A descriptor that names it.
    ///
    /// # Errors
    /// Too many objects when this process or the host can have no more descriptors, or device lost.
    pub fn share(&self) -> Result<OwnedFd, vk::Result> {
        match &self.descriptor {
            Some(descriptor) => descriptor.try_clone().map_err(|_| vk::Result::ERROR_TOO_MANY_OBJECTS),
            None => self.fence.share().map_err(|error| match not_made(&error) {
                vk::Result::ERROR_DEVICE_LOST => vk::Result::ERROR_DEVICE_LOST,
                _ => vk::Result::ERROR_TOO_MANY_OBJECTS,
            }),
        }
    }

    /// Ends it: no submission that names it is pending.
    pub fn retire(&self, device: &Device) {
        let destroy = || device.post(VkOp::DESTROY_SEMAPHORE, |encoder| encoder.u64(self.id));
        // A lost device has nothing left to destroy.
        device.objects.semaphores.remove_after(self.id, destroy);
    }
}

/// How long an import lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permanence {
    /// Until the next wait for the semaphore or reset of the fence.
    Temporary,
    /// For good.
    Permanent,
}

/// The payloads of one semaphore or fence.
#[derive(Debug, Default)]
pub struct Payloads {
    permanent: Option<Arc<Payload>>,
    temporary: Option<Arc<Payload>>,
    /// Replaced, and perhaps still named by submissions.
    spent: Vec<Arc<Payload>>,
}

impl Payloads {
    /// Those of an object that was made to be shared.
    #[must_use]
    pub fn born(payload: Arc<Payload>) -> Self {
        Self { permanent: Some(payload), ..Self::default() }
    }

    /// The payload that is used now; none when that is the object's own, which nobody shares.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Payload>> {
        self.temporary.as_ref().or(self.permanent.as_ref())
    }

    /// Puts an imported payload in place. Vulkan lets that happen only while no submission names the object.
    pub fn import(&mut self, device: &Device, payload: Arc<Payload>, permanence: Permanence) {
        let place = match permanence {
            Permanence::Temporary => &mut self.temporary,
            Permanence::Permanent => &mut self.permanent,
        };
        let replaced = place.replace(payload);
        for payload in self.spent.drain(..).chain(replaced) {
            payload.retire(device);
        }
    }

    /// Ends a temporary import; what it brought stays until no submission can name it. Answers that.
    pub fn restore(&mut self) -> Option<Arc<Payload>> {
        let temporary = self.temporary.take()?;
        self.spent.push(Arc::clone(&temporary));
        Some(temporary)
    }

    /// Ends all of them, with their object.
    pub fn retire(&mut self, device: &Device) {
        let all = self.spent.drain(..).chain(self.temporary.take()).chain(self.permanent.take());
        for payload in all {
            payload.retire(device);
        }
    }
}
