//! Video instructions: parts of words, saturation, a second operation.

use super::float::holds;
use super::integer::sign_extend;
use super::integer::zero_extend;
use crate::ir::Alu;
use crate::ir::Mods;
use crate::ir::PlusOne;
use crate::ir::Scalar;
use crate::ir::Selector;
use crate::ir::VideoNegate;
use crate::ir::VideoOp;
use crate::ir::VideoSecond;
use crate::ir::Wrap;

/// What a video instruction does, apart from its operands.
pub(super) struct Video {
    pub(super) op: VideoOp,
    pub(super) types: [Scalar; 3],
    pub(super) parts: [Selector; 2],
    pub(super) second: VideoSecond,
    pub(super) lanes: u8,
}

/// Shift and width of a part.
const fn place(selector: Selector) -> (u32, u32) {
    match selector {
        Selector::Word => (0, 32),
        Selector::Byte(at) => (8 * (at & 3) as u32, 8),
        Selector::Half(at) => (16 * (at & 1) as u32, 16),
    }
}

fn read(ty: Scalar, word: u64, (shift, bits): (u32, u32)) -> i128 {
    let value = zero_extend(word, 32) >> shift;
    if ty.is_signed() { i128::from(sign_extend(value, bits)) } else { i128::from(zero_extend(value, bits)) }
}

fn range(ty: Scalar, bits: u32) -> (i128, i128) {
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

/// The operation itself, on numbers, without a limit.
fn primary(video: &Video, a: i128, b: i128, c: i128, bits: u32) -> i128 {
    let amount = |wrap: Wrap| match wrap {
        Wrap::Wrap => (b & i128::from(bits - 1)) as u32,
        Wrap::Clamp => (zero_extend(b as u64, 32)).min(u64::from(bits)) as u32,
    };
    match video.op {
        VideoOp::Add => a + b,
        VideoOp::Sub => a - b,
        VideoOp::AbsDiff => (a - b).abs(),
        VideoOp::Average => (a + b + i128::from(a + b >= 0)) >> 1,
        VideoOp::Min => a.min(b),
        VideoOp::Max => a.max(b),
        VideoOp::Shl { wrap } => a << amount(wrap),
        VideoOp::Shr { wrap } => a >> amount(wrap),
        VideoOp::Mad { shift, plus_one, negate } => {
            let (product, addend) = match negate {
                VideoNegate::None => (a * b, c),
                VideoNegate::Product => (-(a * b), c),
                VideoNegate::Addend => (a * b, -c),
            };
            (product + addend + i128::from(plus_one == PlusOne::Yes)) >> shift
        }
        VideoOp::Set(compare) => i128::from(holds(compare, Some(a.cmp(&b)))),
    }
}

/// The type in which a result is clamped and `c` is read.
fn final_type(video: &Video) -> Scalar {
    let [ta, tb, td] = video.types;
    match video.op {
        // What is said of the result does not count.
        VideoOp::Mad { negate: VideoNegate::None, .. } if !ta.is_signed() && !tb.is_signed() => Scalar::U32,
        VideoOp::Mad { .. } => Scalar::S32,
        _ => td,
    }
}

fn scalar(video: &Video, mods: Mods, [a, b, c]: [u64; 3]) -> u64 {
    let [ta, tb, _] = video.types;
    let td = final_type(video);
    let x = read(ta, a, place(video.parts[0]));
    let y = read(tb, b, place(video.parts[1]));
    let z = read(td, c, (0, 32));
    let mut value = primary(video, x, y, z, 32);
    if mods.has(Mods::SAT) {
        let bits = match video.second {
            VideoSecond::Merge(selector) => place(selector).1,
            _ => 32,
        };
        let (low, high) = range(td, bits);
        value = value.clamp(low, high);
    }
    match video.second {
        VideoSecond::None => value as u64,
        VideoSecond::Add | VideoSecond::AddLanes(_) => (value as u64).wrapping_add(c),
        VideoSecond::Min => value.min(z) as u64,
        VideoSecond::Max => value.max(z) as u64,
        VideoSecond::Merge(selector) => {
            let (shift, bits) = place(selector);
            let mask = zero_extend(u64::MAX, bits) << shift;
            c & !mask | (value as u64) << shift & mask
        }
    }
}

fn lanes(video: &Video, mods: Mods, [a, b, c]: [u64; 3]) -> u64 {
    let [ta, tb, td] = video.types;
    let bits = 32 / u32::from(video.lanes);
    let values = (0..u32::from(video.lanes)).map(|lane| {
        let at = (lane * bits, bits);
        let value = primary(video, read(ta, a, at), read(tb, b, at), 0, bits);
        let (low, high) = range(td, bits);
        (lane, if mods.has(Mods::SAT) { value.clamp(low, high) } else { value })
    });
    // Sums take the values as they are, whatever fits into a lane.
    let sum = |mask: u8| {
        let added = values.clone().filter(|(lane, _)| mask >> lane & 1 == 1);
        added.fold(c, |sum, (_, value)| sum.wrapping_add(value as u64))
    };
    match video.second {
        VideoSecond::Add => sum(u8::MAX),
        VideoSecond::AddLanes(mask) => sum(mask),
        _ => values.fold(0, |word, (lane, value)| word | zero_extend(value as u64, bits) << (lane * bits)),
    }
}

pub(super) fn compute(alu: &Alu, video: &Video, [a, b, c, _]: [u64; 4]) -> [u64; 2] {
    let value = match video.lanes {
        1 => scalar(video, alu.mods, [a, b, c]),
        _ => lanes(video, alu.mods, [a, b, c]),
    };
    [zero_extend(value, 32), 0]
}
