//! Copies and wishes in batches, and copies with attributes.

use std::sync::Arc;

use crate::context::Context;
use crate::current;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUmemcpy3DOperandType;
use crate::generated::enums::CUmemcpySrcAccessOrder as Order;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUmemLocation;
use crate::generated::structs::CUmemcpyAttributes;
use crate::lane::Blocking;
use crate::lane::Lane;
use crate::places;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::work::Box3d;

use super::copy;
use super::copy::When;
use super::memory;

const INVALID: CUresult = CUresult::ERROR_INVALID_VALUE;
/// Of a copy: that it had better overlap with kernels.
const COPY_FLAGS: u32 = 1;
/// `CUDA_MEMCPY3D_BATCH_OP` in words: both ends of five, the extent, order and flags in one.
const OPERATION_WORDS: usize = 14;
type Operation = [u64; OPERATION_WORDS];

/// The stream of a batch, which is not the legacy one.
fn stream_of(stream: CUstream) -> Answer<(Arc<Context>, Arc<Lane>)> {
    let (context, lane) = current::stream(stream)?;
    if lane.blocking == Blocking::Legacy { Err(INVALID) } else { Ok((context, lane)) }
}

fn checked(order: Order, flags: u32) -> Answer<Order> {
    let is_known = matches!(order, Order::STREAM | Order::DURING_API_CALL | Order::ANY);
    if is_known && flags & !COPY_FLAGS == 0 { Ok(order) } else { Err(INVALID) }
}

fn line(context: &Arc<Context>, lane: &Arc<Lane>, to: u64, from: u64, bytes: usize) -> Answer {
    if to == 0 || from == 0 || bytes == 0 {
        return Err(INVALID);
    }
    let bytes = bytes as u64;
    let (to, from) = (places::any(context, to, bytes), places::any(context, from, bytes));
    copy::run(context, lane, to, from, Box3d::line(0, 0, bytes), When::Queued)
}

/// What had to be read before the call returns has been.
fn settle(context: &Context, lane: &Arc<Lane>, orders: &[Order]) -> Answer {
    let is_wanted = orders.contains(&Order::DURING_API_CALL);
    let is_recorded = lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed);
    if is_wanted && !is_recorded { context.synchronize_for(lane) } else { Ok(()) }
}

/// Says which of a batch has failed: all of them where it is none of them.
fn blame(place: Mut<usize>, index: usize, error: CUresult) -> CUresult {
    place.put(index);
    error
}

/// `cuMemcpyBatchAsync`.
pub fn copies(
    to: Mut<CUdeviceptr>,
    from: Mut<CUdeviceptr>,
    sizes: Mut<usize>,
    count: usize,
    attributes: Mut<CUmemcpyAttributes>,
    begins: Mut<usize>,
    attribute_count: usize,
    fail: Mut<usize>,
    stream: CUstream,
) -> Answer {
    let whole = |error| blame(fail, usize::MAX, error);
    let (context, lane) = stream_of(stream).map_err(whole)?;
    if count == 0 || attribute_count == 0 || attribute_count > count {
        return Err(whole(INVALID));
    }
    let lists = || Ok((to.list(count)?, from.list(count)?, sizes.list(count)?));
    let (to, from, sizes) = lists().map_err(whole)?;
    let begins = begins.list(attribute_count).map_err(whole)?;
    let is_rising = begins.windows(2).all(|pair| pair.first() < pair.last());
    if begins.first() != Some(&0) || !is_rising || begins.last().is_none_or(|last| *last >= count) {
        return Err(whole(INVALID));
    }
    let attributes = attributes.list(attribute_count).map_err(whole)?;
    let orders =
        attributes.iter().map(|one| checked(one.src_access_order, one.flags)).collect::<Answer<Vec<_>>>();
    let orders = orders.map_err(whole)?;
    for (index, ((to, from), bytes)) in to.iter().zip(&from).zip(&sizes).enumerate() {
        line(&context, &lane, to.0, from.0, *bytes).map_err(|error| blame(fail, index, error))?;
    }
    settle(&context, &lane, &orders)
}

/// `cuMemcpyBatchAsync_v2`.
pub fn copies_v2(
    to: Mut<CUdeviceptr>,
    from: Mut<CUdeviceptr>,
    sizes: Mut<usize>,
    count: usize,
    attributes: Mut<CUmemcpyAttributes>,
    begins: Mut<usize>,
    attribute_count: usize,
    stream: CUstream,
) -> Answer {
    copies(to, from, sizes, count, attributes, begins, attribute_count, Mut::NULL, stream)
}

/// `cuMemcpyWithAttributesAsync`.
pub fn copy_with(
    to: CUdeviceptr,
    from: CUdeviceptr,
    bytes: usize,
    attributes: Mut<CUmemcpyAttributes>,
    stream: CUstream,
) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let attributes = attributes.read()?;
    let order = checked(attributes.src_access_order, attributes.flags)?;
    line(&context, &lane, to.0, from.0, bytes)?;
    settle(&context, &lane, &[order])
}

