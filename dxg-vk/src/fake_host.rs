//! A host for tests: a thread that consumes a stream and answers as a test says.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use ash::vk;
use dxg_core::Sleeper;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::Entry;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::SLOT_HEADER_BYTES;
use dxg_wire::stream::layout::HEADER_BYTES;
use parking_lot::Mutex;

use crate::link::Block;
use crate::link::Link;
use crate::stream::STATUS_REPLY_TOO_SMALL;
use crate::stream::Stream;

/// What the host does with a command.
pub(crate) enum Act {
    /// Executes it; answers this if it was a call.
    Reply(Vec<u8>),
    /// Executes it and never answers.
    Silence,
    /// Sets the sticky status.
    Fail,
}

/// What both ends see.
#[derive(Debug)]
struct Shared {
    blocks: Mutex<HashMap<u64, SharedSlice>>,
    next_base: AtomicU64,
    lost: AtomicBool,
    refuses: AtomicBool,
    sleepers: Mutex<Vec<Weak<dyn Sleeper>>>,
    stop: AtomicBool,
}

impl Shared {
    /// The memory from an address on.
    fn at(&self, address: u64, len: usize) -> SharedSlice {
        let blocks = self.blocks.lock();
        let found = blocks.iter().find_map(|(base, memory)| {
            let offset = usize::try_from(address.checked_sub(*base)?).ok()?;
            memory.sub(offset, len).ok()
        });
        found.expect("an address of a leased block")
    }
}

#[derive(Debug)]
struct FakeLink {
    shared: Arc<Shared>,
    producer: Producer,
    doorbell: std::os::fd::OwnedFd,
}

impl Link for FakeLink {
    fn producer(&self) -> &Producer {
        &self.producer
    }

    fn lease(&self, size_bytes: u64) -> Result<Block, vk::Result> {
        if self.shared.refuses.load(Ordering::SeqCst) {
            return Err(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY);
        }
        let memory = SharedSlice::whole(&mapping(usize::try_from(size_bytes).unwrap()));
        let base = self.shared.next_base.fetch_add(size_bytes.next_multiple_of(1 << 16), Ordering::Relaxed);
        self.shared.blocks.lock().insert(base, memory.clone());
        Ok(Block::new(memory, IoAddress(base)))
    }

    fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::SeqCst)
    }

    fn wake_when_lost(&self, sleeper: Arc<dyn Sleeper>) {
        self.shared.sleepers.lock().push(Arc::downgrade(&sleeper));
    }
}

impl Drop for FakeLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        doorbell::ring(&self.doorbell);
    }
}

fn mapping(len: usize) -> Arc<Mapping> {
    let memfd = create_sealed("fake", len as u64).unwrap();
    Mapping::map(memfd.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap()
}

/// A host at the other end of [`FakeHost::stream`].
pub(crate) struct FakeHost {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl FakeHost {
    /// A stream with a ring of `ring_bytes` whose commands `act` executes: opcode and body.
    pub(crate) fn start(
        ring_bytes: usize,
        mut act: impl FnMut(u16, &[u8]) -> Act + Send + 'static,
    ) -> (Self, Stream) {
        let memory = SharedSlice::whole(&mapping(HEADER_BYTES + ring_bytes));
        let bell = doorbell::create().unwrap();
        let producer = Producer::new(memory.clone(), bell.try_clone().unwrap()).unwrap();
        let shared = Arc::new(Shared {
            blocks: Mutex::default(),
            next_base: AtomicU64::new(1 << 32),
            lost: AtomicBool::new(false),
            refuses: AtomicBool::new(false),
            sleepers: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let mut consumer = Consumer::new(memory, bell.try_clone().unwrap()).unwrap();
        let host = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&host, &mut consumer, &mut act));
        let link = FakeLink { shared: Arc::clone(&shared), producer, doorbell: bell };
        (Self { shared, thread: Some(thread) }, Stream::over(Box::new(link)))
    }

    /// There is no memory for this client from now on.
    pub(crate) fn refuse_leases(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
    }

    /// There is memory again.
    pub(crate) fn grant_leases(&self) {
        self.shared.refuses.store(false, Ordering::SeqCst);
    }

    /// The session ends, as if the daemon had gone.
    pub(crate) fn lose(&self) {
        self.shared.lost.store(true, Ordering::SeqCst);
        for sleeper in self.shared.sleepers.lock().iter().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        // The stream must be dropped first: its link stops the thread.
        if let Some(thread) = self.thread.take()
            && !std::thread::panicking()
        {
            thread.join().unwrap();
        }
    }
}

fn serve(shared: &Shared, consumer: &mut Consumer, act: &mut dyn FnMut(u16, &[u8]) -> Act) {
    let mut scratch = Vec::new();
    let mut idle = || if shared.stop.load(Ordering::Relaxed) { Idle::Stop } else { Idle::Poll };
    while let Next::Entry(_) = consumer.next(&mut scratch, &mut idle).unwrap() {
        let entry = Entry::parse(&scratch).unwrap();
        if entry.header.opcode == OP_INDIRECT {
            let indirect = entry.indirect().unwrap();
            let mut bytes = vec![0; usize::try_from(indirect.size_bytes).unwrap()];
            shared.at(indirect.address.0, bytes.len()).copy_out(0, &mut bytes).unwrap();
            execute(shared, consumer, &Entry::parse(&bytes).unwrap(), act);
        } else {
            execute(shared, consumer, &entry, act);
        }
        consumer.done();
    }
}

fn execute(
    shared: &Shared,
    consumer: &mut Consumer,
    entry: &Entry<'_>,
    act: &mut dyn FnMut(u16, &[u8]) -> Act,
) {
    let payload = match act(entry.header.opcode, entry.body) {
        Act::Reply(payload) => payload,
        Act::Silence => return,
        Act::Fail => return consumer.set_status(1, -4),
    };
    let Some(request) = entry.reply else { return };
    let capacity = request.capacity_bytes as usize;
    let memory = shared.at(request.address.0, SLOT_HEADER_BYTES + capacity);
    let slot = ReplySlot::new(memory).unwrap();
    if payload.len() <= capacity {
        slot.finish(request.sequence, 0, &payload).unwrap();
    } else {
        let needed = (payload.len() as u64).to_le_bytes();
        slot.finish(request.sequence, STATUS_REPLY_TOO_SMALL, &needed).unwrap();
    }
}
