//! A physical device: one virtual GPU, reached through the connection that this process has with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use ash::vk;
use dxg_core::Candidate;
use dxg_core::ErrorKind;
use dxg_core::Node;
use dxg_core::Streams;
use dxg_wire::codec::DecodeError;
use dxg_wire::codec::Decoder;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::StreamKind;
use dxg_wire::vulkan::op;
use parking_lot::Mutex;
use tracing::debug;
use tracing::info;
use tracing::warn;

use crate::description::Description;
use crate::external::Exchange;
use crate::ffi::describe;
use crate::ffi::host_pointers::HostPointers;
use crate::identity::Identity;
use crate::link::HostLink;
use crate::memory::Usages;
use crate::stream::Stream;

/// Bytes of the instance stream's ring.
const RING_BYTES: u32 = 64 << 10;
/// About the size of a description.
const DESCRIPTION_BYTES: usize = 256 << 10;
/// Replies kept; beyond that the cache starts over.
const MAX_CACHED: usize = 4096;

/// How often a session that is lost before its device is known is begun anew.
const CONNECT_ATTEMPTS: usize = 3;

/// Why an attempt to connect failed.
enum Failure {
    /// The host lost the session. It may have another worker.
    Lost,
    /// Another attempt would end the same.
    ForGood,
}

/// A physical device.
#[derive(Debug)]
pub struct Physical {
    /// Its session.
    pub streams: Streams,
    /// What it is.
    pub description: Description,
    /// Who it is.
    pub identity: Identity,
    /// Memory in use on its devices.
    pub usages: Usages,
    /// Memory of the program that it has.
    pub host_pointers: HostPointers,
    /// Where its objects become objects that others can open.
    pub exchange: Exchange,
    worn: AtomicBool,
    stream: Stream,
    cache: Mutex<HashMap<Vec<u8>, Arc<[u8]>>>,
    /// Keeps the connection.
    _node: Node,
}

impl Physical {
    /// Connects to a virtual GPU and fetches its description. `None`, with the reason logged, when it is of no use.
    pub fn connect(candidate: &Candidate) -> Option<Self> {
        // What killed the session before may have killed the worker that was to serve this one.
        for _ in 0..CONNECT_ATTEMPTS {
            match Self::connect_once(candidate) {
                Ok(physical) => return Some(physical),
                Err(Failure::Lost) => {}
                Err(Failure::ForGood) => return None,
            }
        }
        None
    }

    fn connect_once(candidate: &Candidate) -> Result<Self, Failure> {
        let path = candidate.path().display();
        let node = candidate.open().map_err(|error| {
            warn!(%path, %error, "virtual GPU unreachable");
            if error.kind() == ErrorKind::DeviceLost { Failure::Lost } else { Failure::ForGood }
        })?;
        let streams = node.streams().ok_or(Failure::ForGood)?;
        let physical = Self::over(node, streams.clone()).map_err(|error| {
            if error == vk::Result::ERROR_INCOMPATIBLE_DRIVER {
                info!(%path, "virtual GPU left out: its adapter has no Vulkan, it is for CUDA");
            } else {
                warn!(%path, %error, "virtual GPU has no Vulkan device");
            }
            if streams.is_lost() { Failure::Lost } else { Failure::ForGood }
        })?;
        debug!(%path, "virtual GPU described");
        Ok(physical)
    }

    fn over(node: Node, streams: Streams) -> Result<Self, vk::Result> {
        let link = HostLink::open(&streams, StreamKind::VULKAN_INSTANCE, RING_BYTES)?;
        let stream = Stream::over(Box::new(link));
        let description =
            stream.call_sized(VkOp(op::DESCRIBE), DESCRIPTION_BYTES, |_| (), describe::read_description)?;
        Ok(Self {
            identity: Identity::of(&streams),
            usages: Usages::default(),
            host_pointers: HostPointers::default(),
            exchange: Exchange::default(),
            streams,
            description,
            worn: AtomicBool::new(false),
            stream,
            cache: Mutex::default(),
            _node: node,
        })
    }

    /// A device of it was lost: who comes next shall have a driver without such a past.
    pub fn wear(&self) {
        self.worn.store(true, Ordering::Relaxed);
    }

    /// Whether a device of it was lost.
    #[must_use]
    pub fn is_worn(&self) -> bool {
        self.worn.load(Ordering::Relaxed)
    }

    /// The host's reply to a question about the device that has one answer for good; asked once.
    ///
    /// # Errors
    /// Device lost.
    pub fn ask(&self, op: VkOp, body: impl FnOnce(&mut Encoder)) -> Result<Arc<[u8]>, vk::Result> {
        let mut question = Encoder::new();
        question.u32(u32::from(op.0));
        body(&mut question);
        let known = self.cache.lock().get(question.as_slice()).map(Arc::clone);
        if let Some(reply) = known {
            return Ok(reply);
        }
        let request = question.as_slice().get(4..).unwrap_or_default();
        let reply: Arc<[u8]> =
            self.stream.call(op, |encoder| encoder.bytes(request), |reply| Ok(Arc::from(reply.rest())))?;
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(question.into_vec(), Arc::clone(&reply));
        Ok(reply)
    }

    /// [`Self::ask`], and what `reply` reads in the answer.
    ///
    /// # Errors
    /// Device lost.
    pub fn call<R>(
        &self,
        op: VkOp,
        body: impl FnOnce(&mut Encoder),
        reply: impl FnOnce(&mut Decoder<'_>) -> Result<R, DecodeError>,
    ) -> Result<R, vk::Result> {
        let bytes = self.ask(op, body)?;
        reply(&mut Decoder::new(&bytes)).map_err(|_| vk::Result::ERROR_DEVICE_LOST)
    }
}
