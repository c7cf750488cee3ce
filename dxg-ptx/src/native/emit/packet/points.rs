//! Where four lanes stop together, and where they go on.

use cranelift_codegen::ir;
use cranelift_codegen::ir::BlockArg;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::types;

use super::ALONE;
use super::Planned;
use super::Storage;
use crate::ir::BlockId;
use crate::ir::Inst;
use crate::ir::Op;
use crate::native::context::WAITING;
use crate::native::emit::Emitter;
use crate::native::emit::Known;
use crate::native::shapes::LANES;
use crate::regions::PointKind;

/// Where in the frame of the first of four lanes it stands whether they have stopped together. An entry's frame has nobody to return to,
/// so its header has room.
const TOGETHER_OFFSET: i32 = 0;

impl Emitter<'_, '_> {
    /// Sends the packet to where it goes on.
    pub(super) fn dispatch_packet(&mut self, point: Value, planned: &Planned) {
        let unit = self.unit;
        let resumes: Vec<ir::Block> = unit.regions.points.iter().map(|_| self.b.create_block()).collect();
        if resumes.len() == 1 {
            self.b.ins().jump(resumes[0], &[]);
        } else {
            let pool = &mut self.b.func.dfg.value_lists;
            let calls: Vec<ir::BlockCall> = resumes
                .iter()
                .map(|&to| ir::BlockCall::new(to, std::iter::empty::<BlockArg>(), pool))
                .collect();
            let other = ir::BlockCall::new(resumes[0], std::iter::empty::<BlockArg>(), pool);
            let table = self.b.create_jump_table(ir::JumpTableData::new(other, &calls));
            self.b.ins().br_table(point, table);
        }
        self.b.switch_to_block(resumes[0]);
        for &reg in &unit.start_live {
            let zero = self.constant_of_type(0, self.types[reg.0 as usize]);
            self.define_line(reg, zero, 0);
        }
        self.reset_spins();
        let first = self.cl_block(BlockId(0));
        self.b.ins().jump(first, &[]);
        if let Some(packet) = &mut self.packet {
            packet.resumes = resumes;
        }
        for (number, point) in (0_u32..).zip(&unit.regions.points) {
            if point.kind == PointKind::LoopHead {
                let head = self.cl_block(point.block);
                self.go_on_from(number, planned);
                self.b.ins().jump(head, &[]);
            }
        }
    }

    /// Ends the block: all four stop at a point, for this instruction if there is one.
    pub(in crate::native::emit) fn stop_together(&mut self, point: u32, inst: Option<&Inst>) {
        let unit = self.unit;
        let one = self.constant_of_type(1, types::I32);
        self.b.ins().store(MemFlagsData::trusted(), one, self.frame, TOGETHER_OFFSET);
        let waits = inst.is_some_and(|inst| !matches!(inst.op, Op::Yield));
        let state = (unit.first_point + point) | if waits { WAITING } else { 0 };
        for number in 0..LANES {
            self.enter_lane(number);
            if let Some(inst) = inst {
                self.send_operands(inst);
            }
            self.store_live(point);
            self.store_state(state);
            self.leave_lanes();
        }
        let next = self.packet.as_ref().map_or(self.next_lane, |packet| packet.next);
        self.b.ins().jump(next, &[]);
    }

    /// Starts emitting where four lanes go on from a point: loads what is read.
    fn go_on_from(&mut self, point: u32, planned: &Planned) {
        let unit = self.unit;
        let Some((block, frames)) =
            self.packet.as_ref().map(|packet| (packet.resumes[point as usize], packet.frames))
        else {
            return;
        };
        self.b.switch_to_block(block);
        self.forget_spread();
        self.reset_spins();
        self.meet_again(point, planned);
        let flags = MemFlagsData::trusted();
        for &reg in &unit.regions.points[point as usize].loaded {
            let ty = self.types[reg.0 as usize];
            let offset = self.slot(reg);
            if let Storage::First(var) = self.storage(reg) {
                let value = self.b.ins().load(ty, flags, frames[0], offset);
                self.b.def_var(var, value);
            } else {
                let values = frames.map(|frame| self.b.ins().load(ty, flags, frame, offset));
                self.define_four(reg, values);
            }
        }
    }

    /// A synchronising instruction: all four stop, and go on in a new block, as four if their registers allow.
    pub(super) fn packet_cut(&mut self, inst: &Inst, point: u32, planned: &Planned) {
        self.stop_together(point, Some(inst));
        self.go_on_from(point, planned);
        let mut written = Vec::with_capacity(LANES as usize);
        for number in 0..LANES {
            self.enter_lane(number);
            self.receive_results(inst);
            written.push(self.leave_lanes());
        }
        self.define_all(&written);
    }

    /// Where four lanes go on from a point to which they did not come together: as four only if what should follow from
    /// the first one's registers does.
    fn meet_again(&mut self, point: u32, planned: &Planned) {
        let unit = self.unit;
        let flags = MemFlagsData::trusted();
        let frames = self.packet.as_ref().map_or([self.frame; 4], |packet| packet.frames);
        let [look, alone, together] = [(); 3].map(|()| self.b.create_block());
        let came = self.b.ins().load(types::I32, flags, frames[0], TOGETHER_OFFSET);
        self.b.ins().brif(came, together, &[], look, &[]);
        self.b.seal_block(look);
        self.b.switch_to_block(look);
        self.b.set_cold_block(look);
        let mut parted: Option<Value> = None;
        for &reg in &unit.regions.points[point as usize].loaded {
            let Some(stride) = self.shape(reg).stride() else { continue };
            let ty = self.types[reg.0 as usize];
            let offset = self.slot(reg);
            let values = frames.map(|frame| self.b.ins().load(ty, flags, frame, offset));
            for (number, &value) in (1_i64..).zip(&values[1..]) {
                let wanted = self.stepped(values[0], number * stride);
                let differs = self.differs(value, wanted);
                parted = Some(match parted {
                    None => differs,
                    Some(before) => self.b.ins().bor(before, differs),
                });
            }
        }
        match parted {
            Some(parted) => self.b.ins().brif(parted, alone, &[], together, &[]),
            None => self.b.ins().jump(together, &[]),
        };
        self.b.seal_block(alone);
        self.b.seal_block(together);
        self.b.switch_to_block(alone);
        self.b.set_cold_block(alone);
        self.leave_packet(ALONE, planned);
        self.b.switch_to_block(together);
    }

    /// Before a lane stops alone: the four it belongs to do not come to the point together.
    pub(in crate::native::emit) fn mark_apart(&mut self) {
        if self.unit.packets.is_none() {
            return;
        }
        let first = self.b.ins().band_imm_s(self.lane, -i64::from(LANES));
        let first = self.b.ins().uextend(types::I64, first);
        let stride = self.known(Known::FrameStride);
        let offset = self.b.ins().imul(first, stride);
        let frames = self.known(Known::Frames);
        let zero = self.constant(0, types::I32);
        let frame = self.b.ins().iadd(frames, offset);
        self.b.ins().store(MemFlagsData::trusted(), zero, frame, TOGETHER_OFFSET);
    }
}
