//! Points: where lanes stop, and where they go on.

use cranelift_codegen::ir;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::Known;
use super::values::Extend;
use crate::ir::BlockId;
use crate::ir::Call;
use crate::ir::Callee;
use crate::ir::FuncId;
use crate::ir::Inst;
use crate::ir::Module;
use crate::ir::Op;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::native::callbacks::Helper;
use crate::native::context::WAITING;
use crate::native::context::fault;
use crate::native::prepare::Unit;
use crate::native::shapes::LANES;
use crate::regions::PointKind;
use crate::regions::TOP_OFFSET;
use crate::regions::result_offsets;

/// Iterations of a loop that may wait until others get their turn.
const SPINS: u64 = 256;

impl Emitter<'_, '_> {
    /// Finds the frame of the lane's running activation.
    pub(super) fn find_frame(&mut self) {
        // Threads that never stop need frames for their variables only, as many as run at once.
        let is_shared = self.unit.is_alone;
        if is_shared && (self.unit.packets.is_none() || self.unit.function.local_bytes == 0) {
            return;
        }
        let mut lane = self.b.ins().uextend(types::I64, self.lane);
        if is_shared {
            lane = self.b.ins().band_imm_u(lane, i64::from(LANES - 1));
        }
        let known = self.known(Known::FrameStride);
        let offset = self.b.ins().imul(lane, known);
        let known = self.known(Known::Frames);
        self.frame = self.b.ins().iadd(known, offset);
        if !self.unit.function.is_entry {
            let entry = self.lane_entry();
            let within = self.b.ins().load(types::I32, MemFlagsData::trusted(), entry, 4);
            let within = self.b.ins().uextend(types::I64, within);
            self.frame = self.b.ins().iadd(self.frame, within);
        }
    }

    fn lane_entry(&mut self) -> Value {
        let lane = self.b.ins().uextend(types::I64, self.lane);
        let offset = self.b.ins().ishl_imm_u(lane, 3);
        let known = self.known(Known::Lanes);
        self.b.ins().iadd(known, offset)
    }

    pub(super) fn store_state(&mut self, state: u32) {
        let state = self.constant(u64::from(state), types::I32);
        self.store_state_value(state);
    }

    fn store_state_value(&mut self, state: Value) {
        let entry = self.lane_entry();
        self.b.ins().store(MemFlagsData::trusted(), state, entry, 0);
    }

    /// Sends the lane to where it goes on.
    pub(super) fn dispatch(&mut self, point: Value) {
        let unit = self.unit;
        let start = self.b.create_block();
        self.resumes = vec![start];
        for _ in 1..unit.regions.points.len() {
            let block = self.b.create_block();
            self.resumes.push(block);
        }
        if self.resumes.len() == 1 {
            self.b.ins().jump(start, &[]);
        } else {
            let calls: Vec<ir::BlockCall> = {
                let pool = &mut self.b.func.dfg.value_lists;
                self.resumes.iter().map(|&to| ir::BlockCall::new(to, [], pool)).collect()
            };
            // The scheduler passes points of this unit only.
            let other = ir::BlockCall::new(start, [], &mut self.b.func.dfg.value_lists);
            let table = self.b.create_jump_table(ir::JumpTableData::new(other, &calls));
            self.b.ins().br_table(point, table);
        }
        self.b.switch_to_block(start);
        self.b.seal_block(start);
        self.reset_spins();
        for &reg in &unit.start_live {
            let zero = self.constant(0, self.types[reg.0 as usize]);
            let var = self.var(reg);
            self.b.def_var(var, zero);
        }
        if unit.function.is_entry && unit.has_alloca {
            let top = self.b.ins().iadd_imm_s(self.frame, i64::from(unit.regions.frame.bytes));
            self.b.ins().store(MemFlagsData::trusted(), top, self.frame, TOP_OFFSET);
        }
        let first = self.cl_block(BlockId(0));
        self.b.ins().jump(first, &[]);

        for (number, point) in unit.regions.points.iter().enumerate() {
            if point.kind == PointKind::LoopHead {
                let head = self.cl_block(point.block);
                self.resume(number as u32);
                self.b.ins().jump(head, &[]);
            }
        }
    }

