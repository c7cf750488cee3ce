//! One native device with everything the client made of it, and the operations of its stream.
//!
//! *Why.* A stream has one thread, so nothing here is locked. Generated code reads and runs the commands of the
//! registry; what is written here are the operations of `dxg_wire::vulkan::op`.
//!
//! *Invariants.* An operation is read completely before the driver hears of it. Whatever the client leaves behind is
//! destroyed in an order that is valid, after the device has come to rest.

mod recording;
mod rest;
mod semaphores;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ash::vk;
use ash::vk::Handle;
use bumpalo::Bump;
use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::IoAddress;
use dxg_wire::vulkan::QUERIES_ASK_AGAIN;
use dxg_wire::vulkan::op;

use super::super::SessionCalls;
use super::super::StreamEnd;
use super::super::Windows;
use super::super::answer::Answer;
use super::super::cell::Cell;
use super::completion::OnLost;
use super::completion::Pending;
use super::context::DeviceContext;
use super::context::DispatchError;
use super::create;
use super::create::CreateError;
use super::descriptor_set;
use super::descriptor_set::Made;
use super::driver::Driver;
use super::feedback::Feedback;
use super::feedback::Reach;
use super::imports::Imports;
use super::memory::AllocateError;
use super::memory::Holding;
use super::memory::HostPointers;
use super::memory::Sources;
use super::native::SyncFns;
use super::objects::Objects;
use super::pipelines::Makers;
use super::pipelines::News;
use super::pipelines::Request;
use super::queries;
use super::queries::Reading;
use super::queue::Queue;
use super::queue::QueuePlace;
use super::reader::ReadError;
use super::reader::Reader;
use super::reader::arena;
use super::retired::Retired;
use super::serve::Start;
use super::shared::Shared;
use super::shared::Watcher;
use super::sparse;
use super::submit;
use super::submit::Submission;
use super::submit::Timelines;
use super::table::BadId;
use super::table::Table;
use super::teardown::TEAR_DOWN;
use crate::failure::Fault;
use crate::failure::Violation;
use crate::generated::vulkan::dispatch;
use crate::generated::vulkan::native::DeviceFns;
use crate::generated::vulkan::structs;

/// Completion is looked at after so many operations in a row.
const POLL_EVERY: u32 = 8;
/// Recordings and other requests of so many bytes take long enough for somebody to miss a completion.
const LONG_BYTES: usize = 64 << 10;
/// Smallest encoding of a queue's place, and of a bind batch.
const PLACE_BYTES: usize = 20;
const BIND_BYTES: usize = 20;

/// What a device works with besides the driver.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) driver: Arc<Driver>,
    pub(crate) windows: Arc<Windows>,
    pub(crate) calls: Arc<dyn SessionCalls>,
    pub(crate) host_pointers: HostPointers,
}

/// What became of an operation that was well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Done, or the answer says what happened.
    Done,
    /// The driver refused what has no answer: the stream's status from now on.
    Failed(vk::Result),
}

/// A native device.
pub(crate) struct Device {
    around: Surroundings,
    sync: Arc<SyncFns>,
    fns: DeviceFns,
    objects: Objects,
    bump: Bump,
    queues: Vec<Queue>,
    /// Feedback cells of timeline semaphores, under the semaphores' ids.
    feedback: Table<Feedback>,
    /// Semaphores that others signal and wait for too, under their ids.
    shared: Table<Shared>,
    watcher: Watcher<SyncFns>,
    /// Proxies that were destroyed while the driver had them: they go with the device.
    given_up: Vec<vk::Semaphore>,
    /// What device memory holds, under the memory's ids.
    holdings: Table<Holding>,
    /// Timeline semaphores that the client has destroyed and the driver may still look at.
    retired: Retired<Reach>,
    imports: Imports,
    makers: Makers,
    submission: Submission,
    reading: Reading,
    set_request: descriptor_set::Request,
    /// Command buffers, by their ids, whose recording comes in parts.
    unended: HashSet<u64>,
    recording: Vec<u8>,
    /// Operations so far, to poll completion now and then in a long run of them.
    executed: u32,
    /// The device may not be destroyed: it did not come to rest.
    abandoned: bool,
}

