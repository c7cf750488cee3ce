//! Conversions.

use crate::float::ROUNDINGS;
use crate::harness::Check;
use crate::harness::Expect;
use crate::harness::Expect::Bits;
use crate::harness::Expect::Nan64;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::Int;
use crate::integer::TYPES;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::F32;
use crate::reference::Format;
use crate::reference::TF32;
use crate::reference::flush;
use crate::reference::saturate;
use crate::support::number::To;

const BYTES: [Int; 2] =
    [Int { name: "u8", bits: 8, signed: false }, Int { name: "s8", bits: 8, signed: true }];

const INTEGRAL: [(&str, To); 4] =
    [("rni", To::Nearest), ("rzi", To::Zero), ("rmi", To::Down), ("rpi", To::Up)];

fn ints() -> impl Iterator<Item = Int> + Clone {
    BYTES.into_iter().chain(TYPES)
}

/// The register that holds a type; bytes are in 32 bits.
fn register(ty: Int) -> Kind {
    if ty.bits == 8 { Kind::B32 } else { ty.kind() }
}

/// A result of a type in its register: extended as the type says.
fn in_register(ty: Int, value: i128) -> u64 {
    let bits = if ty.bits == 8 { 32 } else { ty.bits };
    let value = ty.number(ty.wrap(value));
    (value & ((1 << bits) - 1)) as u64
}

/// A float type.
#[derive(Clone, Copy)]
struct Float {
    name: &'static str,
    kind: Kind,
}

const FLOATS: [Float; 4] = [
    Float { name: "f16", kind: Kind::F16 },
    Float { name: "bf16", kind: Kind::BF16 },
    Float { name: "f32", kind: Kind::F32 },
    Float { name: "f64", kind: Kind::F64 },
];

impl Float {
    fn format(self) -> Format {
        match self.kind {
            Kind::F16 => F16,
            Kind::BF16 => BF16,
            _ => F32,
        }
    }

    fn decode(self, bits: u64) -> f64 {
        if self.kind == Kind::F64 { f64::from_bits(bits) } else { self.format().decode(bits) }
    }

    /// Rounds a value that `f64` holds.
    fn encode(self, value: f64, to: To) -> Expect {
        match self.kind {
            Kind::F64 if value.is_nan() => Nan64,
            Kind::F64 => Bits(value.to_bits()),
            _ => Bits(self.format().encode(value, to)),
        }
    }
}

/// A whole number near a value.
fn whole(value: f64, to: To) -> f64 {
    match to {
        To::Nearest => value.round_ties_even(),
        To::Zero => value.trunc(),
        To::Down => value.floor(),
        To::Up => value.ceil(),
    }
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    between_integers(&mut all);
    from_integers(&mut all);
    to_integers(&mut all);
    between_floats(&mut all);
    singles(&mut all);
    packs(&mut all);
    all
}

fn between_integers(all: &mut Vec<Check>) {
    for from in ints() {
        for to in ints() {
            all.push(check(
                format!("cvt.{}.{} %d, %a;", to.name, from.name),
                register(to),
                &[register(from)],
                move |[a, ..]| Bits(in_register(to, from.number(a))),
            ));
            all.push(check(
                format!("cvt.sat.{}.{} %d, %a;", to.name, from.name),
                register(to),
                &[register(from)],
                move |[a, ..]| Bits(in_register(to, to.number(to.clamp(from.number(a))))),
            ));
        }
    }
}

fn from_integers(all: &mut Vec<Check>) {
    for from in ints() {
        for to in FLOATS {
            for (rounding, mode) in ROUNDINGS {
                all.push(check(
                    format!("cvt.{rounding}.{}.{} %d, %a;", to.name, from.name),
                    to.kind,
                    &[register(from)],
                    move |[a, ..]| Bits(round_integer(to, from.number(a), mode)),
                ));
            }
        }
    }
    all.push(check("cvt.rn.sat.f32.s32 %d, %a;", Kind::F32, &[Kind::B32], |[a, ..]| {
        Bits(if (a as u32 as i32) >= 1 { 0x3f80_0000 } else { 0 })
    }));
}