    pub(super) fn reset_spins(&mut self) {
        if let Some(spins) = self.spins {
            let value = self.constant_of_type(SPINS, types::I32);
            self.b.def_var(spins, value);
        }
    }

    pub(super) fn slot(&self, reg: Reg) -> i32 {
        let slot = self.unit.regions.frame.slots.get(reg.0 as usize).copied().flatten();
        i32::try_from(slot.unwrap_or(0)).unwrap_or(0)
    }

    /// Starts emitting where a lane goes on from a point: loads what is read.
    fn resume(&mut self, point: u32) {
        let unit = self.unit;
        let block = self.resumes[point as usize];
        self.b.switch_to_block(block);
        self.b.seal_block(block);
        self.reset_spins();
        for &reg in &unit.regions.points[point as usize].loaded {
            let ty: Type = self.types[reg.0 as usize];
            let slot = self.slot(reg);
            let value = self.b.ins().load(ty, MemFlagsData::trusted(), self.frame, slot);
            let var = self.var(reg);
            self.b.def_var(var, value);
        }
    }

    pub(super) fn store_live(&mut self, point: u32) {
        let unit = self.unit;
        for &reg in &unit.regions.points[point as usize].stored {
            let value = self.read(reg);
            let slot = self.slot(reg);
            self.b.ins().store(MemFlagsData::trusted(), value, self.frame, slot);
        }
    }

    fn exchange(&self, word: usize) -> i32 {
        i32::try_from(self.unit.regions.frame.exchange).unwrap_or(0) + 8 * word as i32
    }

    fn send(&mut self, word: usize, operand: Operand) {
        let value = self.word(operand);
        let offset = self.exchange(word);
        self.b.ins().store(MemFlagsData::trusted(), value, self.frame, offset);
    }

    fn receive(&mut self, word: usize, dst: Reg) {
        let offset = self.exchange(word);
        let value = self.b.ins().load(types::I64, MemFlagsData::trusted(), self.frame, offset);
        self.write(dst, value, Extend::Zero, None);
    }

    /// Puts the operands of a synchronising instruction where others find them. What the instruction itself says they know.
    pub(super) fn send_operands(&mut self, inst: &Inst) {
        let is_sent = |operand: &&Operand| !matches!(operand, Operand::Imm(_));
        match &inst.op {
            Op::Barrier { id, threads, src, .. } => {
                for (word, operand) in [Some(id), threads.as_ref(), src.as_ref()].into_iter().enumerate() {
                    if let Some(operand) = operand.filter(is_sent) {
                        self.send(word, *operand);
                    }
                }
            }
            Op::Warp { mask, srcs, .. } => {
                if let Some(mask) = mask.as_ref().filter(is_sent) {
                    self.send(0, *mask);
                }
                for (index, src) in srcs.iter().enumerate().filter(|(_, src)| is_sent(src)) {
                    self.send(1 + index, *src);
                }
            }
            _ => {}
        }
    }

    /// Takes the results of a synchronising instruction.
    pub(super) fn receive_results(&mut self, inst: &Inst) {
        match &inst.op {
            Op::Barrier { dst: Some(dst), .. } => self.receive(0, *dst),
            Op::Warp { dsts, .. } => {
                for (index, dst) in dsts.iter().enumerate() {
                    if let Some(dst) = dst {
                        self.receive(1 + index, *dst);
                    }
                }
            }
            _ => {}
        }
    }

    /// A synchronising instruction: the lane stops, and goes on in a new block.
    pub(super) fn cut(&mut self, inst: &Inst, point: u32) {
        let state = self.unit.first_point + point;
        self.mark_apart();
        self.send_operands(inst);
        self.store_live(point);
        match &inst.op {
            Op::Call(call) => self.start_call(call, state),
            Op::Yield => {
                self.store_state(state);
                self.b.ins().jump(self.next_lane, &[]);
            }
            _ => {
                self.store_state(state | WAITING);
                self.b.ins().jump(self.next_lane, &[]);
            }
        }
        self.resume(point);
        match &inst.op {
            Op::Call(call) => self.take_results(call),
            _ => self.receive_results(inst),
        }
    }

