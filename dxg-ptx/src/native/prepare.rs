//! An entry made ready for code generation: its functions, simplified and cut into regions.
//!
//! It depends on the module only, so that what tables say about generated code holds for code that was kept from earlier.

use crate::analysis::flow::Flow;
use crate::analysis::liveness::Liveness;
use crate::analysis::spaces;
use crate::analysis::uniform::Uniform;
use crate::analysis::visit;
use crate::interp::layout::EntryLayout;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Function;
use crate::ir::GlobalId;
use crate::ir::Inst;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Place;
use crate::ir::Reg;
use crate::ir::Space;
use crate::ir::Special;
use crate::ir::Terminator;
use crate::native::shapes::Assumption;
use crate::native::shapes::LANES;
use crate::native::shapes::Shapes;
use crate::regions::Point;
use crate::regions::PointKind;
use crate::regions::Regions;
use crate::regions::cut_kind;
use crate::regions::verify;

/// Stack for what has no bound: recursion, indirect calls, `alloca`.
const OPEN_STACK_BYTES: u32 = 64 << 10;

/// An entry of more instructions is interpreted: to compile it would take too long.
const MOST_INSTS: u32 = 100_000;
/// Entries of more instructions may have got their registers in one pass in the first tier.
const MOST_QUICK_INSTS: u32 = 50;
/// Entries of more instructions stay as they are.
const MOST_BETTER_INSTS: u32 = 20_000;
/// An entry of more instructions has no packets: what is emitted for four threads is up to eight times as long.
const MOST_PACKET_INSTS: usize = 4000;
/// Registers that are saved where four threads may part, all such places together.
const MOST_EXIT_REGS: usize = 16_000;
/// An entry of more instructions, as they stand in the text, is not even looked at: that would take long as well, and none is so much
/// simpler than it is written.
const MOST_RAW_INSTS: usize = 2 * MOST_INSTS as usize;
/// Depth of calls that is looked at; what goes deeper counts as without bound.
const MOST_CALLS: usize = 200;

/// How much is done for code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tier {
    /// Threads one after the other: there soon.
    Scalar,
    /// Four threads at once where that can be: faster, and takes longer to make.
    Packets,
}

/// What is known for running four threads at once.
#[derive(Debug)]
pub(crate) struct Packets {
    pub(crate) shapes: Shapes,
    pub(crate) assumptions: Vec<Assumption>,
    pub(crate) liveness: Liveness,
}

impl Packets {
    /// How many registers are saved where threads may part.
    fn saved_at_exits(&self, function: &Function) -> usize {
        let parts = |end: &Terminator| {
            matches!(end, Terminator::Branch { .. } | Terminator::Switch { .. })
                && visit::end_reads(end).is_some_and(|reg| !self.shapes.reg(reg).is_same())
        };
        let ends = (0..function.blocks.len()).filter(|&block| parts(&function.blocks[block].end));
        let at_ends = ends.map(|block| self.liveness.live_out(function, block).iter().count());
        let starts = self.assumptions.iter();
        let at_starts = starts.map(|one| self.liveness.live_in[one.block.0 as usize].iter().count());
        at_ends.sum::<usize>() + at_starts.sum::<usize>()
    }
}

/// One function that becomes one machine function.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) function: Function,
    pub(crate) flow: Flow,
    pub(crate) regions: Regions,
    pub(crate) uniform: Uniform,
    /// Its place among the units.
    pub(crate) number: u32,
    /// The number of its point 0 among all points.
    pub(crate) first_point: u32,
    /// Whether it is the only unit and never stops.
    pub(crate) is_alone: bool,
    pub(crate) has_alloca: bool,
    /// Registers that may be read before they are written: they start as 0.
    pub(crate) start_live: Vec<Reg>,
    /// Where generic addresses in registers probably lie.
    pub(crate) guesses: Vec<Option<Space>>,
    /// Special registers that it reads.
    pub(crate) specials: Vec<Special>,
    /// How many loops each block is in.
    pub(crate) loop_depths: Vec<u32>,
    /// If four threads can run at once.
    pub(crate) packets: Option<Packets>,
    /// The number of the first instruction of each block; the block's end is numbered too.
    inst_bases: Vec<u32>,
}

