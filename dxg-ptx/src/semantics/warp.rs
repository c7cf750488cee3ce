//! What the lanes of a warp compute together.
//!
//! The caller knows where registers and memory are: [`Lanes`].

use super::float;
use super::integer;
use super::matrix;
use super::soft;
use crate::ir::Accuracy;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Layout;
use crate::ir::Mods;
use crate::ir::ReduceOp;
use crate::ir::Round;
use crate::ir::Scalar;
use crate::ir::ShuffleMode;
use crate::ir::Space;
use crate::ir::VoteMode;
use crate::ir::WarpOp;

/// Registers and memory of the lanes that take part.
pub trait Lanes {
    /// What a failed access says.
    type Error;

    /// The source of this number of a lane, from 0.
    fn source(&self, lane: u32, index: usize) -> u64;

    /// Sets the destination of this number of a lane.
    fn set(&mut self, lane: u32, index: usize, value: u64);

    /// Reads 1, 2, 4 or 8 bytes.
    ///
    /// # Errors
    /// The access is not allowed.
    fn load(&mut self, lane: u32, space: Space, address: u64, bytes: u32) -> Result<u64, Self::Error>;

    /// Writes 1, 2, 4 or 8 bytes.
    ///
    /// # Errors
    /// The access is not allowed.
    fn store(
        &mut self,
        lane: u32,
        space: Space,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> Result<(), Self::Error>;
}

/// The lanes of a mask.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = u32> + Clone {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

/// Whose value a lane of `shfl` gets, and whether it is within its segment.
#[must_use]
pub fn shuffle_source(mode: ShuffleMode, lane: u32, b: u64, c: u64) -> (u32, bool) {
    let [step, clamp, segment] = [b as u32 & 31, c as u32 & 31, (c >> 8) as u32 & 31];
    let most = lane & segment | clamp & !segment;
    let (from, within) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(step), lane as i32 - step as i32 >= most as i32),
        ShuffleMode::Down => (lane + step, lane + step <= most),
        ShuffleMode::Bfly => (lane ^ step, lane ^ step <= most),
        ShuffleMode::Idx => {
            let from = lane & segment | step & !segment;
            (from, from <= most)
        }
    };
    if within { (from & 31, true) } else { (lane, false) }
}

/// Runs an operation for the lanes of `mask`.
///
/// # Errors
/// An access to memory failed.
pub fn run<L: Lanes>(op: &WarpOp, mask: u32, lanes: &mut L) -> Result<(), L::Error> {
    match *op {
        WarpOp::Shuffle(mode) => shuffle(mode, mask, lanes),
        WarpOp::Vote(mode) => vote(mode, mask, lanes),
        WarpOp::MatchAny(ty) => match_any(ty, mask, lanes),
        WarpOp::MatchAll(ty) => match_all(ty, mask, lanes),
        WarpOp::Redux(op, ty, mods) => reduce(op, ty, mods, mask, lanes),
        WarpOp::ActiveMask => lanes_of(mask).for_each(|lane| lanes.set(lane, 0, u64::from(mask))),
        WarpOp::Barrier => {}
        WarpOp::Elect => {
            let leader = mask.trailing_zeros();
            for lane in lanes_of(mask) {
                lanes.set(lane, 0, u64::from(leader));
                lanes.set(lane, 1, u64::from(lane == leader));
            }
        }
        WarpOp::LdMatrix { count, transpose, space, offset } => {
            return load_matrix(Tile { count, transpose, space, offset }, mask, lanes);
        }
        WarpOp::StMatrix { count, transpose, space, offset } => {
            return store_matrix(Tile { count, transpose, space, offset }, mask, lanes);
        }
        WarpOp::MovMatrix => {
            let words: Vec<u64> = (0..32).map(|lane| lanes.source(lane, 0)).collect();
            for lane in lanes_of(mask) {
                lanes.set(lane, 0, transposed(&words, lane));
            }
        }
        WarpOp::Mma { shape, layouts, types, saturate, and_popc, sparse } => {
            let round = Round::Nearest;
            let product = matrix::Product { shape, layouts, types, round, saturate, and_popc, sparse };
            matrix::multiply(&product, mask, lanes);
        }
        WarpOp::WmmaMma { shape, layouts, types, round, saturate, and_popc } => {
            let sparse = None;
            let product = matrix::Product { shape, layouts, types, round, saturate, and_popc, sparse };
            matrix::multiply_fragments(&product, mask, lanes);
        }
        WarpOp::WmmaLoad { fragment, shape, layout, ty, space, offset } => {
            return matrix::load(&matrix::Move { fragment, shape, layout, ty, space, offset }, mask, lanes);
        }
        WarpOp::WmmaStore { shape, layout, ty, space, offset } => {
            let fragment = crate::ir::Fragment::D;
            return matrix::store(&matrix::Move { fragment, shape, layout, ty, space, offset }, mask, lanes);
        }
    }
    Ok(())
}

