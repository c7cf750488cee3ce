//! `cvt` between integers and 32- and 64-bit floats.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::FloatCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::alu::is_machine_float;
use super::types::computed;
use super::types::integer;
use super::values::Extend;
use crate::ir::Alu;
use crate::ir::Integral;
use crate::ir::Mods;
use crate::ir::Round;
use crate::ir::Scalar;

/// Whether it is one integer of 8 to 64 bits.
const fn is_integer(ty: Scalar) -> bool {
    !ty.is_float() && !matches!(ty, Scalar::Pred | Scalar::B128 | Scalar::U16x2 | Scalar::S16x2)
}

impl Emitter<'_, '_> {
    /// The result in the type of `alu`, or nothing if it is not emitted inline.
    pub(super) fn cvt(&mut self, alu: &Alu, from: Scalar, integral: Integral) -> Option<Value> {
        let to = alu.ty;
        let mods = alu.mods;
        if is_integer(from) && is_integer(to) && mods.0 & Mods::SAT.0 == 0 {
            let a = self.src_as(alu, 0, integer(from));
            return Some(match self.is_wide() {
                true => a,
                false => self.convert(a, integer(to), Extend::of(from)),
            });
        }
        if let Some(value) = self.half_cvt(alu, from, integral) {
            return Some(value);
        }
        let flush = mods.has(Mods::FTZ) && (from == Scalar::F32 || to == Scalar::F32);
        if mods.0 & !(Mods::FTZ.0 | Mods::SAT.0) != 0 {
            return None;
        }
        if is_machine_float(from) && is_machine_float(to) {
            let mut a = self.src_as(alu, 0, computed(from));
            if flush && from == Scalar::F32 {
                a = self.flush(a);
            }
            let mut value = if from == to {
                if integral == Integral::Yes { self.round(alu.round, a)? } else { a }
            } else {
                match (from, alu.round, integral) {
                    (Scalar::F32, _, Integral::No) => self.b.ins().fpromote(types::F64, a),
                    (Scalar::F64, Round::Nearest, Integral::No) => self.b.ins().fdemote(types::F32, a),
                    _ => return None,
                }
            };
            if flush && to == Scalar::F32 {
                value = self.flush(value);
            }
            return Some(if mods.has(Mods::SAT) { self.saturate(value) } else { value });
        }
        if is_integer(from)
            && is_machine_float(to)
            && alu.round == Round::Nearest
            && mods.0 & Mods::SAT.0 == 0
        {
            let mut a = self.src_as(alu, 0, integer(from));
            if from.size_bytes() < 4 {
                a = self.convert(a, types::I32, Extend::of(from));
            }
            let ty = self.machine(computed(to));
            return Some(match from.is_signed() || from.size_bytes() < 4 {
                true => self.b.ins().fcvt_from_sint(ty, a),
                false => self.b.ins().fcvt_from_uint(ty, a),
            });
        }
        // From floats the result is clamped in any case; only what is no number needs care.
        if is_machine_float(from) && is_integer(to) && to.size_bytes() >= 4 {
            let mut a = self.src_as(alu, 0, computed(from));
            if flush {
                a = self.flush(a);
            }
            let whole = if alu.round == Round::Zero { a } else { self.round(alu.round, a)? };
            let ty = self.machine(integer(to));
            let value = match to.is_signed() {
                true => self.b.ins().fcvt_to_sint_sat(ty, whole),
                false => self.b.ins().fcvt_to_uint_sat(ty, whole),
            };
            if from == Scalar::F32 && to.size_bytes() == 4 {
                return Some(value);
            }
            let is_nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
            let indefinite = self.constant(1 << (8 * to.size_bytes() - 1), ty);
            return Some(self.b.ins().select(is_nan, indefinite, value));
        }
        None
    }

    fn round(&mut self, round: Round, value: Value) -> Option<Value> {
        if !self.has_round {
            return None;
        }
        Some(match round {
            Round::Nearest => self.b.ins().nearest(value),
            Round::Zero => self.b.ins().trunc(value),
            Round::Down => self.b.ins().floor(value),
            Round::Up => self.b.ins().ceil(value),
            Round::NearestAway => return None,
        })
    }
}
