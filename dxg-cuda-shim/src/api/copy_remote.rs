//! Copies where device memory is behind a driver of the host: by way of memory that both see.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::arena::Kind;
use crate::context::Context;
use crate::generated::enums::CUresult;
use crate::graph;
use crate::lane::Lane;
use crate::places;
use crate::places::Place;
use crate::step::Step;
use crate::types::Answer;
use crate::work::Box3d;

use super::copy;
use super::copy::MOST_STAGED_BYTES;
use super::copy::Staging;

/// Makes a copy that device memory takes part in; `None` where both ends are memory of this process.
pub(super) fn run(
    context: &Arc<Context>,
    lane: &Arc<Lane>,
    (to, from): (Place, Place),
    shape: Box3d,
) -> Option<Answer> {
    let is_remote = |place: Place| matches!(place, Place::Shared(at) if context.arena.is_remote(at));
    let of_another = |place: Place| matches!(place, Place::Here(at) if places::owner(at).is_some());
    if of_another(to) || of_another(from) {
        // Memory of another context, which has a driver's context of its own.
        return Some(Err(CUresult::ERROR_NOT_SUPPORTED));
    }
    let is_capturing = lane.is_capturing.load(Ordering::Relaxed);
    match (to, from) {
        (Place::Shared(_), Place::Shared(_)) if is_capturing => {
            Some(graph::enqueue(context, lane, Step::Copy(shape), || copy::params(shape)))
        }
        (Place::Shared(_), Place::Shared(_)) => Some(graph::run(context, lane, &Step::Copy(shape))),
        _ if !is_remote(to) && !is_remote(from) => None,
        // What would be copied when the graph runs is not known to the host.
        _ if is_capturing => Some(Err(CUresult::ERROR_NOT_SUPPORTED)),
        (Place::Shared(_), Place::Here(_)) => Some(in_parts(shape, |part| to_device(context, lane, part))),
        _ => Some(in_parts(shape, |part| to_host(context, lane, part))),
    }
}

/// Cuts bytes in a line into parts that are staged one after the other; a box is staged whole.
fn in_parts(shape: Box3d, mut copy: impl FnMut(Box3d) -> Answer) -> Answer {
    let Some(bytes) = shape.as_line() else { return copy(shape) };
    let mut done = 0;
    while done < bytes {
        let step = (bytes - done).min(MOST_STAGED_BYTES);
        copy(Box3d::line(shape.to[0] + done, shape.from[0] + done, step))?;
        done += step;
    }
    Ok(())
}

/// Memory for the bytes of a box, and where they lie in it.
fn staging(context: &Arc<Context>, shape: Box3d) -> Answer<(Arc<Staging>, [u64; 3])> {
    let [width, height, _] = shape.extent;
    let bytes = shape.extent.iter().product();
    let address = context.arena.allocate(&context.ring, bytes, Kind::Own, 0)?;
    let staging = Arc::new(Staging { context: Arc::clone(context), address });
    Ok((staging, [address, width, width * height]))
}

/// Takes the bytes now and copies them in the stream's order.
fn to_device(context: &Arc<Context>, lane: &Arc<Lane>, shape: Box3d) -> Answer {
    let (staging, dense) = staging(context, shape)?;
    Box3d { to: dense, ..shape }.copy_here();
    graph::run(context, lane, &Step::Copy(Box3d { from: dense, ..shape }))?;
    let bytes: u64 = shape.extent.iter().product();
    if bytes >= MOST_STAGED_BYTES {
        // More would only wait in memory.
        return context.synchronize_for(lane);
    }
    context.keep(lane, lane.last(), staging as Arc<dyn Any + Send + Sync>);
    Ok(())
}

/// Waits for the bytes and takes them.
fn to_host(context: &Arc<Context>, lane: &Arc<Lane>, shape: Box3d) -> Answer {
    let (staging, dense) = staging(context, shape)?;
    graph::run(context, lane, &Step::Copy(Box3d { to: dense, ..shape }))?;
    context.synchronize_for(lane)?;
    Box3d { from: dense, ..shape }.copy_here();
    drop(staging);
    Ok(())
}
