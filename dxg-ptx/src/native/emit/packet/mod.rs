//! Four lanes at once.
//!
//! *Shape.* Where four neighbouring lanes stand at the same point, code that runs all four takes the place of the loop's body. What is
//! the same in them is computed once, what differs by a step is kept as the first one's value, and the rest are vectors of four,
//! or four values where there is no such vector. An instruction without a form for vectors runs for one lane after the other.
//!
//! *Exits.* All four take the same way. Where a branch parts them, what is live goes to the stack, and the scalar code, which is
//! in the same function, takes each of the four on from there to its next point. At the next point they may meet again.

mod alu;
mod exits;
mod lanes;
mod memory;
mod points;

use cranelift_codegen::ir;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::StackSlot;
use cranelift_codegen::ir::StackSlotData;
use cranelift_codegen::ir::StackSlotKind;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;
use cranelift_frontend::Variable;

use self::exits::Exit;
use self::exits::Target;
use super::Emitter;
use super::Known;
use super::checks;
use super::lane_args;
use crate::ir::BlockId;
use crate::ir::Inst;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Terminator;
use crate::native::context::EXITED;
use crate::native::prepare::Packets;
use crate::native::shapes::LANES;
use crate::native::shapes::Shape;

/// What the loop over lanes has made ready for packets.
pub(super) struct Planned {
    /// The loop's head, for one lane.
    head: ir::Block,
    /// Where four lanes start, their first lane and its `%tid`.
    start: ir::Block,
    lane: Value,
    thread: [Value; 3],
    /// The lane after the last.
    end: Value,
    /// The return when no lane is left.
    pub(super) done: Option<ir::Block>,
    /// Whether rows of the block are whole packets.
    fits: Value,
    /// The exit by which the lanes of a packet go on one by one; 0 for none.
    exit: StackSlot,
    /// Where such lanes are sent on, and where a lane starts from its point.
    sent: ir::Block,
    alone: ir::Block,
}

/// How the values of a register are kept.
#[derive(Clone, Copy, Debug)]
enum Storage {
    /// The first lane's; the others' follow from the shape.
    First(Variable),
    /// A vector.
    Vector(Variable),
    /// A vector of all ones or zeros, for a predicate.
    Mask(Variable),
    /// One by one.
    Four([Variable; 4]),
}

/// What instructions are emitted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// This lane of the packet.
    Lane(u32),
    /// All four.
    Wide,
}

/// Code for four lanes that is being emitted.
pub(super) struct Packet {
    storage: Vec<Option<Storage>>,
    mode: Mode,
    /// The first lane, its `%tid`, and the frames of all.
    lane: Value,
    thread: [Value; 3],
    frames: [Value; 4],
    /// What the lane that is emitted has written.
    written: Vec<(Reg, Value)>,
    /// Vectors of a value that was spread before, in this block.
    spread: Vec<(Value, Value)>,
    /// The same of values that are known before the loop over lanes.
    spread_at_entry: Vec<(Value, Value)>,
    next: ir::Block,
    exits: Vec<Exit>,
    /// Where what is live waits at an exit, and how much that is at most.
    area: StackSlot,
    area_bytes: u32,
    resumes: Vec<ir::Block>,
}

/// The first number that stands for an exit of code; 1 stands for lanes that go on alone from their point.
const FIRST_EXIT: u32 = 2;
const ALONE: u32 = 1;

fn slot(bytes: u32, align_shift: u8) -> StackSlotData {
    StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, align_shift)
}

impl Emitter<'_, '_> {
    /// In the entry: what the loop over lanes needs.
    pub(super) fn plan_packets(&mut self, head: ir::Block, end: Value) -> Planned {
        let exit = self.b.create_sized_stack_slot(slot(4, 2));
        let zero = self.b.ins().iconst(types::I32, 0);
        self.b.ins().stack_store(types::I64, zero, exit, 0);
        let extent = self.known(Known::BlockExtent(0));
        let rest = self.b.ins().band_imm_u(extent, i64::from(LANES - 1));
        let fits = self.b.ins().icmp_imm_u(IntCC::Equal, rest, 0);
        let [start, sent, alone] = [self.b.create_block(), self.b.create_block(), self.b.create_block()];
        let first = self.thread;
        let (lane, thread) = self.lane_params(start, first);
        Planned { head, start, lane, thread, end, done: None, fits, exit, sent, alone }
    }

