//! The values of registers in four lanes.

use cranelift_codegen::ir::ConstantData;
use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Mode;
use super::Storage;
use crate::ir::Guard;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::RegClass;
use crate::ir::Special;
use crate::native::emit::Emitter;
use crate::native::emit::values::Extend;
use crate::native::shapes::LANES;

/// The type of a vector's lane for values of a type: those of less than 32 bits are made longer.
fn lane_of(ty: Type) -> Type {
    if ty.bits() < 32 { types::I32 } else { ty }
}

impl Emitter<'_, '_> {
    /// Emits for one lane of the packet from now on.
    pub(super) fn enter_lane(&mut self, number: u32) {
        let Some((lane, thread, frame)) =
            self.packet.as_ref().map(|packet| (packet.lane, packet.thread, packet.frames[number as usize]))
        else {
            return;
        };
        (self.lane, self.thread, self.frame) = (lane, thread, frame);
        if number > 0 {
            self.lane = self.b.ins().iadd_imm_s(lane, i64::from(number));
            self.thread[0] = self.b.ins().iadd_imm_s(thread[0], i64::from(number));
        }
        if let Some(packet) = &mut self.packet {
            packet.mode = Mode::Lane(number);
        }
    }

    /// Emits for all again; what the lane has written.
    pub(super) fn leave_lanes(&mut self) -> Vec<(Reg, Value)> {
        let Some(packet) = &mut self.packet else { return Vec::new() };
        packet.mode = Mode::Wide;
        (self.lane, self.thread, self.frame) = (packet.lane, packet.thread, packet.frames[0]);
        std::mem::take(&mut packet.written)
    }

    /// Whether instructions are emitted for all four lanes at once.
    pub(in crate::native::emit) fn is_wide(&self) -> bool {
        self.packet.as_ref().is_some_and(|packet| packet.mode == Mode::Wide)
    }

    pub(super) fn forget_spread(&mut self) {
        if let Some(packet) = &mut self.packet {
            packet.spread.clear();
        }
    }

    pub(super) fn storage(&mut self, reg: Reg) -> Storage {
        let index = reg.0 as usize;
        let ty = self.types[index];
        let is_line = self.shape(reg).stride().is_some();
        let is_predicate = self.unit.function.regs[index] == RegClass::Pred;
        if let Some(Some(storage)) = self.packet.as_ref().map(|packet| packet.storage[index]) {
            return storage;
        }
        let b = &mut self.b;
        let storage = if is_line {
            Storage::First(b.declare_var(ty))
        } else if is_predicate {
            Storage::Mask(b.declare_var(types::I32X4))
        } else if ty.bits() == 32 {
            Storage::Vector(b.declare_var(ty.by(LANES).unwrap_or(types::I32X4)))
        } else {
            Storage::Four([(); 4].map(|()| b.declare_var(ty)))
        };
        if let Some(packet) = &mut self.packet {
            packet.storage[index] = Some(storage);
        }
        storage
    }

    /// The value of a register in the lane that is emitted.
    pub(in crate::native::emit) fn read_lane(&mut self, reg: Reg) -> Value {
        let number = match self.packet.as_ref().map(|packet| packet.mode) {
            Some(Mode::Lane(number)) => number,
            _ => 0,
        };
        match self.storage(reg) {
            Storage::First(var) => {
                let value = self.b.use_var(var);
                let stride = self.shape(reg).stride().unwrap_or(0);
                self.stepped(value, stride * i64::from(number))
            }
            Storage::Vector(var) => {
                let vector = self.b.use_var(var);
                self.b.ins().extractlane(vector, number as u8)
            }
            Storage::Mask(var) => {
                let vector = self.b.use_var(var);
                let word = self.b.ins().extractlane(vector, number as u8);
                let bit = self.b.ins().band_imm_u(word, 1);
                self.b.ins().ireduce(types::I8, bit)
            }
            Storage::Four(vars) => self.b.use_var(vars[number as usize]),
        }
    }

    /// A value of one lane plus a known step.
    pub(super) fn stepped(&mut self, value: Value, step: i64) -> Value {
        if step == 0 {
            return value;
        }
        let ty = self.type_of(value);
        if ty.is_float() {
            let bits = self.b.ins().bitcast(ty.as_int(), MemFlagsData::new(), value);
            let sum = self.b.ins().iadd_imm_s(bits, step);
            return self.b.ins().bitcast(ty, MemFlagsData::new(), sum);
        }
        self.b.ins().iadd_imm_s(value, step)
    }