fn shuffle<L: Lanes>(mode: ShuffleMode, mask: u32, lanes: &mut L) {
    let results: Vec<_> = lanes_of(mask)
        .map(|lane| {
            let (from, within) = shuffle_source(mode, lane, lanes.source(lane, 1), lanes.source(lane, 2));
            // The value of a lane that does not take part is undefined; ours is its own.
            let from = if mask >> from & 1 == 1 { from } else { lane };
            (lane, lanes.source(from, 0), within)
        })
        .collect();
    for (lane, value, within) in results {
        lanes.set(lane, 0, value);
        lanes.set(lane, 1, u64::from(within));
    }
}

/// What `vote` gives the lanes of `mask`, of which those of `ballot` say yes.
#[must_use]
pub fn vote_result(mode: VoteMode, ballot: u32, mask: u32) -> u64 {
    match mode {
        VoteMode::All => u64::from(ballot == mask),
        VoteMode::Any => u64::from(ballot != 0),
        VoteMode::Uni => u64::from(ballot == 0 || ballot == mask),
        VoteMode::Ballot => u64::from(ballot),
    }
}

fn vote<L: Lanes>(mode: VoteMode, mask: u32, lanes: &mut L) {
    let ballot = lanes_of(mask).fold(0, |ballot, lane| ballot | (lanes.source(lane, 0) as u32 & 1) << lane);
    let result = vote_result(mode, ballot, mask);
    lanes_of(mask).for_each(|lane| lanes.set(lane, 0, result));
}

fn match_any<L: Lanes>(ty: Scalar, mask: u32, lanes: &mut L) {
    let value = |lanes: &L, lane: u32| integer::zero_extend(lanes.source(lane, 0), integer::width(ty));
    let results: Vec<_> = lanes_of(mask)
        .map(|lane| {
            let mine = value(lanes, lane);
            let same = lanes_of(mask).filter(|&other| value(lanes, other) == mine);
            (lane, same.fold(0_u32, |same, other| same | 1 << other))
        })
        .collect();
    for (lane, same) in results {
        lanes.set(lane, 0, u64::from(same));
    }
}

fn match_all<L: Lanes>(ty: Scalar, mask: u32, lanes: &mut L) {
    let value = |lane: u32| integer::zero_extend(lanes.source(lane, 0), integer::width(ty));
    let first = value(mask.trailing_zeros() & 31);
    let all = lanes_of(mask).all(|lane| value(lane) == first);
    for lane in lanes_of(mask) {
        lanes.set(lane, 0, if all { u64::from(mask) } else { 0 });
        lanes.set(lane, 1, u64::from(all));
    }
}