    fn start_call(&mut self, call: &Call, state: u32) {
        match call.callee {
            Callee::Function(id) => self.enter(call, id, state),
            Callee::Indirect(reg) => {
                let target = self.word(Operand::Reg(reg));
                for &candidate in &call.candidates {
                    let [hit, next] = [self.b.create_block(), self.b.create_block()];
                    let address = Module::function_address(candidate) as i64;
                    let is_it = self.b.ins().icmp_imm_u(IntCC::Equal, target, address);
                    self.b.ins().brif(is_it, hit, &[], next, &[]);
                    self.b.switch_to_block(hit);
                    self.enter(call, candidate, state);
                    self.b.switch_to_block(next);
                }
                self.fail_always(fault::INVALID_TARGET);
            }
            _ => self.fail_always(fault::INVALID_TARGET),
        }
    }

    /// Makes the frame of a callee and leaves the lane at its start.
    fn enter(&mut self, call: &Call, id: FuncId, state: u32) {
        let unit = self.unit;
        let Some(callee) = self.prepared.unit_of(id) else {
            self.fail_always(fault::INVALID_TARGET);
            return;
        };
        let flags = MemFlagsData::trusted();
        let end = match unit.has_alloca {
            true => self.b.ins().load(types::I64, flags, self.frame, TOP_OFFSET),
            false => self.b.ins().iadd_imm_s(self.frame, i64::from(unit.regions.frame.bytes)),
        };
        let align = i64::from(callee.regions.frame.align);
        let up = self.b.ins().iadd_imm_s(end, align - 1);
        let start = self.b.ins().band_imm_s(up, -align);
        let stack_end = self.stack_end();
        let callee_end = self.b.ins().iadd_imm_s(start, i64::from(callee.regions.frame.bytes));
        let fits = self.b.ins().icmp(IntCC::UnsignedLessThanOrEqual, callee_end, stack_end);
        self.fail_unless(fits, fault::STACK_OVERFLOW);

        for (arg, param) in call.args.iter().zip(&callee.function.args) {
            let from = &unit.function.locals[arg.0 as usize];
            let to = &callee.function.locals[param.0 as usize];
            let from_offset = (unit.regions.frame.locals + from.offset) as i32;
            let to_offset = (callee.regions.frame.locals + to.offset) as i32;
            self.copy_bytes((start, to_offset), (self.frame, from_offset), from.size.min(to.size));
        }
        let base = {
            let lane = self.b.ins().uextend(types::I64, self.lane);
            let known = self.known(Known::FrameStride);
            let offset = self.b.ins().imul(lane, known);
            let known = self.known(Known::Frames);
            self.b.ins().iadd(known, offset)
        };
        let [own, new] = [self.frame, start].map(|frame| {
            let within = self.b.ins().isub(frame, base);
            self.b.ins().ireduce(types::I32, within)
        });
        let back = self.constant(u64::from(state), types::I32);
        self.b.ins().store(flags, back, start, 0);
        self.b.ins().store(flags, own, start, 4);
        self.b.ins().store(flags, callee_end, start, TOP_OFFSET);
        let offset = self.exchange(0);
        self.b.ins().store(flags, start, self.frame, offset);
        let entry = self.lane_entry();
        self.b.ins().store(flags, new, entry, 4);
        self.store_state(callee.first_point);
        self.b.ins().jump(self.next_lane, &[]);
    }

    /// After a call: the results are where the callee left them, at the start of what was its frame.
    fn take_results(&mut self, call: &Call) {
        let unit = self.unit;
        let offset = self.exchange(0);
        let start = self.b.ins().load(types::I64, MemFlagsData::trusted(), self.frame, offset);
        let slots: Vec<_> = call.rets.iter().map(|id| &unit.function.locals[id.0 as usize]).collect();
        for (slot, from) in slots.iter().zip(result_offsets(slots.iter().map(|slot| slot.size))) {
            let to = (unit.regions.frame.locals + slot.offset) as i32;
            self.copy_bytes((self.frame, to), (start, from as i32), slot.size);
        }
    }

