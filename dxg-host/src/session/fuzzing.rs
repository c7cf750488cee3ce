//! A session that a fuzzer asks directly: no rings for requests, no threads but that of its broker.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::thread::JoinHandle;

use dxg_ioctl::Luid;
use dxg_wire::doorbell;
use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketHeader;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::Receiver;
use dxg_wire::vmbus::SharedRing;
use parking_lot::Mutex;
use rustix::net::AddressFamily;
use rustix::net::Shutdown;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use super::Session;
use super::arena::Arena;
use super::channel::answer;
use super::engine;
use super::engine::Engine;
use super::engine::Idle;
use super::model::Objects;
use super::notify::Notifier;
use super::private_data::PrivateBudget;
use super::share::Shares;
use crate::adapter::Windows;
use crate::adapter::null::NullAdapter;
use crate::failure::Failure;
use crate::failure::Fault;
use crate::worker::BrokerLink;
use crate::worker::fuzzing;

/// Bytes of the arena.
const ARENA_BYTES: usize = 1 << 20;
/// Bytes of a ring of the global channel: it holds what one request can set free.
const RING_BYTES: usize = 16 << 20;
/// A block that the guest has leased.
const BLOCK_BYTES: usize = 64 << 10;

/// A session over the adapter without a driver.
pub struct SessionStage {
    session: Arc<Session>,
    packets: Receiver<SharedRing>,
    theirs: Arc<OwnedFd>,
    broker: Option<JoinHandle<()>>,
}

fn shared(name: &str, len: usize) -> Result<Arc<Mapping>, Fault> {
    use std::os::fd::AsFd;
    let fault = |error: &dyn std::fmt::Display| Fault::new("stage", error);
    let memory = create_sealed(name, len as u64).map_err(|error| fault(&error))?;
    Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).map_err(|error| fault(&error))
}

impl SessionStage {
    /// Base of the block that the guest has leased.
    pub const BLOCK: u64 = 0x1_8000_0000;
    /// Share handles from here on are objects of other clients: even ones resources, odd ones fences.
    pub const FOREIGN: u32 = fuzzing::FOREIGN;

    /// A session in which nothing was asked yet. Foreign shared objects have `foreign` as their private data.
    ///
    /// # Errors
    /// No memory, descriptors or threads.
    pub fn new(foreign: Vec<u8>) -> Result<Self, Fault> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(|error| Fault::new("stage", error))?;
        let windows = Arc::new(Windows::new());
        let arena = shared("fuzz-arena", ARENA_BYTES)?;
        windows.insert(IoAddress(ARENA_BASE), Arc::clone(&arena));
        windows.insert(IoAddress(Self::BLOCK), shared("fuzz-block", BLOCK_BYTES)?);
        let link = Arc::new(BrokerLink::new(ours, windows));
        let outgoing = SharedSlice::whole(&shared("fuzz-ring", RING_BYTES)?);
        let incoming = SharedSlice::whole(&shared("fuzz-ring", 16 << 10)?);
        let bad_ring = |error| Fault::new("stage", error);
        let bell = || doorbell::create().map_err(|error| Fault::new("stage", error));
        let outgoing = SharedRing::new(&outgoing).map_err(bad_ring)?;
        let packets = Receiver::new(outgoing.clone()).map_err(bad_ring)?;
        let incoming = SharedRing::new(&incoming).map_err(bad_ring)?;
        let global = Channel::new(outgoing, incoming, bell()?, bell()?).map_err(bad_ring)?;
        let notifier = Notifier::new(Arc::new(Mutex::new(global.sender)), Arc::clone(&link));
        let session = Arc::new(Session {
            adapter: Arc::new(NullAdapter::open()),
            luid: Luid { a: 1, b: 2 },
            quota_bytes: 64 << 20,
            used_bytes: Arc::default(),
            reserved_bytes: AtomicU64::new(0),
            private: PrivateBudget::default(),
            arena: Arc::new(Arena::new(&arena)),
            engine: Arc::new(Engine::new(notifier)),
            shares: Arc::new(Shares::new(Arc::clone(&link))),
            objects: Mutex::new(Objects::new()),
            link: Arc::clone(&link),
        });
        let theirs = Arc::new(theirs);
        let socket = Arc::clone(&theirs);
        let broker = thread::Builder::new()
            .name("broker".to_owned())
            .spawn(move || fuzzing::serve(&link, &socket, &foreign))
            .map_err(|error| Fault::new("stage", error))?;
        Ok(Self { session, packets, theirs, broker: Some(broker) })
    }

    /// Asks something, with its prefix, runs what follows from it, and answers as the channel would.
    ///
    /// # Errors
    /// What ends the session.
    pub fn ask(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let packet = PacketHeader {
            packet_type: PacketType::DATA_IN_BAND,
            flags: PacketFlags::COMPLETION_REQUESTED,
            transaction_id: 1,
            payload_bytes: message.len(),
        };
        let answered = answer(&self.session, &packet, message);
        engine::run(&self.session, Idle::Return);
        let mut payload = Vec::new();
        while let Ok(Some(_)) = self.packets.receive(&mut payload) {}
        answered
    }

    /// Bytes of the windows that the session holds.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.session.used_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for SessionStage {
    fn drop(&mut self) {
        // The broker's thread reads the end of the socket.
        let _ = rustix::net::shutdown(&*self.theirs, Shutdown::Both);
        if let Some(broker) = self.broker.take()
            && broker.join().is_err()
            && !thread::panicking()
        {
            panic!("the broker of the stage failed");
        }
    }
}