/// Two values reduced to one.
#[must_use]
pub fn reduce_two(op: ReduceOp, ty: Scalar, mods: Mods, a: u64, b: u64) -> u64 {
    let signed = |value: u64| integer::number(ty, value);
    let extreme = |op: AluOp| {
        let alu = Alu {
            op,
            ty,
            round: Round::Nearest,
            accuracy: Accuracy::Exact,
            mods,
            dst: None,
            dst2: None,
            src: [None; 4],
        };
        float::compute(&alu, float::format(ty), [a, b, 0, 0])
    };
    match op {
        ReduceOp::Add | ReduceOp::Popc => integer::zero_extend(a.wrapping_add(b), integer::width(ty)),
        ReduceOp::And => a & b,
        ReduceOp::Or => a | b,
        ReduceOp::Xor => a ^ b,
        ReduceOp::Min if ty.is_float() => extreme(AluOp::Min),
        ReduceOp::Max if ty.is_float() => extreme(AluOp::Max),
        ReduceOp::Min => {
            if signed(a) <= signed(b) {
                a
            } else {
                b
            }
        }
        ReduceOp::Max => {
            if signed(a) >= signed(b) {
                a
            } else {
                b
            }
        }
    }
}

fn reduce<L: Lanes>(op: ReduceOp, ty: Scalar, mods: Mods, mask: u32, lanes: &mut L) {
    let value = |lane: u32| {
        let bits = integer::zero_extend(lanes.source(lane, 0), integer::width(ty));
        if ty.is_float() && mods.has(Mods::ABS) { bits & !soft::F32.sign() } else { bits }
    };
    let result = lanes_of(mask).map(value).reduce(|a, b| reduce_two(op, ty, mods, a, b)).unwrap_or(0);
    lanes_of(mask).for_each(|lane| lanes.set(lane, 0, result));
}

/// What `ldmatrix` and `stmatrix` move.
struct Tile {
    count: u8,
    transpose: Layout,
    space: Space,
    offset: i32,
}

impl Tile {
    /// The address of an element of a matrix for a lane's register half.
    fn address<L: Lanes>(&self, lanes: &L, matrix: u32, lane: u32, half: u32) -> (u32, u64) {
        let (mut row, mut column) = (lane / 4, 2 * (lane % 4) + half);
        if self.transpose == Layout::Col {
            (row, column) = (column, row);
        }
        // The addresses of rows come from the lanes in order.
        let owner = matrix * 8 + row;
        let start = lanes.source(owner, 0).wrapping_add_signed(i64::from(self.offset));
        (owner, start.wrapping_add(2 * u64::from(column)))
    }
}

fn load_matrix<L: Lanes>(tile: Tile, mask: u32, lanes: &mut L) -> Result<(), L::Error> {
    let mut results = Vec::new();
    for matrix in 0..u32::from(tile.count) {
        for lane in lanes_of(mask) {
            let mut word = 0;
            for half in 0..2 {
                let (owner, address) = tile.address(lanes, matrix, lane, half);
                word |= lanes.load(owner, tile.space, address, 2)? << (16 * half);
            }
            results.push((lane, matrix as usize, word));
        }
    }
    // A destination may be the register of an address.
    for (lane, index, word) in results {
        lanes.set(lane, index, word);
    }
    Ok(())
}

fn store_matrix<L: Lanes>(tile: Tile, mask: u32, lanes: &mut L) -> Result<(), L::Error> {
    for matrix in 0..u32::from(tile.count) {
        for lane in lanes_of(mask) {
            let word = lanes.source(lane, 1 + matrix as usize);
            for half in 0..2 {
                let (owner, address) = tile.address(lanes, matrix, lane, half);
                lanes.store(owner, tile.space, address, 2, word >> (16 * half) & 0xffff)?;
            }
        }
    }
    Ok(())
}

/// A lane's word of the transposed 8 by 8 matrix of halves.
fn transposed(words: &[u64], lane: u32) -> u64 {
    (0..2).fold(0, |result, half| {
        let [row, column] = [2 * (lane % 4) + half, lane / 4];
        let word = words.get((row * 4 + column / 2) as usize).copied().unwrap_or(0);
        result | (word >> (16 * (column % 2)) & 0xffff) << (16 * half)
    })
}