/// A stream ends for bytes that cannot be read.
fn unreadable(op: &'static str) -> impl Fn(ReadError) -> StreamEnd {
    move |error| {
        tracing::debug!(op, %error, "unreadable operation");
        StreamEnd::Violation(Violation::new(op, "unreadable"))
    }
}

fn violation(op: &'static str, what: &'static str) -> StreamEnd {
    StreamEnd::Violation(Violation::new(op, what))
}

/// The cell at `address`.
fn cell(windows: &Windows, op: &'static str, address: u64, value: u64) -> Result<Arc<Cell>, StreamEnd> {
    let memory = windows
        .resolve(IoAddress(address), CELL_BYTES as u64)
        .ok_or_else(|| violation(op, "no window at the cell"))?;
    let shared = FenceCell::new(memory).map_err(|_| violation(op, "misplaced cell"))?;
    Ok(Arc::new(Cell::new(shared, value)))
}

impl Device {
    /// Runs CREATE_DEVICE.
    ///
    /// # Errors
    /// A native result is the answer to the client; the outer error ends the stream.
    pub(crate) fn create(
        around: &Surroundings,
        body: &[u8],
        allowed: impl Fn(&std::ffi::CStr) -> bool,
        on_lost: impl Fn() -> OnLost,
    ) -> Result<Result<Self, vk::Result>, StreamEnd> {
        const OP: &str = "CREATE_DEVICE";
        let bump = arena();
        let objects = Objects::default();
        let mut reader = Reader::new(body, &bump, &objects);
        let info = structs::dec_device_create_info(&mut reader).map_err(unreadable(OP))?;
        let (places, cells) = read_places(&mut reader, around)?;
        reader.finish().map_err(unreadable(OP))?;

        let native = match create::create_device(&around.driver, info, &places, allowed) {
            Ok(native) => native,
            Err(CreateError::Refused(result)) => return Ok(Err(result)),
            Err(CreateError::Violation(violation)) => return Err(violation.into()),
        };
        let sync = match SyncFns::new(&around.driver, native) {
            Ok(sync) => sync,
            Err(result) => return Ok(Err(result)),
        };
        let fns = DeviceFns::load(|name| {
            // SAFETY:
            // - the device is alive and came from this instance; the name ends with a zero byte.
            unsafe {
                around.driver.library.instance.get_device_proc_addr(sync.device.handle(), name.as_ptr())
            }
        });
        let mut device = Self {
            around: around.clone(),
            makers: Makers::new(sync.device.handle()),
            watcher: Watcher::new(Arc::clone(&sync)),
            shared: Table::default(),
            given_up: Vec::new(),
            sync,
            fns,
            objects: Objects::default(),
            bump: arena(),
            queues: Vec::with_capacity(places.len()),
            feedback: Table::default(),
            holdings: Table::default(),
            retired: Retired::default(),
            imports: Imports::new(&around.driver, around.host_pointers),
            submission: Submission::default(),
            reading: Reading::of(&around.driver),
            set_request: descriptor_set::Request::default(),
            unended: HashSet::new(),
            recording: Vec::new(),
            executed: 0,
            abandoned: false,
        };
        for (place, cell) in places.into_iter().zip(cells) {
            match Queue::new(&device.sync, place, cell, on_lost()) {
                Ok(queue) => device.queues.push(queue),
                Err(result) => {
                    device.destroy()?;
                    return Ok(Err(result));
                }
            }
        }
        Ok(Ok(device))
    }

    /// Has one operation executed and answered by another thread, where that is worth it.
    ///
    /// # Errors
    /// When the stream must end.
    pub(crate) fn start(&mut self, op: VkOp, body: &[u8], answer: Answer) -> Result<Start, StreamEnd> {
        if !Request::is(op) || self.makers.is_full() {
            return Ok(Start::Left(answer));
        }
        self.take_pipelines()?;
        let request =
            Request::read(op, body, &self.fns, &self.objects).map_err(|error| refused(op, &error))?;
        self.makers.start(request, answer)?;
        Ok(Start::Taken)
    }