/// An integer rounded to a format, bit by bit.
fn round_integer(to: Float, value: i128, mode: To) -> u64 {
    let (fraction, exponent) = match to.kind {
        Kind::F16 => (10, 5),
        Kind::BF16 => (7, 8),
        Kind::F32 => (23, 8),
        _ => (52, 11),
    };
    if value == 0 {
        return 0;
    }
    let sign = if value < 0 { 1_u64 << (fraction + exponent) } else { 0 };
    let magnitude = value.unsigned_abs();
    let length = 128 - magnitude.leading_zeros();
    let drop = length.saturating_sub(fraction + 1);
    let mut kept = magnitude >> drop;
    let rest = magnitude - (kept << drop);
    let half = (1_u128 << drop) / 2;
    let up = match mode {
        To::Nearest => drop > 0 && (rest > half || rest == half && kept & 1 == 1),
        To::Zero => false,
        To::Down => value < 0 && rest > 0,
        To::Up => value > 0 && rest > 0,
    };
    kept += u128::from(up);
    // Aligned so that the hidden bit is where the exponent starts.
    let shift = (fraction + 1).saturating_sub(length);
    let bias = (1_u128 << (exponent - 1)) - 1;
    let encoded = (kept << shift) + ((bias + u128::from(length - 1) - 1) << fraction);
    let infinity = ((1_u128 << exponent) - 1) << fraction;
    if encoded < infinity {
        return sign | encoded as u64;
    }
    let stays = mode == To::Zero || mode == To::Down && value > 0 || mode == To::Up && value < 0;
    sign | if stays { infinity - 1 } else { infinity } as u64
}

fn to_integers(all: &mut Vec<Check>) {
    for from in FLOATS {
        for to in ints() {
            for (rounding, mode) in INTEGRAL {
                let result = move |value: f64| {
                    if value.is_nan() {
                        let zero = from.kind != Kind::F64 && to.bits < 64;
                        return Bits(if zero { 0 } else { in_register(to, 1 << (to.bits - 1)) });
                    }
                    // Saturates; the limits are far within `i128`.
                    Bits(in_register(to, to.number(to.clamp(whole(value, mode) as i128))))
                };
                all.push(check(
                    format!("cvt.{rounding}.{}.{} %d, %a;", to.name, from.name),
                    register(to),
                    &[from.kind],
                    move |[a, ..]| result(from.decode(a)),
                ));
                if from.kind == Kind::F32 {
                    all.push(check(
                        format!("cvt.{rounding}.ftz.{}.f32 %d, %a;", to.name),
                        register(to),
                        &[from.kind],
                        move |[a, ..]| result(F32.decode(flush(F32, a))),
                    ));
                }
            }
        }
    }
}

fn between_floats(all: &mut Vec<Check>) {
    for from in FLOATS {
        for to in FLOATS {
            // Each kind of halves has values that the other one lacks.
            let narrows = to.kind.bits() < from.kind.bits() || to.kind.bits() == 16 && from.kind.bits() == 16;
            if from.name == to.name {
                for (rounding, mode) in INTEGRAL {
                    all.push(check(
                        format!("cvt.{rounding}.{0}.{0} %d, %a;", from.name),
                        from.kind,
                        &[from.kind],
                        move |[a, ..]| to.encode(whole(from.decode(a), mode), To::Nearest),
                    ));
                }
                continue;
            }
            if !narrows {
                all.push(check(
                    format!("cvt.{}.{} %d, %a;", to.name, from.name),
                    to.kind,
                    &[from.kind],
                    move |[a, ..]| to.encode(from.decode(a), To::Nearest),
                ));
                continue;
            }
            for (rounding, mode) in ROUNDINGS {
                all.push(check(
                    format!("cvt.{rounding}.{}.{} %d, %a;", to.name, from.name),
                    to.kind,
                    &[from.kind],
                    move |[a, ..]| to.encode(from.decode(a), mode),
                ));
            }
        }
    }
}