/// One end of a copy of rows: kind, address, bytes of a row, rows of a layer.
fn end(words: &[u64], [width, height, _]: [u64; 3]) -> Answer<[u64; 3]> {
    let &[kind, address, row, layer, ..] = words else { return Err(INVALID) };
    match CUmemcpy3DOperandType(kind as u32 as i32) {
        CUmemcpy3DOperandType::POINTER => {}
        CUmemcpy3DOperandType::ARRAY => return Err(CUresult::ERROR_NOT_SUPPORTED),
        _ => return Err(INVALID),
    }
    let row = if row == 0 { width } else { row };
    let layer = if layer == 0 { height } else { layer };
    if address == 0 || row < width || layer < height {
        return Err(INVALID);
    }
    Ok([address, row, row.checked_mul(layer).ok_or(INVALID)?])
}

fn rows(context: &Arc<Context>, lane: &Arc<Lane>, operation: &Operation) -> Answer<Order> {
    let [from @ .., _, _, _, _, _, _, _, _, _] = operation;
    let [_, _, _, _, _, to @ .., width, height, depth, last] = operation;
    let extent = [*width, *height, *depth];
    let order = checked(Order(*last as u32 as i32), (*last >> 32) as u32)?;
    if extent.contains(&0) {
        return Err(INVALID);
    }
    let (to, from) = (end(to, extent)?, end(from, extent)?);
    let spanned = |[_, row, slice]: [u64; 3]| {
        let [width, height, depth] = extent;
        let rows = (height - 1).checked_mul(row)?.checked_add(width)?;
        (depth - 1).checked_mul(slice)?.checked_add(rows)
    };
    let places = spanned(to).zip(spanned(from)).ok_or(INVALID)?;
    let (to_place, from_place) =
        (places::any(context, to[0], places.0), places::any(context, from[0], places.1));
    copy::run(context, lane, to_place, from_place, Box3d { to, from, extent }, When::Queued)?;
    Ok(order)
}

/// `cuMemcpy3DBatchAsync`.
pub fn boxes(count: usize, list: Address, fail: Mut<usize>, flags: u64, stream: CUstream) -> Answer {
    let whole = |error| blame(fail, usize::MAX, error);
    let (context, lane) = stream_of(stream).map_err(whole)?;
    if count == 0 || flags != 0 {
        return Err(whole(INVALID));
    }
    let list = list.typed::<Operation>().list(count).map_err(whole)?;
    let mut orders = Vec::with_capacity(count);
    for (index, operation) in list.iter().enumerate() {
        orders.push(rows(&context, &lane, operation).map_err(|error| blame(fail, index, error))?);
    }
    settle(&context, &lane, &orders)
}

/// `cuMemcpy3DBatchAsync_v2`.
pub fn boxes_v2(count: usize, list: Address, flags: u64, stream: CUstream) -> Answer {
    boxes(count, list, Mut::NULL, flags, stream)
}

/// `cuMemcpy3DWithAttributesAsync`.
pub fn box_with(operation: Address, flags: u64, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    if flags != 0 {
        return Err(INVALID);
    }
    let order = rows(&context, &lane, &operation.typed::<Operation>().read()?)?;
    settle(&context, &lane, &[order])
}

/// Pieces of managed memory that all are.
fn managed(
    places: Mut<CUdeviceptr>,
    sizes: Mut<usize>,
    count: usize,
    flags: u64,
    stream: CUstream,
) -> Answer {
    current::stream(stream)?;
    if count == 0 || flags != 0 {
        return Err(INVALID);
    }
    for (place, bytes) in places.list(count)?.into_iter().zip(sizes.list(count)?) {
        memory::managed(place.0, bytes)?;
    }
    Ok(())
}

/// `cuMemPrefetchBatchAsync`: the memory is where it shall be.
pub fn prefetch(
    places: Mut<CUdeviceptr>,
    sizes: Mut<usize>,
    count: usize,
    locations: Mut<CUmemLocation>,
    begins: Mut<usize>,
    location_count: usize,
    flags: u64,
    stream: CUstream,
) -> Answer {
    managed(places, sizes, count, flags, stream)?;
    if location_count == 0 || location_count > count {
        return Err(INVALID);
    }
    let begins = begins.list(location_count)?;
    let is_rising = begins.windows(2).all(|pair| pair.first() < pair.last());
    if begins.first() != Some(&0) || !is_rising || begins.last().is_none_or(|last| *last >= count) {
        return Err(INVALID);
    }
    for location in locations.list(location_count)? {
        if location.kind == CUmemLocationType::NONE {
            return Err(INVALID);
        }
        memory::check_location(location)?;
    }
    Ok(())
}

/// `cuMemDiscardBatchAsync`: what is in the memory may stay.
pub fn discard(
    places: Mut<CUdeviceptr>,
    sizes: Mut<usize>,
    count: usize,
    flags: u64,
    stream: CUstream,
) -> Answer {
    managed(places, sizes, count, flags, stream)
}