    /// Takes pipelines that other threads have made into the table.
    fn take_pipelines(&mut self) -> Result<(), StreamEnd> {
        const OP: &str = "pipelines";
        let Some(News { made, misplaced }) = self.makers.news() else { return Ok(()) };
        let mut refused = None;
        for (id, pipeline) in made {
            if let Err(error) = self.objects.insert(ObjectKind::PIPELINE, id, pipeline.as_raw(), 0) {
                // SAFETY:
                // - it was just made, and nothing names it.
                unsafe { self.sync.device.destroy_pipeline(pipeline, None) };
                refused = Some(bad_id(OP, &error));
            }
        }
        if misplaced {
            refused = Some(violation("reply", "slot takes nothing"));
        }
        refused.map_or(Ok(()), Err)
    }

    /// Runs one operation of the stream. Other queues' completion does not wait for a long one.
    ///
    /// # Errors
    /// When the stream must end.
    pub(crate) fn execute(
        &mut self,
        op: u16,
        body: &[u8],
        reply: Option<&mut Encoder>,
    ) -> Result<Outcome, StreamEnd> {
        self.take_pipelines()?;
        if is_long(op, body.len()) {
            self.hand_over()?;
        }
        let outcome = self.run(op, body, reply);
        self.bump.reset();
        self.executed = self.executed.wrapping_add(1);
        if self.executed.is_multiple_of(POLL_EVERY) {
            self.poll();
        }
        outcome
    }

    fn run(&mut self, op: u16, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        match (op, reply) {
            (op::QUEUE_SUBMIT, None) => self.queue_submit(body),
            (op::RECORD, None) => self.record(body),
            (op::RECORD_PART, None) => self.record_part(body),
            (op::RECORD_ABANDON, None) => self.record_abandon(body),
            (op::ALLOCATE_MEMORY, reply) => self.allocate_memory(body, reply),
            (op, reply) if op == VkOp::CREATE_BUFFER.0 => self.create_buffer(body, reply),
            (op, reply) if op == VkOp::CREATE_IMAGE.0 => self.create_image(body, reply),
            (op::CREATE_SEMAPHORE, reply) => self.create_semaphore(body, reply),
            (op::CREATE_SHARED_SEMAPHORE, Some(reply)) => self.create_shared_semaphore(body, reply),
            (op::SIGNAL_SEMAPHORE, None) => self.signal_semaphore(body),
            (op::DESCRIPTOR_SET, reply) => self.descriptor_set(body, reply),
            (op::QUERY_RESULTS, Some(reply)) => self.query_results(body, reply),
            (op::QUEUE_BIND_SPARSE, None) => self.queue_bind_sparse(body),
            (op, None) if op == VkOp::FREE_MEMORY.0 => self.free_memory(body),
            (op, None) if op == VkOp::DESTROY_SEMAPHORE.0 => self.destroy_semaphore(body),
            (op, reply) if is_of_command_buffers(VkOp(op)) => {
                let outcome = self.dispatch(VkOp(op), body, reply)?;
                self.forget_recordings(VkOp(op), body)?;
                Ok(outcome)
            }
            (op, reply) => self.dispatch(VkOp(op), body, reply),
        }
    }

    fn dispatch(&mut self, op: VkOp, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        let mut context = DeviceContext {
            fns: &self.fns,
            device: self.sync.device.handle(),
            objects: &mut self.objects,
            bump: &self.bump,
            failure: None,
        };
        dispatch::dispatch_device(&mut context, op, body, reply).map_err(|error| refused(op, &error))?;
        Ok(context.failure.map_or(Outcome::Done, |failure| Outcome::Failed(failure.result)))
    }

    fn descriptor_set(&mut self, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        const OP: &str = "DESCRIPTOR_SET";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        self.set_request.read(&mut reader, &self.objects).map_err(unreadable(OP))?;
        let result = match self.set_request.run(&self.fns, self.sync.device.handle()) {
            Ok(None) => vk::Result::SUCCESS,
            Ok(Some(Made { id, set, pool })) => {
                self.objects
                    .insert(ObjectKind::DESCRIPTOR_SET, id, set.as_raw(), pool.as_raw())
                    .map_err(|error| bad_id(OP, &error))?;
                vk::Result::SUCCESS
            }
            Err(result) => result,
        };
        Ok(answer(reply, result))
    }

