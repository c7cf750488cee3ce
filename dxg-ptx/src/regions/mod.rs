//! The region form of a function: where a thread can stop and go on, and what its frame holds meanwhile.
//!
//! *Why.* Barriers in divergent code, warp operations with any mask, recursion, indirect calls, loops that wait for other
//! threads and grids whose blocks wait for each other are all the same thing here: a thread stops at a *point*, and someone
//! lets it go on later. Executors need no stack of their own per thread.
//!
//! *Points.* Point 0 is the start. Every other point comes right after an instruction that is a synchronisation point, or is the
//! head of a loop that may wait for other threads. A thread that stops there has stored what is live in its frame.
//!
//! *Frames.* A frame is one activation of a function: a header, the function's variables, a slot for each register that is
//! live at some point, and the exchange area through which operands of synchronising instructions go out and results come back.

pub mod dirty;
pub mod print;
pub mod verify;

use crate::analysis::flow::Flow;
use crate::analysis::liveness::RegSet;
use crate::ir::BlockId;
use crate::ir::Callee;
use crate::ir::Function;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Order;
use crate::ir::Reg;
use crate::ir::RegClass;

/// Bytes of a frame's header: see [`Frame`].
pub const HEADER_BYTES: u32 = 16;
/// Where in the header the end of the activation's memory is, for functions that make more of it.
pub const TOP_OFFSET: i32 = 8;

/// Where a callee leaves its results, in its frame, given their sizes.
pub fn result_offsets(sizes: impl Iterator<Item = u32>) -> impl Iterator<Item = u32> {
    sizes.scan(HEADER_BYTES, |at, size| {
        let offset = *at;
        *at += align_up(size, 16);
        Some(offset)
    })
}

/// Why a thread stops at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PointKind {
    /// It has not started.
    Start,
    /// A barrier of the block.
    Barrier,
    /// An operation of the warp.
    Warp,
    /// A call whose callee has its own frame.
    Call,
    /// It lets others go first.
    Yield,
    /// The head of a loop that may wait for others.
    LoopHead,
}

/// A place where a thread goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Why it stopped.
    pub kind: PointKind,
    /// The block.
    pub block: BlockId,
    /// The instruction of the block that runs next. The one before it is the cause, except for `Start` and `LoopHead`.
    pub next: u32,
    /// What is live there and must be in its slot.
    pub live: Vec<Reg>,
    /// What the thread stores when it stops there; the rest of `live` is in its slot already.
    pub stored: Vec<Reg>,
    /// What is read before the next point; the rest of `live` stays in its slot.
    pub loaded: Vec<Reg>,
}

/// The layout of a function's frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Where the function's variables are.
    pub locals: u32,
    /// Where each register is, if it has a slot.
    pub slots: Vec<Option<u32>>,
    /// Where operands go out and results come back: words of 8 bytes.
    pub exchange: u32,
    /// Words of it.
    pub exchange_words: u32,
    /// Bytes of all.
    pub bytes: u32,
    /// How it must be aligned.
    pub align: u32,
}

/// The region form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions {
    /// By number.
    pub points: Vec<Point>,
    /// The point after each instruction that is one, by block, in order.
    pub cuts: Vec<Vec<(u32, u32)>>,
    /// The point at the head of each loop that may wait.
    pub heads: Vec<Option<u32>>,
    /// The frame.
    pub frame: Frame,
}

