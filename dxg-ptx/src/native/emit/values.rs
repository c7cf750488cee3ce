//! Reading operands and writing registers.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::MemFlagsData;
use cranelift_codegen::ir::Type;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::immediates::Ieee32;
use cranelift_codegen::ir::immediates::Ieee64;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::types::integer;
use crate::ir::Guard;
use crate::ir::Operand;
use crate::ir::Reg;
use crate::ir::Scalar;
use crate::native::shapes::LANES;

/// How a value is made wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extend {
    Zero,
    Sign,
}

impl Extend {
    pub(super) const fn of(scalar: Scalar) -> Self {
        if scalar.is_signed() { Self::Sign } else { Self::Zero }
    }
}

const fn int_of_bits(bits: u32) -> Type {
    match bits {
        8 => types::I8,
        16 => types::I16,
        32 => types::I32,
        64 => types::I64,
        _ => types::I128,
    }
}

impl Emitter<'_, '_> {
    /// The value of a register, in its own type.
    pub(super) fn read(&mut self, reg: Reg) -> Value {
        if let Some(value) = self.apart[reg.0 as usize] {
            return value;
        }
        if self.packet.is_some() {
            return self.read_lane(reg);
        }
        let var = self.var(reg);
        self.b.use_var(var)
    }

    /// The type of a value for as many lanes as are emitted at once.
    pub(super) fn machine(&self, ty: Type) -> Type {
        match self.is_wide() {
            true => ty.by(LANES).unwrap_or(ty),
            false => ty,
        }
    }

    pub(super) fn type_of(&self, value: Value) -> Type {
        self.b.func.dfg.value_type(value)
    }

    /// The bits of a value in another type: cut if it is narrower, extended if wider.
    pub(super) fn convert(&mut self, value: Value, to: Type, extend: Extend) -> Value {
        let from = self.type_of(value);
        if from == to {
            return value;
        }
        let mut value = value;
        if from.is_float() {
            value = self.b.ins().bitcast(int_of_bits(from.bits()), MemFlagsData::new(), value);
        }
        let want = int_of_bits(to.bits());
        let have = self.type_of(value);
        if have.bits() > want.bits() {
            value = self.b.ins().ireduce(want, value);
        } else if have.bits() < want.bits() {
            value = match extend {
                Extend::Zero => self.b.ins().uextend(want, value),
                Extend::Sign => self.b.ins().sextend(want, value),
            };
        }
        if to.is_float() {
            value = self.b.ins().bitcast(to, MemFlagsData::new(), value);
        }
        value
    }

    /// Bits as a value of a type, for as many lanes as are emitted at once.
    pub(super) fn constant(&mut self, bits: u64, ty: Type) -> Value {
        if self.is_wide() || ty.is_vector() {
            let lane = ty.lane_type();
            return self.constant_vector(bits as u32, if lane.bits() < 32 { types::I32 } else { lane });
        }
        self.constant_of_type(bits, ty)
    }

    /// Bits as a value of a type, for one lane.
    pub(super) fn constant_of_type(&mut self, bits: u64, ty: Type) -> Value {
        match ty {
            types::F32 => self.b.ins().f32const(Ieee32::with_bits(bits as u32)),
            types::F64 => self.b.ins().f64const(Ieee64::with_bits(bits)),
            types::I128 => {
                let low = self.b.ins().iconst(types::I64, bits as i64);
                self.b.ins().uextend(types::I128, low)
            }
            types::I64 => self.b.ins().iconst(ty, bits as i64),
            _ => self.b.ins().iconst(ty, (bits & (u64::MAX >> (64 - ty.bits()))) as i64),
        }
    }

    /// An operand in a type.
    pub(super) fn operand(&mut self, operand: Operand, ty: Type) -> Value {
        if self.is_wide() {
            return self.wide_operand(operand, ty);
        }
        match operand {
            Operand::Imm(bits) => self.constant(bits, ty),
            Operand::Reg(reg) => {
                let value = self.read(reg);
                self.convert(value, ty, Extend::Zero)
            }
            Operand::Special(special) => {
                let value = self.special(special);
                self.convert(value, ty, Extend::Zero)
            }
        }
    }

