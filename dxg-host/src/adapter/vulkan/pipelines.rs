//! Pipelines are made by threads of their own.
//!
//! *Why.* A driver compiles shaders while it makes a pipeline. That takes milliseconds, in which the thread of the stream
//! would execute nothing else: a program that makes pipelines while it draws would stutter, and one that makes them in
//! several threads would use one core. The thread of the stream reads the request; another one calls the driver and
//! answers.
//!
//! *Invariants.* Pipelines are handed to the thread of the stream before the answer is given, and that thread takes them
//! into its table before it executes anything: nothing that the client asks for after its answer comes too early. The
//! device outlives every call.
//!
//! *Locks.* One mutex per device, never held while the driver works.
//!
//! See `docs/decisions/pipelines-are-made-beside-the-stream.md`.

// UNSAFETY: calls into the host's driver.
#![expect(unsafe_code, reason = "the driver is called through C functions")]

use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use ash::vk;
use ash::vk::Handle;
use bumpalo::Bump;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::spin::Spin;
use parking_lot::Condvar;
use parking_lot::Mutex;

use super::super::answer::Answer;
use super::context::DispatchError;
use super::objects::Objects;
use super::reader::Reader;
use super::reader::arena;
use crate::failure::Fault;
use crate::generated::vulkan::native::DeviceFns;
use crate::generated::vulkan::structs;

/// Most threads of one device.
const MAX_THREADS: usize = 8;
/// Requests that wait for a thread, at most: with more the stream waits.
const MAX_WAITING: usize = 64;
/// How long a thread looks for the next request before it sleeps: programs make pipelines in a row.
const LOOK: Duration = Duration::from_micros(50);

/// Which function, with what.
enum Create {
    Compute(vk::PFN_vkCreateComputePipelines, *const vk::ComputePipelineCreateInfo<'static>),
    Graphics(vk::PFN_vkCreateGraphicsPipelines, *const vk::GraphicsPipelineCreateInfo<'static>),
}

/// A request that was read.
pub(crate) struct Request {
    create: Create,
    cache: vk::PipelineCache,
    ids: Vec<u64>,
    /// What the pointers of `create` lead into.
    _memory: (Box<[u8]>, Bump),
}

// SAFETY: the pointers lead into memory that the request owns and nobody else refers to.
unsafe impl Send for Request {}

impl Request {
    /// Whether an operation is one of those that are executed here.
    pub(crate) fn is(op: VkOp) -> bool {
        op == VkOp::CREATE_COMPUTE_PIPELINES || op == VkOp::CREATE_GRAPHICS_PIPELINES
    }

    /// Reads one of them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(
        op: VkOp,
        body: &[u8],
        fns: &DeviceFns,
        objects: &Objects,
    ) -> Result<Self, DispatchError> {
        let body: Box<[u8]> = body.into();
        let bump = arena();
        let mut reader = Reader::new(&body, &bump, objects);
        let r = &mut reader;
        let cache = vk::PipelineCache::from_raw(r.handle_or_null(ObjectKind::PIPELINE_CACHE)?);
        let count = r.u32()? as usize;
        let (create, len) = if op == VkOp::CREATE_COMPUTE_PIPELINES {
            let function =
                fns.create_compute_pipelines.ok_or(DispatchError::Missing("vkCreateComputePipelines"))?;
            let (infos, len) = r.array(structs::dec_compute_pipeline_create_info)?;
            (Create::Compute(function, infos), len)
        } else {
            let function =
                fns.create_graphics_pipelines.ok_or(DispatchError::Missing("vkCreateGraphicsPipelines"))?;
            let (infos, len) = r.array(structs::dec_graphics_pipeline_create_info)?;
            (Create::Graphics(function, infos), len)
        };
        let ids = r.new_ids(ObjectKind::PIPELINE)?.to_vec();
        r.agree(len, count, false)?;
        r.agree(Some(ids.len()), count, false)?;
        r.finish()?;
        Ok(Self { create, cache, ids, _memory: (body, bump) })
    }

    /// Calls the driver.
    ///
    /// # Safety
    /// The device is alive.
    unsafe fn run(&self, device: vk::Device) -> (vk::Result, Vec<vk::Pipeline>) {
        let mut made = vec![vk::Pipeline::null(); self.ids.len()];
        // As many as the client sent; its count is 32 bits.
        let count = self.ids.len() as u32;
        let result = match self.create {
            // SAFETY: parameters were read whole, there are as many structures and places as the count says, and the
            // caller says that the device is alive.
            Create::Compute(function, infos) => unsafe {
                function(device, self.cache, count, infos, ptr::null(), made.as_mut_ptr())
            },
            // SAFETY: as above.
            Create::Graphics(function, infos) => unsafe {
                function(device, self.cache, count, infos, ptr::null(), made.as_mut_ptr())
            },
        };
        (result, made)
    }
}

/// A pipeline and the id that the client gave it.
pub(crate) type Made = (u64, vk::Pipeline);

#[derive(Default)]
struct State {
    waiting: VecDeque<(Request, Answer)>,
    /// Made, and not in the table yet.
    made: Vec<Made>,
    /// Threads that look for requests or sleep.
    idle: usize,
    closing: bool,
    /// A client named a slot for its answer that takes none.
    misplaced: bool,
}

struct Common {
    device: vk::Device,
    state: Mutex<State>,
    changed: Condvar,
    /// Length of `State::waiting`, looked at without the lock.
    waiting: AtomicUsize,
    /// Whether the thread of the stream has something to take.
    news: AtomicBool,
}

/// What the thread of the stream has to take note of.
pub(crate) struct News {
    pub(crate) made: Vec<Made>,
    pub(crate) misplaced: bool,
}

/// The threads of one device. They start when they are needed.
pub(crate) struct Makers {
    common: Arc<Common>,
    threads: Vec<JoinHandle<()>>,
    max_threads: usize,
}

impl Makers {
    /// No threads yet, for a device that outlives this.
    pub(crate) fn new(device: vk::Device) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let common = Common {
            device,
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
            news: AtomicBool::new(false),
        };
        Self { common: Arc::new(common), threads: Vec::new(), max_threads: cores.clamp(2, MAX_THREADS) }
    }

