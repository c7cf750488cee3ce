//! Filling memory.

use crate::current;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS_v2;
use crate::graph;
use crate::graph::Params;
use crate::places;
use crate::places::Place;
use crate::step::Step;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::work::Fill;

/// A fill that is right for a context.
///
/// # Errors
/// Invalid value.
pub fn checked(context: &crate::context::Context, fill: Fill) -> Answer<Fill> {
    let Fill { to, pitch, value_bytes, width, height, .. } = fill;
    let size = u64::from(value_bytes);
    let row = width.checked_mul(size).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let is_aligned = to.is_multiple_of(size) && (height <= 1 || (pitch.is_multiple_of(size) && pitch >= row));
    let spanned = (height.saturating_sub(1)).checked_mul(pitch).and_then(|bytes| bytes.checked_add(row));
    let spanned = spanned.filter(|_| is_aligned).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    match places::device(context, to, spanned)? {
        Place::Shared(_) => Ok(Fill { pitch: if height <= 1 { row } else { pitch }, ..fill }),
        Place::Here(_) => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

fn fill(fill: Fill, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    if fill.width == 0 || fill.height == 0 {
        return Ok(());
    }
    let fill = checked(&context, fill)?;
    let params = || {
        Params::Memset(CUDA_MEMSET_NODE_PARAMS_v2 {
            dst: CUdeviceptr(fill.to),
            pitch: fill.pitch as usize,
            value: fill.value,
            element_size: fill.value_bytes,
            width: fill.width as usize,
            height: fill.height as usize,
            ctx: CUcontext::NULL,
        })
    };
    graph::enqueue(&context, &lane, Step::Fill(fill), params)
}

fn line(to: CUdeviceptr, value_bytes: u32, value: u32, count: usize, stream: CUstream) -> Answer {
    fill(Fill { to: to.0, pitch: 0, value_bytes, value, width: count as u64, height: 1 }, stream)
}

fn rows(
    to: CUdeviceptr,
    pitch: usize,
    value_bytes: u32,
    value: u32,
    extent: [usize; 2],
    stream: CUstream,
) -> Answer {
    let [width, height] = extent.map(|one| one as u64);
    fill(Fill { to: to.0, pitch: pitch as u64, value_bytes, value, width, height }, stream)
}

/// `cuMemsetD8_v2`.
pub fn d8(to: CUdeviceptr, value: u8, count: usize) -> Answer {
    line(to, 1, u32::from(value), count, CUstream::NULL)
}

/// `cuMemsetD16_v2`.
pub fn d16(to: CUdeviceptr, value: u16, count: usize) -> Answer {
    line(to, 2, u32::from(value), count, CUstream::NULL)
}

/// `cuMemsetD32_v2`.
pub fn d32(to: CUdeviceptr, value: u32, count: usize) -> Answer {
    line(to, 4, value, count, CUstream::NULL)
}

/// `cuMemsetD8Async`.
pub fn d8_async(to: CUdeviceptr, value: u8, count: usize, stream: CUstream) -> Answer {
    line(to, 1, u32::from(value), count, stream)
}

/// `cuMemsetD16Async`.
pub fn d16_async(to: CUdeviceptr, value: u16, count: usize, stream: CUstream) -> Answer {
    line(to, 2, u32::from(value), count, stream)
}

/// `cuMemsetD32Async`.
pub fn d32_async(to: CUdeviceptr, value: u32, count: usize, stream: CUstream) -> Answer {
    line(to, 4, value, count, stream)
}

/// `cuMemsetD2D8_v2`.
pub fn d2d8(to: CUdeviceptr, pitch: usize, value: u8, width: usize, height: usize) -> Answer {
    rows(to, pitch, 1, u32::from(value), [width, height], CUstream::NULL)
}

/// `cuMemsetD2D16_v2`.
pub fn d2d16(to: CUdeviceptr, pitch: usize, value: u16, width: usize, height: usize) -> Answer {
    rows(to, pitch, 2, u32::from(value), [width, height], CUstream::NULL)
}

/// `cuMemsetD2D32_v2`.
pub fn d2d32(to: CUdeviceptr, pitch: usize, value: u32, width: usize, height: usize) -> Answer {
    rows(to, pitch, 4, value, [width, height], CUstream::NULL)
}

/// `cuMemsetD2D8Async`.
pub fn d2d8_async(
    to: CUdeviceptr,
    pitch: usize,
    value: u8,
    width: usize,
    height: usize,
    stream: CUstream,
) -> Answer {
    rows(to, pitch, 1, u32::from(value), [width, height], stream)
}

/// `cuMemsetD2D16Async`.
pub fn d2d16_async(
    to: CUdeviceptr,
    pitch: usize,
    value: u16,
    width: usize,
    height: usize,
    stream: CUstream,
) -> Answer {
    rows(to, pitch, 2, u32::from(value), [width, height], stream)
}

/// `cuMemsetD2D32Async`.
pub fn d2d32_async(
    to: CUdeviceptr,
    pitch: usize,
    value: u32,
    width: usize,
    height: usize,
    stream: CUstream,
) -> Answer {
    rows(to, pitch, 4, value, [width, height], stream)
}
