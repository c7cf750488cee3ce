//! Semaphores: native ones, timelines whose values the client reads from cells, and those that others have too.

use ash::vk;
use ash::vk::Handle;
use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::session::IoAddress;

use super::Device;
use super::Outcome;
use super::answer;
use super::bad_id;
use super::cell;
use super::sole_id;
use super::unreadable;
use super::violation;
use crate::adapter::StreamEnd;
use crate::adapter::vulkan::chain::Chain;
use crate::adapter::vulkan::completion::Timeline as _;
use crate::adapter::vulkan::feedback::Feedback;
use crate::adapter::vulkan::feedback::Reach;
use crate::adapter::vulkan::reader::Reader;
use crate::adapter::vulkan::retired::LastUse;
use crate::adapter::vulkan::shared::GivenUp;
use crate::adapter::vulkan::shared::Shared;
use crate::generated::vulkan::structs;

impl Device {
    pub(super) fn create_semaphore(
        &mut self,
        body: &[u8],
        reply: Option<&mut Encoder>,
    ) -> Result<Outcome, StreamEnd> {
        const OP: &str = "CREATE_SEMAPHORE";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let id = reader.u64().map_err(unreadable(OP))?;
        let address = reader.u64().map_err(unreadable(OP))?;
        let info = structs::dec_semaphore_create_info(&mut reader).map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        let initial = initial_value(&info);
        if initial.is_some() != (address != 0) {
            return Err(violation(OP, "a cell is for timeline semaphores, and they all have one"));
        }
        let feedback = match initial {
            Some(value) => Some(cell(&self.around.windows, OP, address, value)?),
            None => None,
        };
        // SAFETY:
        // - `info` was decoded whole into memory that outlives the call.
        let native = match unsafe { self.sync.device.create_semaphore(&info, None) } {
            Ok(native) => native,
            Err(result) => return Ok(answer(reply, result)),
        };
        if let Err(error) = self.objects.insert(ObjectKind::SEMAPHORE, id, native.as_raw(), 0) {
            // SAFETY:
            // - it was just made, and nothing names it.
            unsafe { self.sync.device.destroy_semaphore(native, None) };
            return Err(bad_id(OP, &error));
        }
        if let Some(cell) = feedback {
            let feedback = Feedback::new(native, cell);
            self.feedback.insert(id, feedback).map_err(|(error, _)| bad_id(OP, &error))?;
        }
        Ok(answer(reply, vk::Result::SUCCESS))
    }

    pub(super) fn create_shared_semaphore(
        &mut self,
        body: &[u8],
        reply: &mut Encoder,
    ) -> Result<Outcome, StreamEnd> {
        const OP: &str = "CREATE_SHARED_SEMAPHORE";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let id = reader.new_id(ObjectKind::SEMAPHORE).map_err(unreadable(OP))?;
        let address = IoAddress(reader.u64().map_err(unreadable(OP))?);
        reader.finish().map_err(unreadable(OP))?;
        let memory = self
            .around
            .windows
            .resolve(address, CELL_BYTES as u64)
            .ok_or_else(|| violation(OP, "no window at the cell"))?;
        let seen = FenceCell::new(memory).map_err(|_| violation(OP, "misplaced cell"))?;
        let proxy = match self.sync.create_timeline() {
            Ok(proxy) => proxy,
            Err(result) => return Ok(answer(Some(reply), result)),
        };
        // The id was found vacant, and both tables change together.
        self.objects
            .insert(ObjectKind::SEMAPHORE, id, proxy.as_raw(), 0)
            .map_err(|error| bad_id(OP, &error))?;
        self.shared.insert(id, Shared::new(seen, proxy)).map_err(|(error, _)| bad_id(OP, &error))?;
        Ok(answer(Some(reply), vk::Result::SUCCESS))
    }

    pub(super) fn destroy_semaphore(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "DESTROY_SEMAPHORE";
        let Some(id) = sole_id(&self.bump, &self.objects, body, OP)? else { return Ok(Outcome::Done) };
        let native = self.objects.remove(ObjectKind::SEMAPHORE, id).map_err(|error| bad_id(OP, &error))?;
        let native = vk::Semaphore::from_raw(native);
        let mut reach = Reach { semaphore: native, awaited: 0, promised: 0 };
        if let Ok(feedback) = self.feedback.remove(id) {
            feedback.cell.retire();
            reach = feedback.reach();
        } else if let Ok(shared) = self.shared.remove(id) {
            shared.cell.retire();
            if self.watcher.give_up(shared.proxy) == GivenUp::InUse {
                // Not destroyed while a submission may look at it; the program broke a rule, and the driver need not.
                self.given_up.push(shared.proxy);
                return Ok(Outcome::Done);
            }
        } else {
            // Binary semaphores have no cell. What they carry goes over to the batch that waits for them.
            // SAFETY:
            // - the semaphore was of this device and out of its table, so nothing names it any more.
            unsafe { self.sync.device.destroy_semaphore(native, None) };
            return Ok(Outcome::Done);
        }
        let uses = self.last_waits();
        if uses.is_empty() {
            // SAFETY:
            // - the semaphore was of this device and out of its table, so nothing names it any more.
            unsafe { self.sync.device.destroy_semaphore(native, None) };
        } else {
            self.retired.push(reach, uses);
        }
        Ok(Outcome::Done)
    }

    /// The batches that waited for timeline semaphores and that the driver may still look at.
    fn last_waits(&self) -> Vec<LastUse> {
        let queues = self.queues.iter().enumerate();
        let uses = queues.filter_map(|(queue, of)| Some(LastUse { queue, point: of.last_wait()? }));
        uses.filter(|last| !last.is_over(self.reached(last.queue))).collect()
    }

    /// How far a queue is. Of a lost device nothing is known, and what it holds stays until its end.
    fn reached(&self, queue: usize) -> u64 {
        let queue = self.queues.get(queue);
        queue.and_then(|queue| queue.progress.timeline().value().ok()).unwrap_or(0)
    }

    /// Destroys the retired semaphores that the driver has let go of.
    pub(super) fn destroy_retired(&mut self) {
        let mut retired = std::mem::take(&mut self.retired);
        while let Some(free) = retired.pop_free(|queue| self.reached(queue)) {
            // SAFETY:
            // - the semaphore was of this device and out of its table, so nothing names it any more, and no batch uses it.
            unsafe { self.sync.device.destroy_semaphore(free.semaphore, None) };
        }
        self.retired = retired;
    }

    pub(super) fn signal_semaphore(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "SIGNAL_SEMAPHORE";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let id = reader.u64().map_err(unreadable(OP))?;
        let value = reader.u64().map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        let feedback = self.feedback.get(id).map_err(|error| bad_id(OP, &error))?;
        let result = self.sync.signal(feedback.semaphore, value);
        if result == vk::Result::SUCCESS {
            feedback.cell.publish(value);
        }
        Ok(answer(None, result))
    }
}

/// The initial value of a timeline semaphore; `None` for a binary one.
fn initial_value(info: &vk::SemaphoreCreateInfo<'static>) -> Option<u64> {
    // SAFETY:
    // - the chain was decoded for this operation and is used by nothing else now.
    let mut chain = unsafe { Chain::new(info.p_next) };
    let kind = chain.find::<vk::SemaphoreTypeCreateInfo<'_>>()?;
    (kind.semaphore_type == vk::SemaphoreType::TIMELINE).then_some(kind.initial_value)
}
