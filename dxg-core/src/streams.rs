//! API command streams and leased memory, for front ends such as the Vulkan driver.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use dxg_ioctl::Luid;
use dxg_wire::session::AskBudget;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::Budget;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::IoAddress;
use dxg_wire::session::OpenStream;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamKind;
use dxg_wire::session::StreamOpened;
use dxg_wire::session::StreamRef;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Producer;
use dxg_wire::stream::layout::HEADER_BYTES;

use crate::Error;
use crate::LostReason;
use crate::Node;
use crate::Uuid;
use crate::error::Op;
use crate::host::HostNode;

const NO_HOST: &str = "streams belong to host nodes";

/// Somebody who sleeps on memory of the host, such as a front end's waits.
pub trait Sleeper: std::fmt::Debug + Send + Sync {
    /// Makes it look again. Called on a thread of the node, which it must not own.
    fn wake(&self);
}

/// Opens streams and leases memory. Clones are the same.
#[derive(Clone, Debug)]
pub struct Streams {
    node: Node,
}

impl Streams {
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let host = node.host()?;
        host.info.features.contains(Features::STREAMS).then(|| Self { node: node.clone() })
    }

    fn host(&self) -> &HostNode {
        self.node.host().expect(NO_HOST)
    }

    /// Opens a command stream with a ring of `ring_bytes`, a power of two.
    ///
    /// # Errors
    ///
    /// The host's reason when it refuses: no such stream on this adapter, quota, ring size.
    pub fn open(&self, kind: StreamKind, ring_bytes: u32) -> Result<StreamHandle, Error> {
        const OP: &str = "open stream";
        let body = |request| OpenStream { request, kind, ring_bytes, reserved: 0 };
        let answer = self.host().ask_broker(ClientMessage::OPEN_STREAM, body).op(OP)?;
        let opened: StreamOpened = answer.body();
        if answer.kind != BrokerMessage::STREAM_OPENED.0 {
            return Err(Error::refused(OP, opened.reason, String::new()));
        }
        // From here on the stream exists and must be closed, whatever is wrong with it.
        let number = Number { node: self.node.clone(), stream: opened.stream };
        let bad = |_| Error::protocol(OP, "the stream's memory cannot be used");
        let [memory, doorbell] =
            answer.fds.try_into().map_err(|_| Error::protocol(OP, "descriptors are missing"))?;
        let len = HEADER_BYTES.checked_add(opened.ring_bytes as usize).ok_or_else(|| bad(()))?;
        let mapping =
            Mapping::map(std::os::fd::AsFd::as_fd(&memory), 0, len, Access::ReadWrite, Populate::Prefault);
        let memory = SharedSlice::whole(&mapping.map_err(|_| bad(()))?);
        let producer = Producer::new(memory, doorbell).map_err(|_| bad(()))?;
        Ok(StreamHandle { producer, number })
    }

    /// Leases a block of at least `size_bytes` bytes of memory that the host sees too.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Quota`](crate::ErrorKind::Quota) at the quota, [`ErrorKind::OutOfMemory`](crate::ErrorKind::OutOfMemory) when
    /// the host has none.
    pub fn lease(&self, size_bytes: u64) -> Result<Block, Error> {
        Block::lease(&self.node, size_bytes, "lease memory")
    }

    /// The same with a descriptor of the memory, for another program to map it. Nothing else lies in that memory.
    ///
    /// # Errors
    ///
    /// As [`Self::lease`].
    pub fn lease_with_descriptor(&self, size_bytes: u64) -> Result<(Block, OwnedFd), Error> {
        Block::lease_with_descriptor(&self.node, size_bytes, "lease memory")
    }

    /// Whether the node is lost. A load: cheap enough to ask in every wait.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.host().is_lost()
    }

    /// Wakes `sleeper`, for as long as it lives, once the node is lost. One that comes after the loss is not woken any more.
    pub fn wake_when_lost(&self, sleeper: &Arc<dyn Sleeper>) {
        self.host().wake_when_lost(Arc::downgrade(sleeper));
    }

    /// Why the node is lost.
    #[must_use]
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.node.lost_reason()
    }

    /// Ends the session as if the host had: for a front end that found the host's answers to make no sense.
    pub fn give_up(&self, reason: Reason, text: &str) {
        self.host().give_up(reason, text);
    }

    /// The virtual GPU's identity.
    #[must_use]
    pub fn vgpu_uuid(&self) -> Uuid {
        Uuid(self.host().info.vgpu_uuid)
    }

    /// The adapter's LUID, the same that the adapter object says.
    #[must_use]
    pub fn adapter_luid(&self) -> Luid {
        self.host().info.adapter_luid
    }

    /// Bytes that this client may hold at once.
    #[must_use]
    pub fn quota_bytes(&self) -> u64 {
        self.host().info.quota_bytes
    }

    /// Bytes that this client may hold at this moment, with those that it does: its quota, less what other clients of the virtual
    /// GPU have of it. A host that does not tell leaves the quota, and so does a lost one.
    #[must_use]
    pub fn budget_bytes(&self) -> u64 {
        let host = self.host();
        if !host.info.features.contains(Features::BUDGET) {
            return self.quota_bytes();
        }
        match host.ask_broker(ClientMessage::ASK_BUDGET, |request| AskBudget { request, reserved: 0 }) {
            Ok(answer) if answer.kind == BrokerMessage::BUDGET.0 => {
                let budget: Budget = answer.body();
                budget.used_bytes.saturating_add(budget.left_bytes).min(self.quota_bytes())
            }
            _ => self.quota_bytes(),
        }
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }
}

