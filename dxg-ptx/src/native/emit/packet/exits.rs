//! Where four lanes part.

use cranelift_codegen::ir;
use cranelift_codegen::ir::BlockArg;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::types;

use super::ALONE;
use super::FIRST_EXIT;
use super::Packet;
use super::Planned;
use super::Storage;
use crate::ir::BlockId;
use crate::ir::Reg;
use crate::native::emit::Emitter;
use crate::native::emit::lane_args;
use crate::native::shapes::LANES;

/// Where a lane goes on alone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// At the start of a block.
    Start(BlockId),
    /// At its end.
    End(BlockId),
}

/// How a register waits for its lane.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// One value, and the step to the next lane's.
    Line(i64),
    /// Four values of the register's type.
    Four,
    /// Four words of ones or zeros.
    Mask,
}

/// An exit.
#[derive(Debug)]
pub(super) struct Exit {
    live: Vec<(Reg, Kept, u32)>,
    target: Target,
}

impl Emitter<'_, '_> {
    /// Fills the block in which four lanes part.
    pub(super) fn exit(&mut self, block: ir::Block, live: Vec<Reg>, target: Target, planned: &Planned) {
        self.b.switch_to_block(block);
        self.b.set_cold_block(block);
        let Some(area) = self.packet.as_ref().map(|packet| packet.area) else { return };
        let mut kept = Vec::with_capacity(live.len());
        let mut bytes = 0_u32;
        for reg in live {
            if self.apart[reg.0 as usize].is_some() {
                continue;
            }
            let size = self.types[reg.0 as usize].bytes();
            bytes = bytes.next_multiple_of(16);
            let offset = i32::try_from(bytes).unwrap_or(0);
            let (how, used) = match self.storage(reg) {
                Storage::First(var) => {
                    let value = self.b.use_var(var);
                    self.b.ins().stack_store(types::I64, value, area, offset);
                    (Kept::Line(self.shape(reg).stride().unwrap_or(0)), size)
                }
                Storage::Vector(var) => {
                    let value = self.b.use_var(var);
                    self.b.ins().stack_store(types::I64, value, area, offset);
                    (Kept::Four, 4 * size)
                }
                Storage::Mask(var) => {
                    let value = self.b.use_var(var);
                    self.b.ins().stack_store(types::I64, value, area, offset);
                    (Kept::Mask, 16)
                }
                Storage::Four(vars) => {
                    for (number, var) in (0_u32..).zip(vars) {
                        let value = self.b.use_var(var);
                        self.b.ins().stack_store(types::I64, value, area, offset + (number * size) as i32);
                    }
                    (Kept::Four, 4 * size)
                }
            };
            kept.push((reg, how, bytes));
            bytes += used;
        }
        let number = match &mut self.packet {
            Some(packet) => {
                packet.area_bytes = packet.area_bytes.max(bytes);
                packet.exits.push(Exit { live: kept, target });
                u32::try_from(packet.exits.len()).unwrap_or(u32::MAX) - 1 + FIRST_EXIT
            }
            None => ALONE,
        };
        self.leave_packet(number, planned);
    }

    /// Ends the block: the packet's lanes go on one by one, by this exit.
    pub(super) fn leave_packet(&mut self, number: u32, planned: &Planned) {
        let number = self.b.ins().iconst(types::I32, i64::from(number));
        self.b.ins().stack_store(types::I64, number, planned.exit, 0);
        let args = lane_args(self.used_axes(), planned.lane, planned.thread);
        self.b.ins().jump(planned.head, &args);
    }

    /// Scalar code: takes a lane of a packet that has parted on from its exit.
    pub(super) fn send_on(&mut self, planned: &Planned, packet: &Packet) {
        let unit = self.unit;
        self.b.func.sized_stack_slots[packet.area].size = packet.area_bytes.max(16);
        let blocks: Vec<ir::Block> = packet.exits.iter().map(|_| self.b.create_block()).collect();
        self.b.switch_to_block(planned.sent);
        self.b.set_cold_block(planned.sent);
        self.b.set_srcloc(ir::SourceLoc::default());
        let number = self.b.ins().stack_load(types::I64, types::I32, planned.exit, 0);
        let exit = self.b.ins().iadd_imm_s(number, -i64::from(FIRST_EXIT));
        let pool = &mut self.b.func.dfg.value_lists;
        let none = std::iter::empty::<BlockArg>;
        let calls: Vec<ir::BlockCall> =
            blocks.iter().map(|&to| ir::BlockCall::new(to, none(), pool)).collect();
        let other = ir::BlockCall::new(planned.alone, none(), pool);
        let table = self.b.create_jump_table(ir::JumpTableData::new(other, &calls));
        self.b.ins().br_table(exit, table);

        for (exit, block) in packet.exits.iter().zip(blocks) {
            self.b.switch_to_block(block);
            self.b.set_cold_block(block);
            let lane = self.b.ins().band_imm_u(self.lane, i64::from(LANES - 1));
            let lane = self.b.ins().uextend(types::I64, lane);
            let area = self.b.ins().stack_addr(types::I64, packet.area, 0);
            for &(reg, kept, offset) in &exit.live {
                let own: Type = self.types[reg.0 as usize];
                let flags = MemFlagsData::trusted();
                let offset = i32::try_from(offset).unwrap_or(0);
                let value = match kept {
                    Kept::Line(stride) => {
                        let first = self.b.ins().load(own, flags, area, offset);
                        if stride == 0 {
                            first
                        } else {
                            let steps = self.b.ins().imul_imm_s(lane, stride);
                            let bits = own.as_int();
                            let steps = match bits == types::I64 {
                                true => steps,
                                false => self.b.ins().ireduce(bits, steps),
                            };
                            let first = match own == bits {
                                true => first,
                                false => self.b.ins().bitcast(bits, MemFlagsData::new(), first),
                            };
                            let sum = self.b.ins().iadd(first, steps);
                            match own == bits {
                                true => sum,
                                false => self.b.ins().bitcast(own, MemFlagsData::new(), sum),
                            }
                        }
                    }
                    Kept::Four | Kept::Mask => {
                        let size = if matches!(kept, Kept::Mask) { 4 } else { own.bytes() };
                        let steps = self.b.ins().imul_imm_u(lane, i64::from(size));
                        let place = self.b.ins().iadd(area, steps);
                        let loaded = if matches!(kept, Kept::Mask) { types::I32 } else { own };
                        let value = self.b.ins().load(loaded, flags, place, offset);
                        if matches!(kept, Kept::Mask) {
                            let bit = self.b.ins().band_imm_u(value, 1);
                            self.b.ins().ireduce(types::I8, bit)
                        } else {
                            value
                        }
                    }
                };
                let var = self.var(reg);
                self.b.def_var(var, value);
            }
            self.reset_spins();
            match exit.target {
                Target::Start(block) => {
                    let to = self.cl_block(block);
                    self.b.ins().jump(to, &[]);
                }
                Target::End(block) => {
                    let source = &unit.function.blocks[block.0 as usize];
                    self.inst = unit.inst_number(block.0, source.insts.len() as u32);
                    self.b.set_srcloc(ir::SourceLoc::new(self.inst));
                    self.end(block, &source.end);
                    self.emit_back_edges();
                }
            }
        }
    }
}