    /// Whether so much waits that the client should, too.
    pub(crate) fn is_full(&self) -> bool {
        self.common.waiting.load(Ordering::Relaxed) >= MAX_WAITING
    }

    /// Has a request executed and answered.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub(crate) fn start(&mut self, request: Request, answer: Answer) -> Result<(), Fault> {
        let mut state = self.common.state.lock();
        state.waiting.push_back((request, answer));
        self.common.waiting.store(state.waiting.len(), Ordering::Release);
        let is_short = state.idle < state.waiting.len();
        drop(state);
        self.common.changed.notify_one();
        if is_short && self.threads.len() < self.max_threads {
            let common = Arc::clone(&self.common);
            let thread = std::thread::Builder::new()
                .name("vk-pipelines".to_owned())
                .spawn(move || common.run())
                .map_err(|error| Fault::new("start a thread that makes pipelines", error))?;
            self.threads.push(thread);
        }
        Ok(())
    }

    /// What was made since the last time, if anything.
    #[inline]
    pub(crate) fn news(&self) -> Option<News> {
        if !self.common.news.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.common.state.lock();
        self.common.news.store(false, Ordering::Relaxed);
        Some(News { made: std::mem::take(&mut state.made), misplaced: state.misplaced })
    }

    /// Waits for what the driver is making; what it has not begun is dropped. There may be news after it.
    pub(crate) fn close(&mut self) {
        {
            let mut state = self.common.state.lock();
            state.closing = true;
            state.waiting.clear();
            self.common.waiting.store(0, Ordering::Release);
        }
        self.common.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A panic was reported by its hook.
            let _ = thread.join();
        }
    }
}

impl Drop for Makers {
    fn drop(&mut self) {
        self.close();
    }
}