    fn query_results(&mut self, body: &[u8], reply: &mut Encoder) -> Result<Outcome, StreamEnd> {
        const OP: &str = "QUERY_RESULTS";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let request = queries::Request::read(&mut reader).map_err(unreadable(OP))?;
        if self.reading == Reading::WaitsForIdle && self.poll() == Pending::Work {
            // The client asks again.
            reply.i32(QUERIES_ASK_AGAIN);
            return Ok(Outcome::Done);
        }
        request.run(&self.fns, self.sync.device.handle(), self.reading, reply)?;
        Ok(Outcome::Done)
    }

    fn queue_submit(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "QUEUE_SUBMIT";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let queue = queue_of(&mut self.queues, &mut reader, OP)?;
        let sequence = reader.u64().map_err(unreadable(OP))?;
        let timelines = Timelines { feedback: &self.feedback, shared: &self.shared };
        self.submission.read(&mut reader, &timelines, queue, sequence).map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        for (cell, proxy, value) in self.submission.awaited() {
            self.watcher.watch(&cell, proxy, value)?;
        }
        let submitted = self.submission.submit(&self.sync, queue);
        if !self.retired.is_empty() {
            self.destroy_retired();
        }
        Ok(outcome(submitted))
    }

    fn queue_bind_sparse(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "QUEUE_BIND_SPARSE";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let queue = queue_of(&mut self.queues, &mut reader, OP)?;
        let sequence = reader.u64().map_err(unreadable(OP))?;
        let mut batches = Vec::new();
        for _ in 0..submit::count(&mut reader, BIND_BYTES).map_err(unreadable(OP))? {
            let info = structs::dec_bind_sparse_info(&mut reader).map_err(unreadable(OP))?;
            let of = |semaphore| self.feedback.iter().find(|feedback| feedback.semaphore == semaphore);
            let signals = sparse::signals(&info, |semaphore, value| {
                let feedback = of(semaphore)?;
                feedback.will_signal(value);
                Some(Arc::clone(&feedback.cell))
            });
            for (semaphore, value) in sparse::waits(&info) {
                if let Some(feedback) = of(semaphore) {
                    feedback.will_wait(value);
                }
            }
            batches.push(sparse::Read { info, signals });
        }
        reader.finish().map_err(unreadable(OP))?;
        let binding = sparse::Binding::new(batches, queue, sequence);
        Ok(outcome(binding.submit(&self.sync.device, queue)))
    }

    fn allocate_memory(&mut self, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        const OP: &str = "ALLOCATE_MEMORY";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let id = reader.u64().map_err(unreadable(OP))?;
        let address = IoAddress(reader.u64().map_err(unreadable(OP))?);
        let info = structs::dec_memory_allocate_info(&mut reader).map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        self.holdings.check_vacant(id).map_err(|error| bad_id(OP, &error))?;

        let sources = Sources {
            driver: &self.around.driver,
            windows: &self.around.windows,
            calls: &self.around.calls,
            host_pointers: self.around.host_pointers,
        };
        let result = match sources.allocate(&self.sync.device, &info, address) {
            Ok((native, holding)) => {
                // The table of holdings said that the id is free, and both tables change together.
                self.holdings.insert(id, holding).map_err(|(error, _)| bad_id(OP, &error))?;
                self.objects
                    .insert(ObjectKind::DEVICE_MEMORY, id, native.as_raw(), 0)
                    .map_err(|error| bad_id(OP, &error))?;
                vk::Result::SUCCESS
            }
            Err(AllocateError::Refused(result)) => result,
            Err(AllocateError::Violation(violation)) => return Err(violation.into()),
        };
        Ok(answer(reply, result))
    }

    fn create_buffer(&mut self, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        const OP: &str = "CREATE_BUFFER";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let info = reader.pointer(false, structs::dec_buffer_create_info).map_err(unreadable(OP))?;
        let id = reader.new_id(ObjectKind::BUFFER).map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        // SAFETY:
        // - the decoder has just put it there.
        let mut info = unsafe { info.read() };
        let mut own = vk::ExternalMemoryBufferCreateInfo::default();
        self.imports.of_buffer(&self.around.driver, &mut info, &mut own);
        // SAFETY:
        // - `info` was decoded whole into memory that outlives the call, as does what was put into its chain.
        let result = match unsafe { self.sync.device.create_buffer(&info, None) } {
            Ok(native) => {
                self.objects
                    .insert(ObjectKind::BUFFER, id, native.as_raw(), 0)
                    .map_err(|error| bad_id(OP, &error))?;
                vk::Result::SUCCESS
            }
            Err(result) => result,
        };
        Ok(answer(reply, result))
    }