fn singles(all: &mut Vec<Check>) {
    all.push(check("cvt.rn.ftz.f32.f64 %d, %a;", Kind::F32, &[Kind::F64], |[a, ..]| {
        Bits(flush(F32, F32.encode(f64::from_bits(a), To::Nearest)))
    }));
    all.push(check("cvt.ftz.f64.f32 %d, %a;", Kind::F64, &[Kind::F32], |[a, ..]| {
        let value = F32.decode(flush(F32, a));
        if value.is_nan() { Nan64 } else { Bits(value.to_bits()) }
    }));
    all.push(check("cvt.sat.f32.f32 %d, %a;", Kind::F32, &[Kind::F32], |[a, ..]| Bits(saturate(F32, a))));
    all.push(check("cvt.rn.sat.f16.f32 %d, %a;", Kind::F16, &[Kind::F32], |[a, ..]| {
        Bits(saturate(F16, F16.encode(F32.decode(a), To::Nearest)))
    }));
    all.push(check("cvt.sat.f16.f16 %d, %a;", Kind::F16, &[Kind::F16], |[a, ..]| Bits(saturate(F16, a))));
    for (name, format, kind) in [("f16", F16, Kind::F16), ("bf16", BF16, Kind::BF16)] {
        for (rounding, to) in [("rn", To::Nearest), ("rz", To::Zero)] {
            all.push(check(
                format!("cvt.{rounding}.satfinite.{name}.f32 %d, %a;"),
                kind,
                &[Kind::F32],
                move |[a, ..]| {
                    let result = format.encode(F32.decode(a), to);
                    Bits(result - u64::from(result & (format.sign() - 1) == format.infinity()))
                },
            ));
        }
    }
    all.push(check("cvt.rn.sat.f32.f64 %d, %a;", Kind::F32, &[Kind::F64], |[a, ..]| {
        Bits(saturate(F32, F32.encode(f64::from_bits(a), To::Nearest)))
    }));
    all.push(check("cvt.rni.ftz.f32.f32 %d, %a;", Kind::F32, &[Kind::F32], |[a, ..]| {
        Bits(F32.encode(F32.decode(flush(F32, a)).round_ties_even(), To::Nearest))
    }));
    for (name, format, kind) in [("f16", F16, Kind::F16), ("bf16", BF16, Kind::BF16)] {
        for (rounding, to) in [("rn", To::Nearest), ("rz", To::Zero)] {
            all.push(check(
                format!("cvt.{rounding}.relu.{name}.f32 %d, %a;"),
                kind,
                &[Kind::F32],
                move |[a, ..]| {
                    let result = format.encode(F32.decode(a), to);
                    Bits(if result & format.sign() == 0 || result == format.nan() { result } else { 0 })
                },
            ));
        }
    }
    all.push(check("cvt.rna.tf32.f32 %d, %a;", Kind::F32, &[Kind::F32], |[a, ..]| {
        let value = F32.decode(a);
        if value.is_nan() {
            return Bits(0x7fff_ffff);
        }
        // Ties away from zero: one more than the truncated if the next bit is set.
        let truncated = TF32.encode(value, To::Zero);
        let up = value.is_finite() && a >> 12 & 1 == 1;
        Bits((truncated + u64::from(up)) << 13)
    }));
}

fn packs(all: &mut Vec<Check>) {
    for (name, format, kind) in [("f16x2", F16, Kind::F16x2), ("bf16x2", BF16, Kind::BF16x2)] {
        for (rounding, to) in [("rn", To::Nearest), ("rz", To::Zero)] {
            all.push(check(
                format!("cvt.{rounding}.{name}.f32 %d, %a, %b;"),
                kind,
                &[Kind::F32; 2],
                move |[a, b, ..]| {
                    let half = |bits: u64| format.encode(F32.decode(bits), to);
                    Bits(half(a) << 16 | half(b))
                },
            ));
            all.push(check(
                format!("cvt.{rounding}.relu.{name}.f32 %d, %a, %b;"),
                kind,
                &[Kind::F32; 2],
                move |[a, b, ..]| {
                    let half = |bits: u64| {
                        let result = format.encode(F32.decode(bits), to);
                        if result & format.sign() == 0 || result == format.nan() { result } else { 0 }
                    };
                    Bits(half(a) << 16 | half(b))
                },
            ));
        }
    }
    for ty in [TYPES[0], TYPES[1]] {
        all.push(check(
            format!("cvt.pack.sat.{}.s32 %d, %a, %b;", ty.name),
            Kind::B32,
            &[Kind::B32; 2],
            move |[a, b, ..]| {
                let part = |bits: u64| ty.clamp(TYPES[3].number(bits));
                Bits(part(a) << 16 | part(b))
            },
        ));
    }
    let small = |name, bits, signed| Int { name, bits, signed };
    let nibbles = [small("u4", 4, false), small("s4", 4, true), small("u2", 2, false), small("s2", 2, true)];
    for ty in BYTES.into_iter().chain(nibbles) {
        all.push(check(
            format!("cvt.pack.sat.{}.s32.b32 %d, %a, %b, %c;", ty.name),
            Kind::B32,
            &[Kind::B32; 3],
            move |[a, b, c, _]| {
                let part = |bits: u64| ty.clamp(TYPES[3].number(bits));
                Bits((c << (2 * ty.bits) | part(a) << ty.bits | part(b)) & 0xffff_ffff)
            },
        ));
    }
}