/// An entry and the functions that it calls.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) tier: Tier,
    pub(crate) units: Vec<Unit>,
    /// Units by function.
    by_function: Vec<Option<u32>>,
    /// Offsets of shared variables.
    pub(crate) shared: Vec<u64>,
    /// Static shared memory, and where the dynamic one starts.
    pub(crate) static_shared_bytes: u64,
    pub(crate) dynamic_start: u64,
    /// For each point, the unit and the number of the instruction that comes before it.
    causes: Vec<Option<(u32, u32)>>,
    /// Stack of a thread.
    pub(crate) stack_bytes: u32,
}

/// What is known of the stack that a unit and what it calls take.
#[derive(Clone, Copy, Debug)]
enum Depth {
    Unknown,
    /// Being looked at: to come here again is recursion.
    Open,
    /// So many bytes, and whether there is a bound.
    Known(u32, bool),
}

impl Unit {
    fn of(mut function: Function, (number, first_point): (u32, u32), tier: Tier) -> Result<Self, String> {
        let found = match tier {
            Tier::Packets if can_be_packets(&function) => {
                let uniform = Uniform::of(&function);
                let liveness = Liveness::of(&function, &Flow::of(&function));
                let shapes = Shapes::of(&function, &uniform, &liveness);
                let assumptions = shapes.cut_at_assumptions(&mut function);
                Some((shapes, assumptions))
            }
            _ => None,
        };
        let flow = Flow::of(&function);
        let uniform = Uniform::of(&function);
        let regions = Regions::of(&function, &flow, &uniform.regs);
        verify::verify(&regions, &function).map_err(|error| error.to_string())?;
        let liveness = Liveness::of(&function, &flow);
        let live = liveness.live_in.first().map(|set| set.iter().collect::<Vec<_>>()).unwrap_or_default();
        let start_live = live.into_iter().filter(|&reg| !uniform.regs.has(reg)).collect();
        let mut inst_bases = Vec::with_capacity(function.blocks.len());
        let mut next = 0;
        for block in &function.blocks {
            inst_bases.push(next);
            next += u32::try_from(block.insts.len()).unwrap_or(u32::MAX / 2) + 1;
        }
        let insts = || function.blocks.iter().flat_map(|block| &block.insts);
        let has_alloca = insts().any(|inst| {
            matches!(inst.op, Op::Alloca { .. } | Op::StackSave { .. } | Op::StackRestore { .. })
        });
        let specials = specials(&function);
        let mut loop_depths = vec![0; function.blocks.len()];
        for (_, body) in flow.loop_bodies() {
            for block in body {
                loop_depths[block.0 as usize] += 1;
            }
        }
        let packets = found
            .map(|(shapes, assumptions)| Packets { shapes, assumptions, liveness })
            .filter(|packets| packets.saved_at_exits(&function) <= MOST_EXIT_REGS);
        Ok(Self {
            packets,
            flow,
            regions,
            uniform,
            number,
            first_point,
            is_alone: false,
            has_alloca,
            start_live,
            guesses: spaces::guess(&function),
            function,
            specials,
            loop_depths,
            inst_bases,
        })
    }

    /// The number of an instruction; one more than the last for the block's end.
    pub(crate) fn inst_number(&self, block: u32, at: u32) -> u32 {
        self.inst_bases.get(block as usize).copied().unwrap_or(0) + at
    }

    fn causes(&self) -> impl Iterator<Item = Option<(u32, u32)>> {
        self.regions.points.iter().map(|point| {
            let at = point.next.checked_sub(1)?;
            Some((self.number, self.inst_number(point.block.0, at)))
        })
    }

    fn position(&self, number: u32) -> Option<(usize, usize)> {
        let block = self.inst_bases.partition_point(|&base| base <= number).checked_sub(1)?;
        Some((block, (number - self.inst_bases.get(block)?) as usize))
    }

    /// The instruction of a number, unless it is a block's end.
    pub(crate) fn inst(&self, number: u32) -> Option<&Inst> {
        let (block, at) = self.position(number)?;
        self.function.blocks.get(block)?.insts.get(at)
    }

    /// Where it stands in the text.
    pub(crate) fn place(&self, number: u32) -> Place {
        let Some((block, at)) = self.position(number) else { return Place::default() };
        let Some(block) = self.function.blocks.get(block) else { return Place::default() };
        block.insts.get(at).map_or(block.end_place, |inst| inst.place)
    }
}

