//! Integer instructions.

use cranelift_codegen::ir::InstBuilder as _;
use cranelift_codegen::ir::Value;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types;

use super::Emitter;
use super::types::integer;
use super::values::Extend;
use crate::ir::Alu;
use crate::ir::AluOp;
use crate::ir::Mods;
use crate::ir::Operand;
use crate::ir::Part;
use crate::ir::Permute;
use crate::ir::Scalar;
use crate::ir::Wrap;

/// The type twice as wide.
const fn wider(ty: Scalar) -> Option<Scalar> {
    Some(match ty {
        Scalar::U16 | Scalar::B16 => Scalar::U32,
        Scalar::S16 => Scalar::S32,
        Scalar::U32 | Scalar::B32 => Scalar::U64,
        Scalar::S32 => Scalar::S64,
        _ => return None,
    })
}

impl Emitter<'_, '_> {
    /// The result and its type, or nothing if it is not emitted inline.
    pub(super) fn integer(&mut self, alu: &Alu) -> Option<(Value, Scalar)> {
        if alu.mods != Mods::default() {
            return None;
        }
        let is_signed = alu.ty.is_signed();
        let bits = 8 * alu.ty.size_bytes();
        let value = match alu.op {
            AluOp::Add(_) => {
                let [a, b] = self.two(alu);
                self.b.ins().iadd(a, b)
            }
            AluOp::Sub(_) => {
                let [a, b] = self.two(alu);
                self.b.ins().isub(a, b)
            }
            AluOp::Mul(part) => return self.product(alu, part),
            AluOp::Mad(part, _) => {
                let factors = [alu.src[0], alu.src[1]];
                let (product, ty) = match part {
                    // Of uniform factors it is known before the loop over lanes.
                    Part::Low
                        if !self.is_wide()
                            && factors
                                .iter()
                                .flatten()
                                .all(|factor| self.is_uniform(*factor, integer(alu.ty))) =>
                    {
                        let [a, b] = self.two(alu);
                        (self.at_entry(|cursor| cursor.ins().imul(a, b)), alu.ty)
                    }
                    _ => self.product(alu, part)?,
                };
                let c = self.src_as(alu, 2, integer(ty));
                return Some((self.b.ins().iadd(product, c), ty));
            }
            AluOp::Div | AluOp::Rem => self.quotient(alu),
            AluOp::Abs => {
                let a = self.src(alu, 0);
                self.b.ins().iabs(a)
            }
            AluOp::Neg => {
                let a = self.src(alu, 0);
                self.b.ins().ineg(a)
            }
            AluOp::Min | AluOp::Max => {
                let [a, b] = self.two(alu);
                match (alu.op, is_signed) {
                    (AluOp::Min, true) => self.b.ins().smin(a, b),
                    (AluOp::Min, false) => self.b.ins().umin(a, b),
                    (_, true) => self.b.ins().smax(a, b),
                    (_, false) => self.b.ins().umax(a, b),
                }
            }
            AluOp::Sad => {
                let [a, b] = self.two(alu);
                let c = self.src(alu, 2);
                let order = if is_signed { IntCC::SignedLessThan } else { IntCC::UnsignedLessThan };
                let less = self.b.ins().icmp(order, a, b);
                let [up, down] = [self.b.ins().isub(a, b), self.b.ins().isub(b, a)];
                let distance = self.choose(less, down, up);
                self.b.ins().iadd(distance, c)
            }
            AluOp::And => {
                let [a, b] = self.two(alu);
                self.b.ins().band(a, b)
            }
            AluOp::Or => {
                let [a, b] = self.two(alu);
                self.b.ins().bor(a, b)
            }
            AluOp::Xor => {
                let [a, b] = self.two(alu);
                self.b.ins().bxor(a, b)
            }
            AluOp::Not => {
                let a = self.src(alu, 0);
                self.b.ins().bnot(a)
            }
            AluOp::Cnot => {
                let a = self.src(alu, 0);
                let is_zero = self.b.ins().icmp_imm_u(IntCC::Equal, a, 0);
                self.convert(is_zero, integer(alu.ty), Extend::Zero)
            }
            AluOp::Shl | AluOp::Shr => self.shift(alu, is_signed, bits),
            AluOp::ShfLeft(wrap) => self.funnel(alu, wrap, AluOp::Shl),
            AluOp::ShfRight(wrap) => self.funnel(alu, wrap, AluOp::Shr),
            AluOp::Lop3(table) => self.lop3(alu, table),
            AluOp::Brev => {
                let a = self.src(alu, 0);
                self.b.ins().bitrev(a)
            }
            AluOp::Clz | AluOp::Popc => {
                let a = self.src(alu, 0);
                let count = if alu.op == AluOp::Clz { self.b.ins().clz(a) } else { self.b.ins().popcnt(a) };
                return Some((self.convert(count, types::I32, Extend::Zero), Scalar::U32));
            }
            AluOp::Bfe => return self.bfe(alu).map(|value| (value, alu.ty)),
            AluOp::Prmt(Permute::Index) => return self.prmt(alu).map(|value| (value, alu.ty)),
            _ => return None,
        };
        Some((value, alu.ty))
    }