    /// Return from a function with its own frame.
    pub(super) fn leave(&mut self) {
        let unit: &Unit = self.unit;
        let flags = MemFlagsData::trusted();
        let slots: Vec<_> =
            unit.function.rets.iter().map(|id| &unit.function.locals[id.0 as usize]).collect();
        for (slot, to) in slots.iter().zip(result_offsets(slots.iter().map(|slot| slot.size))) {
            let from = (unit.regions.frame.locals + slot.offset) as i32;
            self.copy_bytes((self.frame, to as i32), (self.frame, from), slot.size);
        }
        let back = self.b.ins().load(types::I32, flags, self.frame, 0);
        let caller = self.b.ins().load(types::I32, flags, self.frame, 4);
        let entry = self.lane_entry();
        self.b.ins().store(flags, caller, entry, 4);
        self.store_state_value(back);
        self.b.ins().jump(self.next_lane, &[]);
    }

    fn copy_bytes(&mut self, (to, to_offset): (Value, i32), (from, from_offset): (Value, i32), bytes: u32) {
        let mut at = 0;
        while at < bytes {
            let (ty, step) = match bytes - at {
                8.. => (types::I64, 8),
                4.. => (types::I32, 4),
                2.. => (types::I16, 2),
                _ => (types::I8, 1),
            };
            let flags = MemFlagsData::trusted();
            let value = self.b.ins().load(ty, flags, from, from_offset + at as i32);
            self.b.ins().store(flags, value, to, to_offset + at as i32);
            at += step;
        }
    }

    /// The block that an edge leads to; for an edge back, one that counts the iteration first.
    pub(super) fn edge(&mut self, from: BlockId, to: BlockId) -> ir::Block {
        let target = self.cl_block(to);
        if !self.unit.flow.is_back_edge(from, to) {
            return target;
        }
        let between = self.b.create_block();
        self.back_edges.push((between, to, self.inst));
        between
    }

    /// Fills the blocks that `edge` made.
    pub(super) fn emit_back_edges(&mut self) {
        for (between, to, inst) in std::mem::take(&mut self.back_edges) {
            self.inst = inst;
            self.b.switch_to_block(between);
            let target = self.cl_block(to);
            match (self.unit.regions.heads[to.0 as usize], self.spins) {
                (Some(point), Some(spins)) => {
                    let stop = self.b.create_block();
                    self.b.set_cold_block(stop);
                    let left = self.b.use_var(spins);
                    let left = self.b.ins().iadd_imm_s(left, -1);
                    self.b.def_var(spins, left);
                    let is_over = self.b.ins().icmp_imm_u(IntCC::Equal, left, 0);
                    self.b.ins().brif(is_over, stop, &[], target, &[]);
                    self.b.switch_to_block(stop);
                    self.stop_at_head(point);
                }
                _ => {
                    // Atomic, so that each iteration looks anew.
                    let known = self.known(Known::Stop);
                    let flag = self.b.ins().atomic_load(types::I8, MemFlagsData::trusted(), known);
                    self.fail_if(flag, fault::STOPPED, |_| None);
                    self.b.ins().jump(target, &[]);
                }
            }
        }
    }

    /// Ends the block: who runs stops at the head of a loop, to let others run.
    fn stop_at_head(&mut self, point: u32) {
        if self.is_wide() {
            self.stop_together(point, None);
            return;
        }
        self.mark_apart();
        self.store_live(point);
        self.store_state(self.unit.first_point + point);
        self.b.ins().jump(self.next_lane, &[]);
    }

    /// What a helper does with the frame: `vprintf` and the like.
    pub(super) fn effect(&mut self, words: &[Value]) -> Value {
        for (index, &word) in words.iter().enumerate() {
            let offset = crate::native::context::at::SCRATCH + 8 * index as i32;
            self.b.ins().store(MemFlagsData::trusted(), word, self.context, offset);
        }
        let inst = self.constant(u64::from(self.inst), types::I32);
        let base = self.local_base();
        let unit = self.constant(u64::from(self.unit.number), types::I32);
        let ok = self.call(Helper::Effect, &[self.context, unit, inst, base, self.lane]);
        self.fail_unless(ok, fault::TOLD);
        self.b.ins().load(
            types::I64,
            MemFlagsData::trusted(),
            self.context,
            crate::native::context::at::SCRATCH,
        )
    }
}
