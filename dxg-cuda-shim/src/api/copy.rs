//! Copies of bytes in a line.

use std::any::Any;
use std::sync::Arc;

use crate::arena::Kind;
use crate::arena::Residence;
use crate::context::Context;
use crate::current;
use crate::ffi::pointers::Address;
use crate::generated::enums::CUmemorytype;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::graph;
use crate::graph::Params;
use crate::lane::Lane;
use crate::places;
use crate::places::Place;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::work::Box3d;

use super::copy_remote;

/// Copies on an idle device up to this size are made here: that is faster than a message.
const SMALL_BYTES: u64 = 64 << 10;
/// Larger copies from pageable memory wait for the stream instead of being staged.
pub(super) const MOST_STAGED_BYTES: u64 = 8 << 20;

/// When a call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The copy is made, or nobody can tell that it is not.
    Done,
    /// The copy is on its stream.
    Queued,
}

/// Memory of ours that goes back when nothing needs it.
pub(super) struct Staging {
    pub(super) context: Arc<Context>,
    pub(super) address: u64,
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = self.context.arena.free(&self.context.ring, self.address, &[Kind::Own]);
    }
}

/// Copies a box from `from` to `to`, of which only the pitches of `shape` count.
pub fn run(
    context: &Arc<Context>,
    lane: &Arc<Lane>,
    to: Place,
    from: Place,
    shape: Box3d,
    when: When,
) -> Answer {
    let mut copy = shape;
    (copy.to[0], copy.from[0]) = (to.address(), from.address());
    if copy.extent.contains(&0) {
        return Ok(());
    }
    if context.arena.residence() == Residence::Remote
        && let Some(done) = copy_remote::run(context, lane, (to, from), copy)
    {
        return done;
    }
    let is_shared = matches!((to, from), (Place::Shared(_), Place::Shared(_)));
    if when == When::Done {
        super::stream::not_captured(lane)?;
    }
    if lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed) {
        let step = if is_shared { Step::Copy(copy) } else { Step::HostCopy(copy) };
        return graph::enqueue(context, lane, step, || params(copy));
    }
    crate::capture::check_legacy(context, lane)?;
    let bytes = copy.extent.iter().product::<u64>();
    if is_shared {
        let is_small = bytes <= SMALL_BYTES && context.is_ready_for(lane);
        if !is_small {
            return graph::run(context, lane, &Step::Copy(copy));
        }
    } else if when == When::Queued
        && let (Place::Shared(_), Place::Here(_)) = (to, from)
        && bytes <= MOST_STAGED_BYTES
        && !context.is_ready_for(lane)
    {
        return stage(context, lane, copy, bytes);
    }
    settle_others(context, [to, from])?;
    context.synchronize_for(lane)?;
    copy.copy_here();
    Ok(())
}

/// Waits for other contexts whose memory takes part.
fn settle_others(context: &Context, places: [Place; 2]) -> Answer {
    for place in places {
        if let Place::Here(address) = place
            && let Some(other) = places::owner(address)
            && other.id != context.id
        {
            other.synchronize_all()?;
        }
    }
    Ok(())
}

/// Takes the bytes now and copies them in the stream's order.
fn stage(context: &Arc<Context>, lane: &Arc<Lane>, copy: Box3d, bytes: u64) -> Answer {
    let [width, height, _] = copy.extent;
    let address = context.arena.allocate(&context.ring, bytes, Kind::Own, 0)?;
    let staging = Arc::new(Staging { context: Arc::clone(context), address });
    let dense = [address, width, width * height];
    Box3d { to: dense, ..copy }.copy_here();
    graph::run(context, lane, &Step::Copy(Box3d { from: dense, ..copy }))?;
    context.keep(lane, lane.last(), staging as Arc<dyn Any + Send + Sync>);
    Ok(())
}

/// A copy as a node of a graph says it.
pub(super) fn params(copy: Box3d) -> Params {
    let mut node: CUDA_MEMCPY3D = zerocopy::FromZeros::new_zeroed();
    node.src_memory_type = CUmemorytype::UNIFIED;
    node.dst_memory_type = CUmemorytype::UNIFIED;
    node.src_device = CUdeviceptr(copy.from[0]);
    node.dst_device = CUdeviceptr(copy.to[0]);
    let rows = |pitch: u64, slice: u64| (slice.checked_div(pitch).unwrap_or(0)) as usize;
    (node.src_pitch, node.src_height) = (copy.from[1] as usize, rows(copy.from[1], copy.from[2]));
    (node.dst_pitch, node.dst_height) = (copy.to[1] as usize, rows(copy.to[1], copy.to[2]));
    let [width, height, depth] = copy.extent.map(|extent| extent as usize);
    (node.width_in_bytes, node.height, node.depth) = (width, height, depth);
    Params::Memcpy(Box::new(node))
}