    /// Whether the value of an operand is known before the loop over lanes, in this type.
    pub(super) fn is_uniform(&self, operand: Operand, ty: Type) -> bool {
        match operand {
            Operand::Reg(reg) => self.apart[reg.0 as usize].is_some_and(|value| self.type_of(value) == ty),
            Operand::Imm(_) | Operand::Special(_) => false,
        }
    }

    /// An operand as 64 bits.
    pub(super) fn word(&mut self, operand: Operand) -> Value {
        self.operand(operand, types::I64)
    }

    /// Writes a register. Under a guard, lanes where it does not hold keep the old value.
    pub(super) fn write(&mut self, reg: Reg, value: Value, extend: Extend, guard: Option<Guard>) {
        if self.packet.is_some() {
            self.write_packet(reg, value, extend, guard);
            return;
        }
        let ty = self.types[reg.0 as usize];
        let mut value = self.convert(value, ty, extend);
        if self.unit.uniform.regs.has(reg) {
            self.apart[reg.0 as usize] = Some(value);
            return;
        }
        if let Some(guard) = guard {
            let old = self.read(reg);
            value = self.guarded(guard, value, old);
        }
        let var = self.var(reg);
        self.b.def_var(var, value);
    }

    /// A new value where the guard of the instruction holds, the old one elsewhere.
    pub(super) fn guarded(&mut self, guard: Guard, value: Value, old: Value) -> Value {
        // Not read again: an earlier result of the instruction may be the predicate itself.
        let holds = self.guard_holds.unwrap_or(old);
        match guard.when {
            true => self.choose(holds, value, old),
            false => self.choose(holds, old, value),
        }
    }

    /// Writes a 64-bit word as a value of a scalar type, cut and extended to the register.
    pub(super) fn write_word(&mut self, reg: Reg, word: Value, scalar: Scalar, guard: Option<Guard>) {
        let cut = self.convert(word, integer(scalar), Extend::Zero);
        self.write(reg, cut, Extend::of(scalar), guard);
    }

    /// Several small values in one wide one, from the low end.
    pub(super) fn pack(&mut self, ty: Scalar, dst: Reg, parts: &[Operand], guard: Option<Guard>) {
        let part = integer(ty);
        let total = int_of_bits(part.bits() * u32::try_from(parts.len()).unwrap_or(1).next_power_of_two());
        let mut whole = None;
        for (index, operand) in (0_u32..).zip(parts) {
            let value = self.operand(*operand, part);
            if total == types::I128 && part == types::I64 {
                whole = Some(match whole {
                    None => value,
                    Some(low) => self.b.ins().iconcat(low, value),
                });
                continue;
            }
            let wide = self.convert(value, total, Extend::Zero);
            let placed = match index {
                0 => wide,
                _ => self.b.ins().ishl_imm_u(wide, i64::from(index * part.bits())),
            };
            whole = Some(match whole {
                None => placed,
                Some(low) => self.b.ins().bor(low, placed),
            });
        }
        if let Some(whole) = whole {
            self.write(dst, whole, Extend::Zero, guard);
        }
    }

    /// The other way round.
    pub(super) fn unpack(&mut self, ty: Scalar, parts: &[Option<Reg>], src: Operand, guard: Option<Guard>) {
        let part = integer(ty);
        let total = int_of_bits(part.bits() * u32::try_from(parts.len()).unwrap_or(1).next_power_of_two());
        let whole = self.operand(src, total);
        if total == types::I128 && part == types::I64 {
            let (low, high) = self.b.ins().isplit(whole);
            for (value, dst) in [low, high].into_iter().zip(parts) {
                if let Some(dst) = dst {
                    self.write(*dst, value, Extend::Zero, guard);
                }
            }
            return;
        }
        // All are cut out before any is written: the source may be among the destinations.
        let mut cut = Vec::new();
        for (index, dst) in (0_u32..).zip(parts) {
            if let Some(dst) = dst {
                let low = match index {
                    0 => whole,
                    _ => self.b.ins().ushr_imm_u(whole, i64::from(index * part.bits())),
                };
                cut.push((*dst, self.convert(low, part, Extend::Zero)));
            }
        }
        for (dst, value) in cut {
            self.write(dst, value, Extend::of(ty), guard);
        }
    }
}