/// Why an instruction is a synchronisation point, if it is.
#[must_use]
pub const fn cut_kind(op: &Op) -> Option<PointKind> {
    match op {
        Op::Barrier { .. } => Some(PointKind::Barrier),
        Op::Warp { .. } => Some(PointKind::Warp),
        Op::Yield => Some(PointKind::Yield),
        Op::Call(call) => match call.callee {
            Callee::Function(_) | Callee::Indirect(_) => Some(PointKind::Call),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a thread can see in this instruction what another one did: a loop with it may wait for others.
const fn can_wait(inst: &Inst) -> bool {
    match &inst.op {
        Op::Load { order, .. } => !matches!(order, Order::Weak),
        Op::Atomic { .. } | Op::Mbarrier { .. } | Op::Fence => true,
        _ => false,
    }
}

/// 8-byte words that a register takes in a frame.
#[must_use]
pub const fn words_of(class: RegClass) -> u32 {
    if matches!(class, RegClass::B128) { 2 } else { 1 }
}

const fn exchange_words(inst: &Inst) -> u32 {
    match &inst.op {
        Op::Barrier { .. } => 4,
        // A mask, operands, results; operands and results are 64 bits at most.
        Op::Warp { dsts, srcs, .. } => {
            1 + if srcs.len() > dsts.len() { srcs.len() } else { dsts.len() } as u32
        }
        Op::Call(_) => 1,
        _ => 0,
    }
}

const fn align_up(value: u32, align: u32) -> u32 {
    value.div_ceil(align) * align
}

impl Regions {
    /// The regions of a function. Registers in `apart` are computed where they are used and never stored.
    ///
    /// Synchronising instructions must have no guard.
    #[must_use]
    pub fn of(function: &Function, flow: &Flow, apart: &RegSet) -> Self {
        let start = Point {
            kind: PointKind::Start,
            block: BlockId(0),
            next: 0,
            live: Vec::new(),
            stored: Vec::new(),
            loaded: Vec::new(),
        };
        let blocks = function.blocks.len();
        let mut regions = Self {
            points: vec![start],
            cuts: vec![Vec::new(); blocks],
            heads: vec![None; blocks],
            frame: Frame::default(),
        };
        let mut words = 0;
        for &block in &flow.order {
            for (inst, index) in function.blocks[block.0 as usize].insts.iter().zip(0_u32..) {
                let Some(kind) = cut_kind(&inst.op) else { continue };
                words = words.max(exchange_words(inst));
                let number = regions.add_point(kind, block, index + 1);
                regions.cuts[block.0 as usize].push((index, number));
            }
        }
        for (header, body) in flow.loop_bodies() {
            let insts = || body.iter().flat_map(|block| &function.blocks[block.0 as usize].insts);
            // A loop that stops somewhere else anyway lets others go there.
            if insts().any(can_wait) {
                regions.heads[header.0 as usize] = Some(regions.add_point(PointKind::LoopHead, header, 0));
            }
        }
        dirty::fill(&mut regions, function, flow, apart);
        regions.lay_out(function, words);
        regions
    }

    fn add_point(&mut self, kind: PointKind, block: BlockId, next: u32) -> u32 {
        let number = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        self.points.push(Point {
            kind,
            block,
            next,
            live: Vec::new(),
            stored: Vec::new(),
            loaded: Vec::new(),
        });
        number
    }

    fn lay_out(&mut self, function: &Function, exchange_words: u32) {
        let align = function.local_align.max(16);
        let results =
            function.rets.iter().map(|id| align_up(function.locals[id.0 as usize].size, 16)).sum::<u32>();
        let locals = align_up(HEADER_BYTES + results, align);
        let mut at = align_up(locals + function.local_bytes, 16);
        let mut slots = vec![None; function.regs.len()];
        for reg in self.points.iter().flat_map(|point| &point.live) {
            let slot = &mut slots[reg.0 as usize];
            if slot.is_none() {
                let bytes = 8 * words_of(function.regs[reg.0 as usize]);
                at = align_up(at, bytes);
                *slot = Some(at);
                at += bytes;
            }
        }
        let exchange = align_up(at, 16);
        let bytes = align_up(exchange + 8 * exchange_words, align);
        self.frame = Frame { locals, slots, exchange, exchange_words, bytes, align };
    }

    /// Whether threads can run from start to end without stopping.
    #[must_use]
    pub fn is_straight(&self) -> bool {
        self.points.len() == 1
    }

    /// The point after this instruction, if it is a synchronisation point.
    #[must_use]
    pub fn cut_after(&self, block: BlockId, inst: u32) -> Option<u32> {
        self.cuts[block.0 as usize].iter().find(|(index, _)| *index == inst).map(|(_, point)| *point)
    }
}