impl Common {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if state.closing {
                return;
            }
            if let Some((request, answer)) = state.waiting.pop_front() {
                self.waiting.store(state.waiting.len(), Ordering::Release);
                drop(state);
                self.make(&request, &answer);
                state = self.state.lock();
                continue;
            }
            state.idle += 1;
            drop(state);
            let look = Spin::begin();
            while self.waiting.load(Ordering::Acquire) == 0 && look.again(LOOK) {
                std::hint::spin_loop();
            }
            state = self.state.lock();
            if state.waiting.is_empty() && !state.closing {
                self.changed.wait(&mut state);
            }
            state.idle -= 1;
        }
    }

    fn make(&self, request: &Request, answer: &Answer) {
        // SAFETY: whoever destroys the device closes `Makers` first, which waits for this.
        let (result, made) = unsafe { request.run(self.device) };
        let mut reply = Encoder::new();
        reply.i32(result.as_raw());
        reply.count(request.ids.len());
        for (id, made) in request.ids.iter().zip(&made) {
            reply.u64(if made.is_null() { 0 } else { *id });
        }
        let pairs = request.ids.iter().copied().zip(made);
        self.state.lock().made.extend(pairs.filter(|(_, made)| !made.is_null()));
        self.news.store(true, Ordering::Release);
        if !answer.give(reply.as_slice()) {
            self.state.lock().misplaced = true;
            self.news.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Barrier;

    use dxg_wire::session::IoAddress;
    use dxg_wire::shm;
    use dxg_wire::shm::Access;
    use dxg_wire::shm::Mapping;
    use dxg_wire::shm::Populate;
    use dxg_wire::shm::SharedSlice;
    use dxg_wire::stream::ReplyRequest;
    use dxg_wire::stream::ReplySlot;

    use super::*;
    use crate::adapter::Windows;

    const BASE: IoAddress = IoAddress(0x10_0000);
    const HANG: Duration = Duration::from_secs(60);

    static BOTH: Barrier = Barrier::new(2);

    /// Returns only once two calls are in it.
    ///
    /// # Safety
    /// There are as many places for pipelines as the count says.
    unsafe extern "system" fn make_two_at_once(
        _device: vk::Device,
        _cache: vk::PipelineCache,
        count: u32,
        _infos: *const vk::ComputePipelineCreateInfo<'_>,
        _allocator: *const vk::AllocationCallbacks<'_>,
        pipelines: *mut vk::Pipeline,
    ) -> vk::Result {
        BOTH.wait();
        // SAFETY: the caller promises so many places.
        let places = unsafe { std::slice::from_raw_parts_mut(pipelines, count as usize) };
        for (place, number) in places.iter_mut().zip(700..) {
            *place = vk::Pipeline::from_raw(number);
        }
        vk::Result::SUCCESS
    }

    fn request(ids: &[u64]) -> Request {
        let create = Create::Compute(make_two_at_once, ptr::null());
        let memory = (Box::default(), arena());
        Request { create, cache: vk::PipelineCache::null(), ids: ids.to_vec(), _memory: memory }
    }

    /// A slot as the client sees it, and where the host answers.
    fn slot(capacity_bytes: u32) -> (ReplySlot, Answer) {
        let fd = shm::create_sealed("slot", 4096).unwrap();
        let memory = Arc::new(Mapping::map(fd.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap());
        let windows = Windows::default();
        windows.insert(BASE, Arc::clone(&memory));
        let slot = ReplySlot::new(SharedSlice::whole(&memory)).unwrap();
        slot.begin(1);
        let request = ReplyRequest { address: BASE, capacity_bytes, sequence: 1 };
        (slot, Answer::new(&windows, request).unwrap())
    }

    #[test]
    fn requests_are_executed_at_the_same_time_and_made_before_they_are_answered() {
        let mut makers = Makers::new(vk::Device::null());
        let slots: Vec<_> = [[5, 6], [7, 8]]
            .into_iter()
            .map(|ids| {
                let (slot, answer) = slot(256);
                makers.start(request(&ids), answer).unwrap();
                slot
            })
            .collect();
        let mut made = Vec::new();
        for slot in slots {
            let until = std::time::Instant::now() + HANG;
            let reply = slot.wait(1, Duration::ZERO, &|| std::time::Instant::now() > until).unwrap();
            made.extend(makers.news().map(|news| news.made).unwrap_or_default());
            let mut payload = Vec::new();
            slot.payload(reply, &mut payload);
            let first = u64::from_le_bytes(payload[8..16].try_into().unwrap());
            assert!(made.contains(&(first, vk::Pipeline::from_raw(700))), "{first} in {made:?}");
        }
        made.sort_unstable();
        let ids: Vec<u64> = made.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [5, 6, 7, 8]);
        makers.close();
        assert!(makers.news().is_none());
    }
}
