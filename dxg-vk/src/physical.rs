//! A physical device: one virtual GPU, reached through a connection of its own.

use std::collections::HashMap;
use std::sync::Arc;

use ash::vk;
use dxg_core::Candidate;
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
use tracing::warn;

use crate::description::Description;
use crate::external::Exchange;
use crate::ffi::describe;
use crate::link::HostLink;
use crate::stream::Stream;

/// Bytes of the instance stream's ring.
const RING_BYTES: u32 = 64 << 10;
/// About the size of a description.
const DESCRIPTION_BYTES: usize = 256 << 10;
/// Replies kept; beyond that the cache starts over.
const MAX_CACHED: usize = 4096;

/// A physical device.
#[derive(Debug)]
pub struct Physical {
    /// Its session.
    pub streams: Streams,
    /// What it is.
    pub description: Description,
    /// The version of Vulkan that the program asked its instance for.
    pub asked_version: u32,
    /// Where its objects become objects that others can open.
    pub exchange: Exchange,
    stream: Stream,
    cache: Mutex<HashMap<Vec<u8>, Arc<[u8]>>>,
    /// Keeps the connection.
    _node: Node,
}

impl Physical {
    /// Connects to a virtual GPU and fetches its description, for a program that asked for this version of Vulkan. `None`,
    /// with the reason logged, when it is of no use.
    pub fn connect(candidate: &Candidate, asked_version: u32) -> Option<Self> {
        let path = candidate.path().display();
        let node =
            candidate.open().inspect_err(|error| warn!(%path, %error, "virtual GPU unreachable")).ok()?;
        let streams = node.streams()?;
        let connected = Self::over(node, streams, asked_version);
        match connected {
            Ok(physical) => {
                debug!(%path, "virtual GPU described");
                Some(physical)
            }
            Err(error) => {
                warn!(%path, %error, "virtual GPU has no Vulkan device");
                None
            }
        }
    }

    fn over(node: Node, streams: Streams, asked_version: u32) -> Result<Self, vk::Result> {
        let link = HostLink::open(&streams, StreamKind::VULKAN_INSTANCE, RING_BYTES)?;
        let stream = Stream::over(Box::new(link));
        let description =
            stream.call_sized(VkOp(op::DESCRIBE), DESCRIPTION_BYTES, |_| (), describe::read_description)?;
        Ok(Self {
            streams,
            description,
            asked_version,
            stream,
            exchange: Exchange::default(),
            cache: Mutex::default(),
            _node: node,
        })
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