    /// After the last lane of a packet that has parted, the next lanes are a packet again.
    pub(super) fn end_exit(&mut self, planned: &Planned, next: Value) {
        let exit = self.b.ins().stack_load(types::I64, types::I32, planned.exit, 0);
        let rest = self.b.ins().band_imm_u(next, i64::from(LANES - 1));
        let zero = self.b.ins().iconst(types::I32, 0);
        let kept = self.b.ins().select(rest, exit, zero);
        self.b.ins().stack_store(types::I64, kept, planned.exit, 0);
    }

    /// At the head of the loop: on from an exit, as a packet, or alone.
    pub(super) fn choose_packet(&mut self, planned: &Planned) {
        let exit = self.b.ins().stack_load(types::I64, types::I32, planned.exit, 0);
        let fresh = self.b.create_block();
        self.b.ins().brif(exit, planned.sent, &[], fresh, &[]);
        self.b.switch_to_block(fresh);
        let lane = self.lane;
        let rest = self.b.ins().band_imm_u(lane, i64::from(LANES - 1));
        let is_first = self.b.ins().icmp_imm_u(IntCC::Equal, rest, 0);
        let fits = self.has_room(planned, lane);
        let fits = self.b.ins().band(fits, is_first);
        let fits = self.b.ins().band(fits, planned.fits);
        let args = lane_args(self.used_axes(), lane, self.thread);
        self.b.ins().brif(fits, planned.start, &args, planned.alone, &[]);
        self.b.switch_to_block(planned.alone);
    }