    fn create_image(&mut self, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd> {
        const OP: &str = "CREATE_IMAGE";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let info = reader.pointer(false, structs::dec_image_create_info).map_err(unreadable(OP))?;
        let id = reader.new_id(ObjectKind::IMAGE).map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        // SAFETY:
        // - the decoder has just put it there.
        let mut info = unsafe { info.read() };
        let mut own = vk::ExternalMemoryImageCreateInfo::default();
        self.imports.of_image(&self.around.driver, &mut info, &mut own);
        // SAFETY:
        // - `info` was decoded whole into memory that outlives the call, as does what was put into its chain.
        let result = match unsafe { self.sync.device.create_image(&info, None) } {
            Ok(native) => {
                self.objects
                    .insert(ObjectKind::IMAGE, id, native.as_raw(), 0)
                    .map_err(|error| bad_id(OP, &error))?;
                vk::Result::SUCCESS
            }
            Err(result) => result,
        };
        Ok(answer(reply, result))
    }

    fn free_memory(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "FREE_MEMORY";
        let Some(id) = sole_id(&self.bump, &self.objects, body, OP)? else { return Ok(Outcome::Done) };
        let native =
            self.objects.remove(ObjectKind::DEVICE_MEMORY, id).map_err(|error| bad_id(OP, &error))?;
        let holding = self.holdings.remove(id).map_err(|error| bad_id(OP, &error))?;
        // SAFETY:
        // - the memory was of this device and out of its table, so nothing names it any more.
        unsafe { self.sync.device.free_memory(vk::DeviceMemory::from_raw(native), None) };
        self.release(holding);
        Ok(Outcome::Done)
    }

    fn release(&self, holding: Holding) {
        if let Holding::Charged(size_bytes) = holding {
            self.around.calls.uncharge(size_bytes);
        }
    }

    /// Looks at every queue once and publishes what is complete.
    pub(crate) fn poll(&self) -> Pending {
        let mut pending = Pending::Nothing;
        for queue in &self.queues {
            if queue.progress.poll() == Pending::Work {
                pending = Pending::Work;
            }
        }
        pending
    }

    /// Sleeps in the driver until one of the queues that have work comes further, for a time at most.
    pub(crate) fn wait(&self, timeout: Duration) {
        if let Some(queue) = self.queues.iter().find(|queue| queue.progress.has_work()) {
            queue.progress.wait_next(timeout);
        }
    }

    /// The thread of the stream goes to sleep: waiter threads watch what is pending.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn hand_over(&mut self) -> Result<(), Fault> {
        self.queues.iter_mut().try_for_each(Queue::hand_over)
    }

    /// Brings the device to rest and destroys it with all it holds.
    ///
    /// # Errors
    /// When the device does not come to rest: then it stays until the process ends.
    pub(crate) fn destroy(mut self) -> Result<(), Fault> {
        self.abandoned = self.come_to_rest() == Pending::Work;
        for queue in &mut self.queues {
            queue.stop();
        }
        self.watcher.stop();
        if self.abandoned {
            std::mem::forget(self);
            return Err(Fault::new("destroy a device", "it does not come to rest"));
        }
        self.tear_down();
        Ok(())
    }

