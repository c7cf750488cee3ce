//! Bit fields, permutations, dot products.

use super::integer::extend;
use super::integer::sign_extend;
use super::integer::width;
use super::integer::zero_extend;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Part;
use crate::ir::Permute;
use crate::ir::Scalar;
use crate::ir::Wrap;

/// Ones in the low `count` bits.
fn ones(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

/// The field of `length` bits from `position`; a signed one is extended by its last bit, or that of the word.
fn extract(ty: Scalar, a: u64, position: u32, length: u32) -> u64 {
    let bits = width(ty);
    let a = zero_extend(a, bits);
    let there = bits.saturating_sub(position).min(length);
    let field = if there == 0 { 0 } else { a >> position & ones(there) };
    if !ty.is_signed() || length == 0 {
        return field;
    }
    let last = (position + length - 1).min(bits - 1);
    if a >> last & 1 == 1 { field | !ones(there) } else { field }
}

/// Half of the product without carries, exclusive-or `c`.
pub(super) fn clmad(part: Part, a: u64, b: u64, c: u64) -> u64 {
    let product = (0..64).filter(|bit| b >> bit & 1 == 1).fold(0, |sum, bit| sum ^ u128::from(a) << bit);
    c ^ match part {
        Part::High => (product >> 64) as u64,
        Part::Low | Part::Wide => product as u64,
    }
}

fn insert(ty: Scalar, a: u64, b: u64, position: u32, length: u32) -> u64 {
    let bits = width(ty);
    let there = bits.saturating_sub(position).min(length);
    if there == 0 {
        return b;
    }
    let mask = ones(there) << position;
    b & !mask | a << position & mask
}

fn mask_of(a: u64, b: u64, wrap: Wrap) -> u64 {
    let limit = |value: u64| match wrap {
        Wrap::Wrap => (value & 31) as u32,
        Wrap::Clamp => zero_extend(value, 32).min(32) as u32,
    };
    zero_extend(ones(limit(b)) << limit(a), 32)
}

fn sign_or_zero(ty: Scalar, a: u64, b: u64, wrap: Wrap) -> u64 {
    let count = match wrap {
        Wrap::Wrap => (b & 31) as u32,
        Wrap::Clamp => zero_extend(b, 32).min(32) as u32,
    };
    match (ty.is_signed(), count) {
        (_, 0) => 0,
        (true, count) => sign_extend(a, count) as u64,
        (false, count) => zero_extend(a, count),
    }
}

/// The position of the highest bit that differs from the sign.
fn find(ty: Scalar, a: u64) -> Option<u32> {
    let value = extend(ty, a);
    let value = if ty.is_signed() && value >> 63 == 1 { !value } else { value };
    (value != 0).then(|| 63 - value.leading_zeros())
}

fn find_nth(mask: u64, base: u64, offset: u64) -> u64 {
    let is_set = |position: i64| (0..32).contains(&position) && mask >> position & 1 == 1;
    let base = zero_extend(base, 32) as i64;
    let offset = sign_extend(offset, 32);
    let found = match offset {
        0 => Some(base).filter(|&at| is_set(at)),
        1.. => (base..32).filter(|&at| is_set(at)).nth((offset - 1) as usize),
        _ => (0..=base.min(31)).rev().filter(|&at| is_set(at)).nth((-offset - 1) as usize),
    };
    found.map_or(0xffff_ffff, |at| at as u64)
}

fn permute(mode: Permute, a: u64, b: u64, c: u64) -> u64 {
    let bytes = zero_extend(a, 32) | b << 32;
    let byte = |index: u64| bytes >> (8 * (index & 7)) & 0xff;
    let turn = c & 3;
    (0..4).fold(0, |result, at| {
        let value = match mode {
            Permute::Index => {
                let selector = c >> (4 * at) & 15;
                let value = byte(selector);
                match selector & 8 {
                    0 => value,
                    _ => 0xff * (value >> 7),
                }
            }
            Permute::F4e => byte(turn + at),
            Permute::B4e => byte(turn.wrapping_sub(at)),
            Permute::Rc8 => byte(turn),
            Permute::Ecl => byte(at.max(turn)),
            Permute::Ecr => byte(at.min(turn)),
            Permute::Rc16 => byte((turn & 1) * 2 + (at & 1)),
        };
        result | value << (8 * at)
    })
}

/// The bits from `at`, as the 32-bit type's sign says.
fn element(ty: Scalar, word: u64, at: u32, bits: u32) -> i64 {
    let value = word >> at;
    if ty.is_signed() { sign_extend(value, bits) } else { zero_extend(value, bits) as i64 }
}

fn funnel_amount(c: u64, wrap: Wrap) -> u32 {
    match wrap {
        Wrap::Wrap => (c & 31) as u32,
        Wrap::Clamp => zero_extend(c, 32).min(32) as u32,
    }
}

fn lookup(table: u8, a: u64, b: u64, c: u64) -> u64 {
    (0..8).filter(|index| table >> index & 1 == 1).fold(0, |result, index| {
        let pick = |value: u64, bit: u32| if index >> bit & 1 == 1 { value } else { !value };
        result | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}

pub(super) fn compute(alu: &Alu, ty: Scalar, [a, b, c, d]: [u64; 4]) -> [u64; 2] {
    let bits = width(ty);
    let one = |value: u64| [extend(ty, value), 0];
    let word = |value: u64| [zero_extend(value, 32), 0];
    match alu.op {
        AluOp::ShfLeft(wrap) => word((zero_extend(a, 32) | b << 32) << funnel_amount(c, wrap) >> 32),
        AluOp::ShfRight(wrap) => word((zero_extend(a, 32) | b << 32) >> funnel_amount(c, wrap)),
        AluOp::Lop3(table) => one(lookup(table, a, b, c)),
        AluOp::Bfe => one(extract(ty, a, (b & 0xff) as u32, (c & 0xff) as u32)),
        AluOp::Bfi => one(insert(ty, a, b, (c & 0xff) as u32, (d & 0xff) as u32)),
        AluOp::Bmsk(wrap) => word(mask_of(a, b, wrap)),
        AluOp::Szext(wrap) => one(sign_or_zero(ty, a, b, wrap)),
        AluOp::Bfind => word(find(ty, a).map_or(u64::MAX, u64::from)),
        AluOp::BfindShift => word(find(ty, a).map_or(u64::MAX, |at| u64::from(bits - 1 - at))),
        AluOp::Fns => word(find_nth(a, b, c)),
        AluOp::Brev => one(zero_extend(a, bits).reverse_bits() >> (64 - bits)),
        AluOp::Clz => word(u64::from(zero_extend(a, bits).leading_zeros() - (64 - bits))),
        AluOp::Popc => word(u64::from(zero_extend(a, bits).count_ones())),
        AluOp::Prmt(mode) => word(permute(mode, a, b, c)),
        AluOp::Dp4a(ta, tb) => {
            let sum = (0..4).map(|i| element(ta, a, 8 * i, 8) * element(tb, b, 8 * i, 8)).sum::<i64>();
            word(c.wrapping_add(sum as u64))
        }
        AluOp::Dp2a(ta, tb, part) => {
            let from = if part == Part::High { 16 } else { 0 };
            let sum =
                (0..2).map(|i| element(ta, a, 16 * i, 16) * element(tb, b, from + 8 * i, 8)).sum::<i64>();
            word(c.wrapping_add(sum as u64))
        }
        // The verifier lets no other instruction have an integer type.
        _ => [0, 0],
    }
}