    /// Whether four lanes from this one are to run.
    fn has_room(&mut self, planned: &Planned, lane: Value) -> Value {
        let last = self.b.ins().iadd_imm_s(lane, i64::from(LANES));
        self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, last, planned.end)
    }

    pub(super) fn packet_facts(&self) -> Option<&Packets> {
        self.unit.packets.as_ref()
    }

    fn shape(&self, reg: Reg) -> Shape {
        self.packet_facts().map_or(Shape::Varying, |facts| facts.shapes.reg(reg))
    }

    /// Everything for four lanes at once, after the code for one.
    pub(super) fn packets(&mut self) {
        let Some(planned) = self.packets_planned.take() else { return };
        let unit = self.unit;
        let scalar_blocks = std::mem::replace(&mut self.blocks, vec![None; unit.function.blocks.len()]);
        let scalar_lane = (self.lane, self.thread, self.frame);
        self.b.set_srcloc(ir::SourceLoc::default());
        self.b.switch_to_block(planned.start);
        (self.lane, self.thread) = (planned.lane, planned.thread);
        self.find_frame();
        let stride = self.known(Known::FrameStride);
        let mut frames = [self.frame; 4];
        if !unit.is_alone || unit.function.local_bytes > 0 {
            for number in 1..frames.len() {
                frames[number] = self.b.ins().iadd(frames[number - 1], stride);
            }
        }
        let next = self.b.create_block();
        let area = self.b.create_sized_stack_slot(slot(0, 4));
        self.packet = Some(Packet {
            storage: vec![None; unit.function.regs.len()],
            mode: Mode::Wide,
            lane: planned.lane,
            thread: planned.thread,
            frames,
            written: Vec::new(),
            spread: Vec::new(),
            spread_at_entry: Vec::new(),
            next,
            exits: Vec::new(),
            area,
            area_bytes: 0,
            resumes: Vec::new(),
        });
        let point = self.b.block_params(self.entry)[3];
        self.dispatch_packet(point, &planned);
        for &block in &unit.flow.order {
            self.packet_block(block, &planned);
        }

        self.b.switch_to_block(next);
        self.b.set_srcloc(ir::SourceLoc::default());
        let (lane, thread) = self.advance(planned.lane, planned.thread, LANES);
        let used = self.used_axes();
        let [rest, some] = [self.b.create_block(), self.b.create_block()];
        let more = self.has_room(&planned, lane);
        let args = lane_args(used, lane, thread);
        self.b.ins().brif(more, planned.start, &args, rest, &[]);
        self.b.switch_to_block(rest);
        let left = self.b.ins().icmp(IntCC::UnsignedLessThan, lane, planned.end);
        self.b.ins().brif(left, some, &[], planned.done.unwrap_or(self.fail), &[]);
        self.b.switch_to_block(some);
        self.b.ins().jump(planned.head, &args);

        let Some(packet) = self.packet.take() else { return };
        self.blocks = scalar_blocks;
        (self.lane, self.thread, self.frame) = scalar_lane;
        self.send_on(&planned, &packet);
    }

    fn packet_block(&mut self, block: BlockId, planned: &Planned) {
        let unit = self.unit;
        let target = self.cl_block(block);
        self.b.switch_to_block(target);
        self.plans = checks::plan(&unit.function.blocks[block.0 as usize]);
        self.forget_spread();
        let source = &unit.function.blocks[block.0 as usize];
        self.inst = unit.inst_number(block.0, 0);
        self.b.set_srcloc(ir::SourceLoc::new(self.inst));
        self.look_at_assumptions(block, planned);
        for (at, inst) in source.insts.iter().enumerate() {
            let number = unit.inst_number(block.0, at as u32);
            self.inst = number;
            self.b.set_srcloc(ir::SourceLoc::new(number));
            if self.is_apart(inst) {
                continue;
            }
            if let Some(point) = unit.regions.cut_after(block, at as u32) {
                self.packet_cut(inst, point, planned);
            } else {
                self.packet_instruction(inst, at);
            }
        }
        self.inst = unit.inst_number(block.0, source.insts.len() as u32);
        self.b.set_srcloc(ir::SourceLoc::new(self.inst));
        self.packet_end(block, &source.end, planned);
        self.emit_back_edges();
    }

    /// Values that are taken to grow without a carry: if one does carry, the lanes go on alone.
    fn look_at_assumptions(&mut self, block: BlockId, planned: &Planned) {
        let unit = self.unit;
        let Some(facts) = &unit.packets else { return };
        for assumption in facts.assumptions.iter().filter(|assumption| assumption.block == block) {
            self.enter_lane(0);
            let value = self.operand(Operand::Reg(assumption.reg), types::I32);
            self.leave_lanes();
            let span = assumption.stride * i64::from(LANES - 1);
            let (condition, limit) = match (assumption.is_signed, span > 0) {
                (true, true) => (IntCC::SignedGreaterThan, i64::from(i32::MAX) - span),
                (true, false) => (IntCC::SignedLessThan, i64::from(i32::MIN) - span),
                (false, true) => (IntCC::UnsignedGreaterThan, i64::from(u32::MAX) - span),
                (false, false) => (IntCC::UnsignedLessThan, -span),
            };
            let limit = self.b.ins().iconst(types::I32, limit & 0xffff_ffff);
            let carries = self.b.ins().icmp(condition, value, limit);
            let [exit, go_on] = [self.b.create_block(), self.b.create_block()];
            self.b.ins().brif(carries, exit, &[], go_on, &[]);
            self.b.seal_block(exit);
            self.b.seal_block(go_on);
            let live = facts.liveness.live_in[block.0 as usize].iter().collect();
            self.exit(exit, live, Target::Start(block), planned);
            self.b.switch_to_block(go_on);
        }
    }

    fn packet_instruction(&mut self, inst: &Inst, at: usize) {
        let result = self.packet_facts().map_or(Shape::Varying, |facts| facts.shapes.result(inst));
        match &inst.op {
            Op::Load { .. } if self.packet_load(&inst.op, at) => {}
            Op::Store { .. } if self.packet_store(&inst.op, at) => {}
            Op::Load { .. }
            | Op::Alu(_)
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::AddressOf { .. }
            | Op::Cvta { .. }
            | Op::IsSpacep { .. }
                if result.stride().is_some() =>
            {
                self.once(inst, at, result);
            }
            Op::Alu(alu) if self.is_wide_alu(alu, inst.guard) && self.wide_alu(alu, inst.guard) => {}
            Op::Fence => {
                self.b.ins().fence();
            }
            Op::Trap | Op::Breakpoint => {
                self.enter_lane(0);
                self.instruction(inst, at);
                self.leave_lanes();
            }
            _ => self.one_by_one(inst, at),
        }
    }

    /// Emits an instruction whose results follow from the first lane's.
    fn once(&mut self, inst: &Inst, at: usize, shape: Shape) {
        self.enter_lane(0);
        self.instruction(inst, at);
        let written = self.leave_lanes();
        for (reg, value) in written {
            self.define_line(reg, value, shape.stride().unwrap_or(0));
        }
    }

    /// Emits an instruction for each lane.
    fn one_by_one(&mut self, inst: &Inst, at: usize) {
        let mut written: Vec<Vec<(Reg, Value)>> = Vec::with_capacity(LANES as usize);
        for number in 0..LANES {
            self.enter_lane(number);
            self.instruction(inst, at);
            written.push(self.leave_lanes());
        }
        self.define_all(&written);
    }

    fn packet_end(&mut self, block: BlockId, end: &Terminator, planned: &Planned) {
        match end {
            Terminator::Branch { guard, then, otherwise } if !self.shape(guard.reg).is_same() => {
                let mask = self.wide_operand(Operand::Reg(guard.reg), types::I8);
                let bits = self.b.ins().vhigh_bits(types::I32, mask);
                let (yes, no) = if guard.when { (then, otherwise) } else { (otherwise, then) };
                let [yes, no] = [yes, no].map(|to| self.edge(block, *to));
                let [parted, exit] = [self.b.create_block(), self.b.create_block()];
                let all = self.b.ins().icmp_imm_u(IntCC::Equal, bits, i64::from((1_u32 << LANES) - 1));
                self.b.ins().brif(all, yes, &[], parted, &[]);
                self.b.switch_to_block(parted);
                self.b.seal_block(parted);
                self.b.ins().brif(bits, exit, &[], no, &[]);
                self.b.seal_block(exit);
                self.exit_at_end(exit, block, planned);
            }
            Terminator::Switch { index, .. } if !self.is_same_operand(*index) => {
                let exit = self.b.create_block();
                self.b.ins().jump(exit, &[]);
                self.b.seal_block(exit);
                self.exit_at_end(exit, block, planned);
            }
            Terminator::Return | Terminator::Exit => {
                if !self.unit.is_alone {
                    for number in 0..LANES {
                        self.enter_lane(number);
                        self.store_state(EXITED);
                        self.leave_lanes();
                    }
                }
                let next = self.packet.as_ref().map_or(self.next_lane, |packet| packet.next);
                self.b.ins().jump(next, &[]);
            }
            Terminator::Jump(_)
            | Terminator::Branch { .. }
            | Terminator::Switch { .. }
            | Terminator::Trap => {
                self.enter_lane(0);
                self.end(block, end);
                self.leave_lanes();
            }
        }
    }

    fn is_same_operand(&self, operand: Operand) -> bool {
        match operand {
            Operand::Reg(reg) => self.shape(reg).is_same(),
            Operand::Imm(_) => true,
            Operand::Special(special) => crate::analysis::uniform::is_uniform_special(special),
        }
    }

    fn exit_at_end(&mut self, exit: ir::Block, block: BlockId, planned: &Planned) {
        let unit = self.unit;
        let Some(facts) = &unit.packets else { return };
        let live = facts.liveness.live_out(&unit.function, block.0 as usize);
        self.exit(exit, live.iter().collect(), Target::End(block), planned);
    }
}