    fn two(&mut self, alu: &Alu) -> [Value; 2] {
        [self.src(alu, 0), self.src(alu, 1)]
    }

    fn product(&mut self, alu: &Alu, part: Part) -> Option<(Value, Scalar)> {
        let is_signed = alu.ty.is_signed();
        match part {
            Part::Low => {
                if let Some(factor) = self.constant_of(alu, 1).filter(|factor| factor.is_power_of_two()) {
                    let a = self.src(alu, 0);
                    return Some((self.shift_by(AluOp::Shl, false, a, factor.trailing_zeros()), alu.ty));
                }
                let [a, b] = self.two(alu);
                Some((self.b.ins().imul(a, b), alu.ty))
            }
            Part::High if alu.ty.size_bytes() >= 4 => {
                let [a, b] = self.two(alu);
                let high = if is_signed { self.b.ins().smulhi(a, b) } else { self.b.ins().umulhi(a, b) };
                Some((high, alu.ty))
            }
            Part::High => None,
            Part::Wide => {
                let to = wider(alu.ty)?;
                let a = self.src(alu, 0);
                let a = self.convert(a, integer(to), Extend::of(alu.ty));
                if let Some(factor) = self.constant_of(alu, 1) {
                    let bits = 8 * alu.ty.size_bytes();
                    let is_negative = is_signed && factor >> (bits - 1) & 1 == 1;
                    if factor.is_power_of_two() && !is_negative {
                        return Some((self.b.ins().ishl_imm_u(a, i64::from(factor.trailing_zeros())), to));
                    }
                    let factor = if is_negative { factor | u64::MAX << bits } else { factor };
                    let b = self.constant(factor, integer(to));
                    return Some((self.b.ins().imul(a, b), to));
                }
                let b = self.src(alu, 1);
                let b = self.convert(b, integer(to), Extend::of(alu.ty));
                Some((self.b.ins().imul(a, b), to))
            }
        }
    }

    /// Division without the processor's faults: by zero all ones (the remainder is `a`), and the least by -1 wraps.
    fn quotient(&mut self, alu: &Alu) -> Value {
        let is_signed = alu.ty.is_signed();
        let [mut a, mut b] = self.two(alu);
        let own = self.type_of(a);
        // Below 32 bits the results are exact in 32.
        let ty = if own.bits() < 32 { types::I32 } else { own };
        a = self.convert(a, ty, Extend::of(alu.ty));
        b = self.convert(b, ty, Extend::of(alu.ty));
        let known = match alu.src[1] {
            Some(Operand::Imm(_)) => self.constant_of(alu, 1),
            _ => None,
        };
        let is_safe = known.is_some_and(|value| value != 0 && value != u64::MAX >> (64 - own.bits()));
        let is_quotient = alu.op == AluOp::Div;
        if is_safe {
            return match (is_quotient, is_signed) {
                (true, true) => self.b.ins().sdiv(a, b),
                (true, false) => self.b.ins().udiv(a, b),
                (false, true) => self.b.ins().srem(a, b),
                (false, false) => self.b.ins().urem(a, b),
            };
        }
        let one = self.constant(1, ty);
        let by_zero = self.b.ins().icmp_imm_u(IntCC::Equal, b, 0);
        let mut divisor = self.b.ins().select(by_zero, one, b);
        let mut by_minus = None;
        if is_signed {
            let minus = self.b.ins().icmp_imm_s(IntCC::Equal, b, -1);
            divisor = self.b.ins().select(minus, one, divisor);
            by_minus = Some(minus);
        }
        if is_quotient {
            let mut result =
                if is_signed { self.b.ins().sdiv(a, divisor) } else { self.b.ins().udiv(a, divisor) };
            if let Some(minus) = by_minus {
                let negative = self.b.ins().ineg(a);
                result = self.b.ins().select(minus, negative, result);
            }
            let ones = self.constant(u64::MAX, ty);
            self.b.ins().select(by_zero, ones, result)
        } else {
            // With 1 in place of -1 the remainder is 0, as it should be.
            let result =
                if is_signed { self.b.ins().srem(a, divisor) } else { self.b.ins().urem(a, divisor) };
            self.b.ins().select(by_zero, a, result)
        }
    }

