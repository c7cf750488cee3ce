//! Copies of rows and slices.

use std::sync::Arc;

use crate::context::Context;
use crate::current;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUmemorytype;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUarray;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_MEMCPY2D;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::generated::structs::CUDA_MEMCPY3D_PEER;
use crate::places;
use crate::places::Place;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::work::Box3d;

use super::copy;
use super::copy::When;

/// One end of a copy, as the structures say it.
struct End {
    kind: CUmemorytype,
    host: Address,
    device: CUdeviceptr,
    array: CUarray,
    at: [usize; 3],
    pitch: usize,
    height: usize,
}

const TOO_LARGE: CUresult = CUresult::ERROR_INVALID_VALUE;

impl End {
    /// The place of the first byte, and the distances of rows and slices.
    fn place(&self, context: &Context, extent: [u64; 3]) -> Answer<(Place, u64, u64)> {
        let [width, height, depth] = extent;
        let pitch = if self.pitch == 0 { width } else { self.pitch as u64 };
        let rows = if self.height == 0 { height } else { self.height as u64 };
        let slice = pitch.checked_mul(rows).ok_or(TOO_LARGE)?;
        let [x, y, z] = self.at.map(|at| at as u64);
        if x.checked_add(width).is_none_or(|end| end > pitch && (height > 1 || depth > 1)) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        let skipped = z.checked_mul(slice).zip(y.checked_mul(pitch));
        let skipped = skipped.and_then(|(z, y)| z.checked_add(y)?.checked_add(x)).ok_or(TOO_LARGE)?;
        let spanned = (depth - 1).checked_mul(slice).zip((height - 1).checked_mul(pitch));
        let spanned = spanned.and_then(|(z, y)| z.checked_add(y)?.checked_add(width)).ok_or(TOO_LARGE)?;
        let from = |base: u64| base.checked_add(skipped).filter(|_| base != 0).ok_or(TOO_LARGE);
        let place = match self.kind {
            CUmemorytype::HOST => places::any(context, from(self.host.0 as u64)?, spanned),
            CUmemorytype::DEVICE => places::device(context, from(self.device.0)?, spanned)?,
            CUmemorytype::UNIFIED => places::any(context, from(self.device.0)?, spanned),
            CUmemorytype::ARRAY if self.array != CUarray::NULL => return Err(CUresult::ERROR_NOT_SUPPORTED),
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        };
        Ok((place, pitch, slice))
    }
}

/// Both ends and the extent, as a box.
fn resolve(
    context: &Context,
    to: &End,
    from: &End,
    extent: [usize; 3],
) -> Answer<Option<(Place, Place, Box3d)>> {
    if extent.contains(&0) {
        return Ok(None);
    }
    let extent = extent.map(|one| one as u64);
    let (to, to_pitch, to_slice) = to.place(context, extent)?;
    let (from, from_pitch, from_slice) = from.place(context, extent)?;
    let shape = Box3d { to: [0, to_pitch, to_slice], from: [0, from_pitch, from_slice], extent };
    Ok(Some((to, from, shape)))
}

fn copy(to: &End, from: &End, extent: [usize; 3], stream: CUstream, when: When) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let Some((to_place, from_place, shape)) = resolve(&context, to, from, extent)? else { return Ok(()) };
    copy::run(&context, &lane, to_place, from_place, shape, when)?;
    if when == When::Done && [to.kind, from.kind].iter().any(|kind| *kind != CUmemorytype::DEVICE) {
        context.synchronize_for(&lane)?;
    }
    Ok(())
}

fn ends_2d(copy: &CUDA_MEMCPY2D) -> (End, End) {
    let to = End {
        kind: copy.dst_memory_type,
        host: copy.dst_host,
        device: copy.dst_device,
        array: copy.dst_array,
        at: [copy.dst_x_in_bytes, copy.dst_y, 0],
        pitch: copy.dst_pitch,
        height: 0,
    };
    let from = End {
        kind: copy.src_memory_type,
        host: copy.src_host,
        device: copy.src_device,
        array: copy.src_array,
        at: [copy.src_x_in_bytes, copy.src_y, 0],
        pitch: copy.src_pitch,
        height: 0,
    };
    (to, from)
}