/// An open stream's number, given back when dropped.
#[derive(Debug)]
struct Number {
    node: Node,
    stream: u32,
}

impl Drop for Number {
    fn drop(&mut self) {
        if let Some(host) = self.node.host() {
            host.tell_broker(ClientMessage::CLOSE_STREAM, &StreamRef { stream: self.stream, reserved: 0 });
        }
    }
}

/// An open command stream; closed when dropped.
#[derive(Debug)]
pub struct StreamHandle {
    /// The guest's end. Any thread may push.
    pub producer: Producer,
    number: Number,
}

impl StreamHandle {
    /// The stream's number in the session.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number.stream
    }
}

/// Leased memory that the host sees at an address in IO space; given back when dropped.
pub struct Block {
    node: Node,
    base: IoAddress,
    memory: SharedSlice,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("base", &self.base).field("size_bytes", &self.memory.len()).finish()
    }
}

/// Memory that this process and the host both see.
#[derive(Clone, Debug)]
pub struct Window {
    /// The memory. A clone keeps it mapped, not what it belongs to.
    pub memory: SharedSlice,
    /// Where the host sees it.
    pub io_address: IoAddress,
}

impl Block {
    pub(crate) fn lease(node: &Node, size_bytes: u64, op: &'static str) -> Result<Self, Error> {
        Self::lease_with_descriptor(node, size_bytes, op).map(|(block, _)| block)
    }

    /// The same with what the memory is a mapping of, to map it once more.
    pub(crate) fn lease_with_descriptor(
        node: &Node,
        size_bytes: u64,
        op: &'static str,
    ) -> Result<(Self, OwnedFd), Error> {
        let lease = node.host().expect(NO_HOST).lease(size_bytes, op)?;
        let block = Self { node: node.clone(), base: lease.base, memory: lease.memory };
        Ok((block, lease.descriptor))
    }

    /// Where it starts in IO space.
    #[must_use]
    pub fn io_base(&self) -> IoAddress {
        self.base
    }

    /// Its bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.memory.len() as u64
    }

    /// The memory. A clone keeps it mapped, not leased: once the block is dropped the host no longer sees it.
    #[must_use]
    pub fn memory(&self) -> &SharedSlice {
        &self.memory
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(host) = self.node.host() {
            host.release(self.base);
        }
    }
}