/// Whether code for four threads at once can be made: threads have one frame each, which does not grow.
fn can_be_packets(function: &Function) -> bool {
    let mut insts = function.blocks.iter().flat_map(|block| &block.insts);
    let is_simple = |inst: &Inst| {
        !matches!(inst.op, Op::Alloca { .. } | Op::StackSave { .. } | Op::StackRestore { .. })
            && cut_kind(&inst.op) != Some(PointKind::Call)
    };
    let is_short = insts.clone().nth(MOST_PACKET_INSTS).is_none();
    function.is_entry && is_short && insts.all(is_simple)
}

fn specials(function: &Function) -> Vec<Special> {
    let mut found = Vec::new();
    let mut see = |operand: &Operand| {
        if let Operand::Special(special) = operand
            && !found.contains(special)
        {
            found.push(*special);
        }
    };
    for block in &function.blocks {
        for inst in &block.insts {
            match &inst.op {
                Op::Alu(alu) => alu.src.iter().flatten().for_each(&mut see),
                Op::Pack { parts: list, .. }
                | Op::Store { srcs: list, .. }
                | Op::Mbarrier { srcs: list, .. } => {
                    list.iter().for_each(&mut see);
                }
                Op::Unpack { src, .. }
                | Op::Cvta { src, .. }
                | Op::IsSpacep { src, .. }
                | Op::Alloca { size: src, .. }
                | Op::StackRestore { src } => see(src),
                Op::Atomic { b, c, .. } => b.iter().chain(c).for_each(&mut see),
                Op::CopyAsync { read_bytes, .. } => read_bytes.iter().for_each(&mut see),
                Op::Barrier { id, threads, src, .. } => {
                    std::iter::once(id).chain(threads).chain(src).for_each(&mut see);
                }
                Op::Warp { mask, srcs, .. } => mask.iter().chain(srcs).for_each(&mut see),
                _ => {}
            }
        }
        if let Terminator::Switch { index, .. } = &block.end {
            see(index);
        }
    }
    found
}

/// The functions that a function calls, with their own frames.
fn callees(function: &Function) -> Vec<FuncId> {
    let mut found = Vec::new();
    for inst in function.blocks.iter().flat_map(|block| &block.insts) {
        let Op::Call(call) = &inst.op else { continue };
        match call.callee {
            Callee::Function(id) => found.push(id),
            Callee::Indirect(_) => found.extend(&call.candidates),
            _ => {}
        }
    }
    found
}

fn has_indirect_calls(function: &Function) -> bool {
    let insts = function.blocks.iter().flat_map(|block| &block.insts);
    insts
        .into_iter()
        .any(|inst| matches!(&inst.op, Op::Call(call) if matches!(call.callee, Callee::Indirect(_))))
}

impl Prepared {
    /// Makes an entry ready.
    ///
    /// # Errors
    /// What keeps it from being compiled.
    pub(crate) fn of(
        module: &Module,
        entry: FuncId,
        layout: &EntryLayout,
        tier: Tier,
    ) -> Result<Self, String> {
        let mut prepared = Self {
            tier,
            units: Vec::new(),
            by_function: vec![None; module.functions.len()],
            shared: layout.shared.clone(),
            static_shared_bytes: layout.static_bytes,
            dynamic_start: layout.dynamic_start,
            causes: Vec::new(),
            stack_bytes: 0,
        };
        let mut waiting = vec![entry];
        let mut first_point = 0;
        let mut raw_insts = 0_usize;
        while let Some(id) = waiting.pop() {
            let slot = prepared.by_function.get_mut(id.0 as usize).ok_or("no such function")?;
            if slot.is_some() {
                continue;
            }
            let function = &module.functions[id.0 as usize];
            if function.blocks.is_empty() {
                return Err(format!("{} has no body", function.name));
            }
            raw_insts += function.blocks.iter().map(|block| block.insts.len()).sum::<usize>();
            if raw_insts > MOST_RAW_INSTS {
                return Err(format!("{raw_insts} instructions are too many to look at"));
            }
            let number = u32::try_from(prepared.units.len()).unwrap_or(u32::MAX);
            *slot = Some(number);
            let function = crate::native::simplify::simplified(module, id);
            let unit = Unit::of(function, (number, first_point), tier)?;
            first_point += u32::try_from(unit.regions.points.len()).unwrap_or(u32::MAX);
            waiting.extend(callees(&unit.function));
            prepared.units.push(unit);
        }
        let insts: u32 = prepared.units.iter().filter_map(|unit| unit.inst_bases.last()).sum();
        if insts > MOST_INSTS {
            return Err(format!("{insts} instructions are more than are compiled"));
        }
        if let [unit] = prepared.units.as_mut_slice() {
            unit.is_alone = unit.regions.is_straight();
        }
        prepared.stack_bytes = prepared.stack();
        prepared.causes = prepared.units.iter().flat_map(Unit::causes).collect();
        Ok(prepared)
    }