fn ends_3d(copy: &CUDA_MEMCPY3D) -> (End, End) {
    let to = End {
        kind: copy.dst_memory_type,
        host: copy.dst_host,
        device: copy.dst_device,
        array: copy.dst_array,
        at: [copy.dst_x_in_bytes, copy.dst_y, copy.dst_z],
        pitch: copy.dst_pitch,
        height: copy.dst_height,
    };
    let from = End {
        kind: copy.src_memory_type,
        host: copy.src_host,
        device: copy.src_device,
        array: copy.src_array,
        at: [copy.src_x_in_bytes, copy.src_y, copy.src_z],
        pitch: copy.src_pitch,
        height: copy.src_height,
    };
    (to, from)
}

/// The copy of a graph's node, as seen from a context; none where it copies nothing.
///
/// # Errors
/// Invalid value.
pub fn of_node(context: &Arc<Context>, copy: &CUDA_MEMCPY3D) -> Answer<Option<(Place, Place, Box3d)>> {
    let (to, from) = ends_3d(copy);
    resolve(context, &to, &from, [copy.width_in_bytes, copy.height, copy.depth])
}

/// `cuMemcpy2D_v2` and `cuMemcpy2DUnaligned_v2`.
pub fn copy_2d(params: Ref<CUDA_MEMCPY2D>) -> Answer {
    let params = params.read()?;
    let (to, from) = ends_2d(&params);
    copy(&to, &from, [params.width_in_bytes, params.height, 1], CUstream::NULL, When::Done)
}

/// `cuMemcpy2DAsync_v2`.
pub fn copy_2d_async(params: Ref<CUDA_MEMCPY2D>, stream: CUstream) -> Answer {
    let params = params.read()?;
    let (to, from) = ends_2d(&params);
    copy(&to, &from, [params.width_in_bytes, params.height, 1], stream, When::Queued)
}

/// `cuMemcpy3D_v2`.
pub fn copy_3d(params: Ref<CUDA_MEMCPY3D>) -> Answer {
    let params = params.read()?;
    let (to, from) = ends_3d(&params);
    copy(&to, &from, [params.width_in_bytes, params.height, params.depth], CUstream::NULL, When::Done)
}

/// `cuMemcpy3DAsync_v2`.
pub fn copy_3d_async(params: Ref<CUDA_MEMCPY3D>, stream: CUstream) -> Answer {
    let params = params.read()?;
    let (to, from) = ends_3d(&params);
    copy(&to, &from, [params.width_in_bytes, params.height, params.depth], stream, When::Queued)
}

fn peer(params: &CUDA_MEMCPY3D_PEER, stream: CUstream, when: When) -> Answer {
    let to = End {
        kind: params.dst_memory_type,
        host: params.dst_host,
        device: params.dst_device,
        array: params.dst_array,
        at: [params.dst_x_in_bytes, params.dst_y, params.dst_z],
        pitch: params.dst_pitch,
        height: params.dst_height,
    };
    let from = End {
        kind: params.src_memory_type,
        host: params.src_host,
        device: params.src_device,
        array: params.src_array,
        at: [params.src_x_in_bytes, params.src_y, params.src_z],
        pitch: params.src_pitch,
        height: params.src_height,
    };
    copy(&to, &from, [params.width_in_bytes, params.height, params.depth], stream, when)
}

/// `cuMemcpy3DPeer`.
pub fn copy_peer(params: Ref<CUDA_MEMCPY3D_PEER>) -> Answer {
    peer(&params.read()?, CUstream::NULL, When::Done)
}

/// `cuMemcpy3DPeerAsync`.
pub fn copy_peer_async(params: Ref<CUDA_MEMCPY3D_PEER>, stream: CUstream) -> Answer {
    peer(&params.read()?, stream, When::Queued)
}