#[derive(Clone, Copy)]
enum Side {
    Device(u64),
    Host(Address),
    Any(u64),
}

impl Side {
    fn place(self, context: &Context, bytes: u64) -> Answer<Place> {
        match self {
            Self::Device(at) => places::device(context, at, bytes),
            Self::Host(at) => Ok(places::any(context, at.given()?.0 as u64, bytes)),
            Self::Any(0) => Err(CUresult::ERROR_INVALID_VALUE),
            Self::Any(at) => Ok(places::any(context, at, bytes)),
        }
    }
}

fn line(to: Side, from: Side, bytes: usize, stream: CUstream, when: When) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let bytes = bytes as u64;
    if bytes == 0 {
        return Ok(());
    }
    let (to, from) = (to.place(&context, bytes)?, from.place(&context, bytes)?);
    run(&context, &lane, to, from, Box3d::line(0, 0, bytes), when)
}

/// `cuMemcpyHtoD_v2`.
pub fn to_device(to: CUdeviceptr, from: Address, bytes: usize) -> Answer {
    line(Side::Device(to.0), Side::Host(from), bytes, CUstream::NULL, When::Done)?;
    settle_pinned(from)
}

/// `cuMemcpyDtoH_v2`.
pub fn to_host(to: Address, from: CUdeviceptr, bytes: usize) -> Answer {
    line(Side::Host(to), Side::Device(from.0), bytes, CUstream::NULL, When::Done)?;
    settle_pinned(to)
}

/// A copy whose one end is the program's memory is complete when the call returns, pinned memory or not.
fn settle_pinned(host: Address) -> Answer {
    let (context, lane) = current::stream(CUstream::NULL)?;
    if matches!(places::any(&context, host.0 as u64, 1), Place::Shared(_)) {
        context.synchronize_for(&lane)?;
    }
    Ok(())
}

/// `cuMemcpyDtoD_v2`.
pub fn on_device(to: CUdeviceptr, from: CUdeviceptr, bytes: usize) -> Answer {
    line(Side::Device(to.0), Side::Device(from.0), bytes, CUstream::NULL, When::Done)
}

/// `cuMemcpy`.
pub fn any(to: CUdeviceptr, from: CUdeviceptr, bytes: usize) -> Answer {
    line(Side::Any(to.0), Side::Any(from.0), bytes, CUstream::NULL, When::Done)?;
    settle_pinned(Address(to.0 as usize))
}

/// `cuMemcpyHtoDAsync_v2`.
pub fn to_device_async(to: CUdeviceptr, from: Address, bytes: usize, stream: CUstream) -> Answer {
    line(Side::Device(to.0), Side::Host(from), bytes, stream, When::Queued)
}

/// `cuMemcpyDtoHAsync_v2`.
pub fn to_host_async(to: Address, from: CUdeviceptr, bytes: usize, stream: CUstream) -> Answer {
    line(Side::Host(to), Side::Device(from.0), bytes, stream, When::Queued)
}

/// `cuMemcpyDtoDAsync_v2`.
pub fn on_device_async(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream) -> Answer {
    line(Side::Device(to.0), Side::Device(from.0), bytes, stream, When::Queued)
}

/// `cuMemcpyAsync`.
pub fn any_async(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream) -> Answer {
    line(Side::Any(to.0), Side::Any(from.0), bytes, stream, When::Queued)
}

/// `cuMemcpyPeer`.
pub fn peer(
    to: CUdeviceptr,
    to_ctx: CUcontext,
    from: CUdeviceptr,
    from_ctx: CUcontext,
    bytes: usize,
) -> Answer {
    peer_async(to, to_ctx, from, from_ctx, bytes, CUstream::NULL)
}

/// `cuMemcpyPeerAsync`.
pub fn peer_async(
    to: CUdeviceptr,
    to_ctx: CUcontext,
    from: CUdeviceptr,
    from_ctx: CUcontext,
    bytes: usize,
    stream: CUstream,
) -> Answer {
    tables::context(to_ctx)?;
    tables::context(from_ctx)?;
    line(Side::Device(to.0), Side::Device(from.0), bytes, stream, When::Queued)
}