    /// Whether two values of a lane's type have other bits.
    pub(super) fn differs(&mut self, a: Value, b: Value) -> Value {
        let ty = self.type_of(a);
        let [a, b] = match ty.is_float() {
            true => [a, b].map(|value| self.b.ins().bitcast(ty.as_int(), MemFlagsData::new(), value)),
            false => [a, b],
        };
        self.b.ins().icmp(IntCC::NotEqual, a, b)
    }

    /// Writes a register for the lane that is emitted, or for all four.
    pub(in crate::native::emit) fn write_packet(
        &mut self,
        reg: Reg,
        value: Value,
        extend: Extend,
        guard: Option<Guard>,
    ) {
        if self.is_wide() {
            self.write_wide(reg, value, guard);
            return;
        }
        let mut value = self.convert(value, self.types[reg.0 as usize], extend);
        if let Some(guard) = guard {
            let old = self.read(reg);
            value = self.guarded(guard, value, old);
        }
        if let Some(packet) = &mut self.packet {
            packet.written.push((reg, value));
        }
    }

    fn write_wide(&mut self, reg: Reg, value: Value, guard: Option<Guard>) {
        let ty = self.types[reg.0 as usize];
        let mut value = self.as_vector_of(value, lane_of(ty));
        if let Some(guard) = guard {
            let old = self.vector_of(reg);
            value = self.guarded(guard, value, old);
        }
        match self.storage(reg) {
            Storage::Vector(var) | Storage::Mask(var) => self.b.def_var(var, value),
            Storage::Four(vars) => {
                for (number, var) in (0_u8..).zip(vars) {
                    let word = self.b.ins().extractlane(value, number);
                    let own = self.convert(word, ty, Extend::Zero);
                    self.b.def_var(var, own);
                }
            }
            // What is written for all four at once differs between them.
            Storage::First(_) => {}
        }
    }

    fn as_vector_of(&mut self, value: Value, lane: Type) -> Value {
        let want = lane.by(LANES).unwrap_or(types::I32X4);
        if self.type_of(value) == want {
            return value;
        }
        self.b.ins().bitcast(want, MemFlagsData::new(), value)
    }

    /// `a` where the condition holds, else `b`.
    pub(in crate::native::emit) fn choose(&mut self, condition: Value, a: Value, b: Value) -> Value {
        if !self.type_of(condition).is_vector() {
            return self.b.ins().select(condition, a, b);
        }
        let ty = self.type_of(a);
        let mask = match self.type_of(condition) == ty {
            true => condition,
            false => self.b.ins().bitcast(ty, MemFlagsData::new(), condition),
        };
        self.b.ins().bitselect(mask, a, b)
    }

    /// A vector with these bits in each lane.
    pub(in crate::native::emit) fn constant_vector(&mut self, bits: u32, lane: Type) -> Value {
        self.line_vector(bits, 0, lane)
    }

    fn line_vector(&mut self, first: u32, step: i64, lane: Type) -> Value {
        let mut bytes = Vec::with_capacity(16);
        for number in 0..i64::from(LANES) {
            bytes.extend_from_slice(&first.wrapping_add((number * step) as u32).to_le_bytes());
        }
        let constant = self.b.func.dfg.constants.insert(ConstantData::from(bytes.as_slice()));
        self.b.ins().vconst(lane.by(LANES).unwrap_or(types::I32X4), constant)
    }

    /// An operand of all four lanes: a vector of `ty`, a mask for predicates.
    pub(in crate::native::emit) fn wide_operand(&mut self, operand: Operand, ty: Type) -> Value {
        let lane = lane_of(ty);
        match operand {
            Operand::Imm(bits) if ty == types::I8 => {
                self.constant_vector(if bits & 1 == 1 { u32::MAX } else { 0 }, lane)
            }
            Operand::Imm(bits) => self.constant_vector(bits as u32, lane),
            Operand::Special(special) => {
                self.enter_lane(0);
                let value = self.special(special);
                let value = self.convert(value, types::I32, Extend::Zero);
                self.leave_lanes();
                let step = i64::from(matches!(special, Special::TidX | Special::LaneId));
                let vector = self.spread_line(value, step);
                self.as_vector_of(vector, lane)
            }
            Operand::Reg(reg) => {
                let vector = self.vector_of(reg);
                self.as_vector_of(vector, lane)
            }
        }
    }

    fn vector_of(&mut self, reg: Reg) -> Value {
        if let Some(value) = self.apart[reg.0 as usize] {
            return self.spread_at_entry(value);
        }
        match self.storage(reg) {
            Storage::Vector(var) | Storage::Mask(var) => self.b.use_var(var),
            Storage::First(var) => {
                let mut value = self.b.use_var(var);
                if self.type_of(value) == types::I16 {
                    value = self.b.ins().uextend(types::I32, value);
                }
                let stride = self.shape(reg).stride().unwrap_or(0);
                self.spread_line(value, stride)
            }
            Storage::Four(vars) => {
                let values = vars.map(|var| self.b.use_var(var));
                self.gathered(values)
            }
        }
    }