    /// Whether code of the second tier is better: it runs four threads at once, or may be spent more time on.
    pub(crate) fn is_improvable(&self) -> bool {
        let insts: u32 = self.units.iter().filter_map(|unit| unit.inst_bases.last()).sum();
        (MOST_QUICK_INSTS..MOST_BETTER_INSTS).contains(&insts)
            || self.units.iter().any(|unit| unit.packets.is_some())
    }

    pub(crate) fn unit_of(&self, id: FuncId) -> Option<&Unit> {
        let number = self.by_function.get(id.0 as usize).copied().flatten()?;
        self.units.get(number as usize)
    }

    /// The unit of a point, and its number there.
    pub(crate) fn point(&self, number: u32) -> Option<(&Unit, u32, &Point)> {
        let unit = self.units.iter().rev().find(|unit| unit.first_point <= number)?;
        let local = number - unit.first_point;
        Some((unit, local, unit.regions.points.get(local as usize)?))
    }

    /// The instruction that a point comes after: its unit, its number, itself.
    pub(crate) fn cause(&self, point: u32) -> Option<(u32, u32, &Inst)> {
        let (unit, number) = self.causes.get(point as usize).copied().flatten()?;
        Some((unit, number, self.units.get(unit as usize)?.inst(number)?))
    }

    /// How many stacks a block of so many threads has: threads that never stop use the same ones, one after the other.
    pub(crate) fn stacks(&self, threads: u32) -> u32 {
        match self.units.first() {
            Some(unit) if unit.is_alone && unit.packets.is_some() => LANES,
            Some(unit) if unit.is_alone => 1,
            _ => threads,
        }
    }

    /// Whether no thread ever stops.
    pub(crate) fn is_alone(&self) -> bool {
        self.units.first().is_some_and(|unit| unit.is_alone)
    }

    pub(crate) fn shared_offset(&self, id: GlobalId) -> u64 {
        self.shared.get(id.0 as usize).copied().unwrap_or(0)
    }

    /// Stack of a thread: the deepest chain of frames, and more if there is no deepest.
    fn stack(&self) -> u32 {
        let mut known = vec![Depth::Unknown; self.units.len()];
        let (deepest, is_closed) = self.depth(0, &mut known, 0);
        let is_closed =
            is_closed && !self.units.iter().any(|unit| unit.has_alloca || has_indirect_calls(&unit.function));
        let extra = if is_closed { 0 } else { OPEN_STACK_BYTES };
        // A multiple of the greatest alignment, so that the next thread's stack is as aligned.
        let align = self.units.iter().map(|unit| unit.regions.frame.align).max().unwrap_or(16);
        (deepest + extra).next_multiple_of(align.max(64))
    }

    fn depth(&self, number: usize, known: &mut [Depth], calls: usize) -> (u32, bool) {
        let Some(unit) = self.units.get(number) else { return (0, true) };
        match known[number] {
            Depth::Known(bytes, is_closed) => return (bytes, is_closed),
            Depth::Unknown if calls <= MOST_CALLS => known[number] = Depth::Open,
            _ => return (0, false),
        }
        let (mut most, mut is_closed) = (0, true);
        for callee in callees(&unit.function) {
            let Some(next) = self.by_function.get(callee.0 as usize).copied().flatten() else { continue };
            let (below, closed) = self.depth(next as usize, known, calls + 1);
            most = most.max(below);
            is_closed &= closed;
        }
        let bytes = most.saturating_add(unit.regions.frame.bytes + unit.regions.frame.align);
        known[number] = Depth::Known(bytes, is_closed);
        (bytes, is_closed)
    }
}