    fn constant_of(&self, alu: &Alu, index: usize) -> Option<u64> {
        match alu.src[index] {
            Some(Operand::Imm(bits)) => Some(bits & (u64::MAX >> (64 - 8 * alu.ty.size_bytes()))),
            _ => None,
        }
    }

    /// A shift by less than the width.
    pub(super) fn shift_by(&mut self, direction: AluOp, is_signed: bool, value: Value, amount: u32) -> Value {
        // One amount for all lanes of a vector.
        let amount = self.b.ins().iconst(types::I32, i64::from(amount));
        match (direction, is_signed) {
            (AluOp::Shl, _) => self.b.ins().ishl(value, amount),
            (_, true) => self.b.ins().sshr(value, amount),
            (_, false) => self.b.ins().ushr(value, amount),
        }
    }

    /// Shifts with the amount clamped at the width.
    fn shift(&mut self, alu: &Alu, is_signed: bool, bits: u32) -> Value {
        let a = self.src(alu, 0);
        if let Some(Operand::Imm(amount)) = alu.src[1] {
            let amount = amount & 0xffff_ffff;
            let is_over = amount >= u64::from(bits);
            return match (alu.op, is_signed) {
                (AluOp::Shr, true) => {
                    let amount = if is_over { bits - 1 } else { amount as u32 };
                    self.shift_by(AluOp::Shr, true, a, amount)
                }
                _ if is_over => self.constant(0, integer(alu.ty)),
                _ => self.shift_by(alu.op, false, a, amount as u32),
            };
        }
        let amount = self.src_as(alu, 1, types::I32);
        if alu.op == AluOp::Shr && is_signed {
            let most = self.constant(u64::from(bits) - 1, types::I32);
            let clamped = self.b.ins().umin(amount, most);
            return self.b.ins().sshr(a, clamped);
        }
        let is_over = self.b.ins().icmp_imm_u(IntCC::UnsignedGreaterThanOrEqual, amount, i64::from(bits));
        let shifted =
            if alu.op == AluOp::Shl { self.b.ins().ishl(a, amount) } else { self.b.ins().ushr(a, amount) };
        let zero = self.constant(0, integer(alu.ty));
        self.b.ins().select(is_over, zero, shifted)
    }

    /// A 64-bit shift of both words.
    fn funnel(&mut self, alu: &Alu, wrap: Wrap, direction: AluOp) -> Value {
        let [low, high, amount] = [0, 1, 2].map(|index| self.src_as(alu, index, types::I32));
        let [low, high] = [low, high].map(|value| self.convert(value, types::I64, Extend::Zero));
        let amount = match wrap {
            Wrap::Wrap => self.b.ins().band_imm_u(amount, 31),
            Wrap::Clamp => {
                let most = self.constant(32, types::I32);
                self.b.ins().umin(amount, most)
            }
        };
        let upper = self.b.ins().ishl_imm_u(high, 32);
        let both = self.b.ins().bor(upper, low);
        let word = if direction == AluOp::Shl {
            let shifted = self.b.ins().ishl(both, amount);
            self.b.ins().ushr_imm_u(shifted, 32)
        } else {
            self.b.ins().ushr(both, amount)
        };
        self.b.ins().ireduce(types::I32, word)
    }