    fn tear_down(&mut self) {
        self.makers.close();
        if let Err(error) = self.take_pipelines() {
            tracing::debug!(%error, "a pipeline that could not be named is destroyed");
        }
        // SAFETY:
        // - the device is alive, and no other thread uses its queues: the waiters have ended.
        if let Err(result) = unsafe { self.sync.device.device_wait_idle() } {
            tracing::debug!(?result, "the device is lost while it is destroyed");
        }
        for (kind, op) in TEAR_DOWN {
            for id in self.objects.ids(*kind) {
                if let Err(error) = self.execute(op.0, &id.to_le_bytes(), None) {
                    tracing::error!(op = op.name(), %error, "an object could not be destroyed");
                }
            }
        }
        for retired in self.retired.take_all() {
            // SAFETY:
            // - the semaphore was of this device, which is idle, and out of its table, so nothing names it any more.
            unsafe { self.sync.device.destroy_semaphore(retired.semaphore, None) };
        }
        for proxy in self.given_up.drain(..) {
            // SAFETY:
            // - the semaphore is of this device, which is idle, and out of its tables.
            unsafe { self.sync.device.destroy_semaphore(proxy, None) };
        }
        for queue in self.queues.drain(..) {
            // SAFETY:
            // - the semaphore is of this device, which is idle; the waiter thread has ended.
            unsafe { self.sync.device.destroy_semaphore(queue.progress.timeline().semaphore(), None) };
        }
        // SAFETY:
        // - everything that was made of the device is destroyed, and nothing uses it after this.
        unsafe { self.sync.device.destroy_device(None) };
    }
}

/// Whether recordings may end with an operation.
fn is_of_command_buffers(op: VkOp) -> bool {
    matches!(op, VkOp::FREE_COMMAND_BUFFERS | VkOp::RESET_COMMAND_POOL | VkOp::DESTROY_COMMAND_POOL)
}

/// Whether the driver may take its time for an operation: waiter threads watch the queues meanwhile.
fn is_long(op: u16, body_bytes: usize) -> bool {
    body_bytes >= LONG_BYTES || Request::is(VkOp(op))
}

/// Reads the queues of CREATE_DEVICE and finds their cells.
fn read_places(
    reader: &mut Reader<'_, '_>,
    around: &Surroundings,
) -> Result<(Vec<QueuePlace>, Vec<Arc<Cell>>), StreamEnd> {
    const OP: &str = "CREATE_DEVICE";
    let count = submit::count(reader, PLACE_BYTES).map_err(unreadable(OP))?;
    let mut places = Vec::with_capacity(count);
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        let place = QueuePlace {
            family: reader.u32().map_err(unreadable(OP))?,
            index: reader.u32().map_err(unreadable(OP))?,
            flags: vk::DeviceQueueCreateFlags::from_raw(reader.u32().map_err(unreadable(OP))?),
        };
        if places.contains(&place) {
            return Err(violation(OP, "a queue twice"));
        }
        let address = reader.u64().map_err(unreadable(OP))?;
        cells.push(cell(&around.windows, OP, address, 0)?);
        places.push(place);
    }
    Ok((places, cells))
}

/// The queue that an operation names first.
fn queue_of<'a>(
    queues: &'a mut [Queue],
    reader: &mut Reader<'_, '_>,
    op: &'static str,
) -> Result<&'a mut Queue, StreamEnd> {
    let index = reader.u32().map_err(unreadable(op))?;
    usize::try_from(index)
        .ok()
        .and_then(|index| queues.get_mut(index))
        .ok_or_else(|| violation(op, "no such queue"))
}

/// The one id that an operation consists of; `None` for the null id.
fn sole_id(bump: &Bump, objects: &Objects, body: &[u8], op: &'static str) -> Result<Option<u64>, StreamEnd> {
    let mut reader = Reader::new(body, bump, objects);
    let id = reader.u64().map_err(unreadable(op))?;
    reader.finish().map_err(unreadable(op))?;
    Ok((id != 0).then_some(id))
}

fn bad_id(op: &'static str, error: &BadId) -> StreamEnd {
    tracing::debug!(op, %error, "bad id");
    violation(op, "bad id")
}

/// Generated code met bytes or an operation that it does not take.
pub(crate) fn refused(op: VkOp, error: &DispatchError) -> StreamEnd {
    let name = op.name().unwrap_or("unknown operation");
    tracing::debug!(op = name, number = op.0, %error, "refused operation");
    violation(name, "refused")
}

fn outcome(result: Result<(), vk::Result>) -> Outcome {
    result.err().map_or(Outcome::Done, Outcome::Failed)
}

/// Puts a result into the answer; where there is none, a failure is the stream's status.
fn answer(reply: Option<&mut Encoder>, result: vk::Result) -> Outcome {
    match reply {
        Some(reply) => {
            reply.i32(result.as_raw());
            Outcome::Done
        }
        None if result == vk::Result::SUCCESS => Outcome::Done,
        None => Outcome::Failed(result),
    }
}