    /// A vector of one value, made where the value is.
    fn spread_at_entry(&mut self, value: Value) -> Value {
        let known = self.packet.as_ref().and_then(|packet| {
            packet.spread_at_entry.iter().find(|(from, _)| *from == value).map(|(_, vector)| *vector)
        });
        if let Some(vector) = known {
            return vector;
        }
        let ty = self.type_of(value);
        let vector = self.at_entry(|cursor| match ty {
            types::I8 => {
                let word = cursor.ins().uextend(types::I32, value);
                let mask = cursor.ins().ineg(word);
                cursor.ins().splat(types::I32X4, mask)
            }
            types::I16 => {
                let word = cursor.ins().uextend(types::I32, value);
                cursor.ins().splat(types::I32X4, word)
            }
            _ => cursor.ins().splat(ty.by(LANES).unwrap_or(types::I32X4), value),
        });
        if let Some(packet) = &mut self.packet {
            packet.spread_at_entry.push((value, vector));
        }
        vector
    }

    /// A vector of a value and those that follow it.
    fn spread_line(&mut self, value: Value, stride: i64) -> Value {
        let known = self.packet.as_ref().and_then(|packet| {
            packet.spread.iter().find(|(from, _)| *from == value).map(|(_, vector)| *vector)
        });
        // A value belongs to one register, so to one step; only that of equal lanes is kept.
        if let Some(vector) = known.filter(|_| stride == 0) {
            return vector;
        }
        let ty = self.type_of(value);
        let mut lane = value;
        if ty == types::I8 {
            let word = self.b.ins().uextend(types::I32, value);
            lane = self.b.ins().ineg(word);
        }
        let lane_type = self.type_of(lane);
        let mut vector = self.b.ins().splat(lane_type.by(LANES).unwrap_or(types::I32X4), lane);
        if stride != 0 {
            vector = self.as_vector_of(vector, types::I32);
            let steps = self.line_vector(0, stride, types::I32);
            vector = self.b.ins().iadd(vector, steps);
        } else if let Some(packet) = &mut self.packet {
            packet.spread.push((value, vector));
        }
        vector
    }

    /// A vector of four values of 16 or 32 bits, or the mask of four predicates.
    fn gathered(&mut self, values: [Value; 4]) -> Value {
        let values = values.map(|value| match self.type_of(value) {
            types::I8 => {
                let word = self.b.ins().uextend(types::I32, value);
                self.b.ins().ineg(word)
            }
            types::I16 => self.b.ins().uextend(types::I32, value),
            _ => value,
        });
        let ty = self.type_of(values[0]).by(LANES).unwrap_or(types::I32X4);
        let mut vector = self.b.ins().scalar_to_vector(ty, values[0]);
        for (number, &value) in (1_u8..).zip(&values[1..]) {
            vector = self.b.ins().insertlane(vector, value, number);
        }
        vector
    }

    /// Defines a register by the first lane's value and the step.
    pub(super) fn define_line(&mut self, reg: Reg, value: Value, stride: i64) {
        match self.storage(reg) {
            Storage::First(var) => self.b.def_var(var, value),
            Storage::Vector(var) | Storage::Mask(var) => {
                let vector = self.spread_line(value, stride);
                let ty = self.types[reg.0 as usize];
                let vector = self.as_vector_of(vector, lane_of(ty));
                self.b.def_var(var, vector);
            }
            Storage::Four(vars) => {
                for (number, var) in (0_i64..).zip(vars) {
                    let own = self.stepped(value, number * stride);
                    self.b.def_var(var, own);
                }
            }
        }
    }

    /// Defines a register by the values of all four.
    pub(super) fn define_four(&mut self, reg: Reg, values: [Value; 4]) {
        match self.storage(reg) {
            Storage::First(var) => self.b.def_var(var, values[0]),
            Storage::Vector(var) | Storage::Mask(var) => {
                let vector = self.gathered(values);
                self.b.def_var(var, vector);
            }
            Storage::Four(vars) => {
                for (var, value) in vars.into_iter().zip(values) {
                    self.b.def_var(var, value);
                }
            }
        }
    }

    /// Defines what four lanes have written, each the same registers in the same order.
    pub(super) fn define_all(&mut self, written: &[Vec<(Reg, Value)>]) {
        let [a, b, c, d] = written else { return };
        for (((a, b), c), d) in a.iter().zip(b).zip(c).zip(d) {
            self.define_four(a.0, [a.1, b.1, c.1, d.1]);
        }
    }
}