    fn lop3(&mut self, alu: &Alu, table: u8) -> Value {
        let [a, b, c] = [0, 1, 2].map(|index| self.src(alu, index));
        let ty = self.type_of(a);
        // Shannon: on a, then on b; what is left is a function of c.
        let mut of_c = |bits: u8| match bits & 3 {
            0 => self.constant(0, ty),
            1 => self.b.ins().bnot(c),
            2 => c,
            _ => self.constant(u64::MAX, ty),
        };
        let leaves = [0, 1, 2, 3].map(|pair| (table >> (2 * pair) & 3, of_c(table >> (2 * pair))));
        let mut choose = |on: Value, yes: (u8, Value), no: (u8, Value)| {
            if yes.0 == no.0 {
                return yes.1;
            }
            let difference = match (yes.0, no.0) {
                (_, 0) => return self.b.ins().band(on, yes.1),
                (3, _) => return self.b.ins().bor(on, no.1),
                (0, _) => return self.b.ins().band_not(no.1, on),
                _ => self.b.ins().bxor(yes.1, no.1),
            };
            let changed = self.b.ins().band(difference, on);
            self.b.ins().bxor(changed, no.1)
        };
        let with_a = choose(b, leaves[3], leaves[2]);
        let without_a = choose(b, leaves[1], leaves[0]);
        if table >> 4 == table & 15 {
            return with_a;
        }
        let key = |half: u8| match half & 15 {
            0 => 0,
            15 => 3,
            _ => 1,
        };
        let (yes, no) = (key(table >> 4), key(table));
        match (yes, no) {
            (_, 0) => self.b.ins().band(a, with_a),
            (3, _) => self.b.ins().bor(a, without_a),
            (0, _) => self.b.ins().band_not(without_a, a),
            _ => {
                let difference = self.b.ins().bxor(with_a, without_a);
                let changed = self.b.ins().band(difference, a);
                self.b.ins().bxor(changed, without_a)
            }
        }
    }

    /// With constant position and length; others are rare.
    fn bfe(&mut self, alu: &Alu) -> Option<Value> {
        let (Some(Operand::Imm(start)), Some(Operand::Imm(length))) = (alu.src[1], alu.src[2]) else {
            return None;
        };
        let bits = u64::from(8 * alu.ty.size_bytes());
        let (start, length) = (start & 0xff, length & 0xff);
        if length == 0 || start + length > bits {
            return None;
        }
        let a = self.src(alu, 0);
        let left = self.b.ins().ishl_imm_u(a, (bits - start - length) as i64);
        let right = (bits - length) as i64;
        Some(match alu.ty.is_signed() {
            true => self.b.ins().sshr_imm_u(left, right),
            false => self.b.ins().ushr_imm_u(left, right),
        })
    }

    /// With a constant selector and no sign replication.
    fn prmt(&mut self, alu: &Alu) -> Option<Value> {
        let Some(Operand::Imm(selector)) = alu.src[2] else { return None };
        if selector & 0x8888 != 0 {
            return None;
        }
        let [a, b] = [0, 1].map(|index| {
            let word = self.src_as(alu, index, types::I32);
            self.convert(word, types::I64, Extend::Zero)
        });
        let upper = self.b.ins().ishl_imm_u(b, 32);
        let both = self.b.ins().bor(upper, a);
        let mut result = None;
        for byte in 0..4 {
            let from = selector >> (4 * byte) & 7;
            let moved = match from {
                0 => both,
                _ => self.b.ins().ushr_imm_u(both, 8 * from as i64),
            };
            let cut = self.b.ins().band_imm_u(moved, 0xff);
            let placed = match byte {
                0 => cut,
                _ => self.b.ins().ishl_imm_u(cut, 8 * byte),
            };
            result = Some(match result {
                None => placed,
                Some(low) => self.b.ins().bor(low, placed),
            });
        }
        result.map(|word| self.b.ins().ireduce(types::I32, word))
    }
}
