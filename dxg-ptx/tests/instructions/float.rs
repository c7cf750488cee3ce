//! Floating-point arithmetic in all roundings, and approximations.

use crate::harness::Check;
use crate::harness::Expect;
use crate::harness::Expect::Bits;
use crate::harness::Expect::Nan64;
use crate::harness::Expect::Near32;
use crate::harness::Expect::Near64;
use crate::harness::Kind;
use crate::harness::check;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::F32;
use crate::reference::Op;
use crate::reference::flush;
use crate::reference::rounded;
use crate::reference::saturate;
use crate::reference::two_sum;
use crate::support::number::To;

pub(crate) const ROUNDINGS: [(&str, To); 4] =
    [("rn", To::Nearest), ("rz", To::Zero), ("rm", To::Down), ("rp", To::Up)];

const OPERANDS: [&str; 4] = ["", "%a", "%a, %b", "%a, %b, %c"];

fn arity(op: Op) -> usize {
    match op {
        Op::Rcp | Op::Sqrt => 1,
        Op::Fma => 3,
        Op::Add | Op::Sub | Op::Mul | Op::Div => 2,
    }
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    singles(&mut all);
    halves(&mut all);
    doubles(&mut all);
    signs(&mut all);
    approximations(&mut all);
    all
}

fn singles(all: &mut Vec<Check>) {
    let operations = [
        ("add", Op::Add, true),
        ("sub", Op::Sub, true),
        ("mul", Op::Mul, true),
        ("fma", Op::Fma, true),
        ("mad", Op::Fma, true),
        ("div", Op::Div, false),
        ("rcp", Op::Rcp, false),
        ("sqrt", Op::Sqrt, false),
    ];
    for (name, op, can_saturate) in operations {
        for (rounding, to) in ROUNDINGS {
            for ftz in [false, true] {
                for sat in [false, true] {
                    if sat && !can_saturate {
                        continue;
                    }
                    let flag = |on: bool, text: &'static str| if on { text } else { "" };
                    let (ftz_text, sat_text) = (flag(ftz, ".ftz"), flag(sat, ".sat"));
                    let count = arity(op);
                    all.push(check(
                        format!("{name}.{rounding}{ftz_text}{sat_text}.f32 %d, {};", OPERANDS[count]),
                        Kind::F32,
                        &[Kind::F32; 3][..count],
                        move |[a, b, c, _]| {
                            let read = |bits: u64| if ftz { flush(F32, bits) } else { bits };
                            let result = rounded(F32, op, [a, b, c].map(read), to);
                            let result = if ftz { flush(F32, result) } else { result };
                            Bits(if sat { saturate(F32, result) } else { result })
                        },
                    ));
                }
            }
        }
    }
}

fn halves(all: &mut Vec<Check>) {
    for (name, op) in [("add", Op::Add), ("sub", Op::Sub), ("mul", Op::Mul), ("fma", Op::Fma)] {
        let count = arity(op);
        for (ty, kind, format) in [("f16", Kind::F16, F16), ("bf16", Kind::BF16, BF16)] {
            all.push(check(
                format!("{name}.rn.{ty} %d, {};", OPERANDS[count]),
                kind,
                &[kind; 3][..count],
                move |[a, b, c, _]| Bits(rounded(format, op, [a, b, c], To::Nearest)),
            ));
            if op == Op::Fma {
                all.push(check(
                    format!("fma.rn.relu.{ty} %d, %a, %b, %c;"),
                    kind,
                    &[kind; 3],
                    move |[a, b, c, _]| {
                        let result = rounded(format, op, [a, b, c], To::Nearest);
                        let is_negative = result & format.sign() != 0;
                        Bits(if is_negative && result != format.nan() { 0 } else { result })
                    },
                ));
            }
        }
        for (suffix, ftz, sat) in [(".ftz", true, false), (".sat", false, true), (".ftz.sat", true, true)] {
            all.push(check(
                format!("{name}.rn{suffix}.f16 %d, {};", OPERANDS[count]),
                Kind::F16,
                &[Kind::F16; 3][..count],
                move |[a, b, c, _]| {
                    let read = |bits: u64| if ftz { flush(F16, bits) } else { bits };
                    let result = read(rounded(F16, op, [a, b, c].map(read), To::Nearest));
                    Bits(if sat { saturate(F16, result) } else { result })
                },
            ));
        }
    }
}

/// Rounds `high + low` in `f64`, `high` being the nearest.
fn directed(high: f64, low: f64, to: To) -> f64 {
    if !high.is_finite() || low == 0.0 {
        return high;
    }
    match to {
        To::Down if low < 0.0 => high.next_down(),
        To::Up if low > 0.0 => high.next_up(),
        To::Zero if (low < 0.0) == (high > 0.0) => {
            if high > 0.0 {
                high.next_down()
            } else {
                high.next_up()
            }
        }
        _ => high,
    }
}

fn doubles(all: &mut Vec<Check>) {
    for (rounding, to) in ROUNDINGS {
        let finish = move |high: f64, low: f64, is_safe: bool| -> Expect {
            match () {
                () if high.is_nan() => Nan64,
                () if to == To::Nearest => Bits(high.to_bits()),
                // Where the error itself is not exact, or the nearest is infinite.
                () if !is_safe => Expect::Any,
                () => Bits(directed(high, low, to).to_bits()),
            }
        };
        let is_medium = |x: f64| x == 0.0 || (1e-130..1e130).contains(&x.abs());
        for (name, sign) in [("add", 1.0), ("sub", -1.0)] {
            all.push(check(
                format!("{name}.{rounding}.f64 %d, %a, %b;"),
                Kind::F64,
                &[Kind::F64; 2],
                move |[a, b, ..]| {
                    let (a, b) = (f64::from_bits(a), sign * f64::from_bits(b));
                    let (high, low) = two_sum(a, b);
                    let is_safe = high.abs() < 1e300 && low.is_finite() && (high != 0.0 || to != To::Down);
                    finish(high, low, is_safe || a.is_infinite() || b.is_infinite())
                },
            ));
        }
        all.push(check(
            format!("mul.{rounding}.f64 %d, %a, %b;"),
            Kind::F64,
            &[Kind::F64; 2],
            move |[a, b, ..]| {
                let (a, b) = (f64::from_bits(a), f64::from_bits(b));
                finish(a * b, a.mul_add(b, -(a * b)), is_medium(a) && is_medium(b))
            },
        ));
        all.push(check(
            format!("div.{rounding}.f64 %d, %a, %b;"),
            Kind::F64,
            &[Kind::F64; 2],
            move |[a, b, ..]| {
                let (a, b) = (f64::from_bits(a), f64::from_bits(b));
                let rest = (-(a / b)).mul_add(b, a);
                finish(a / b, rest / b, is_medium(a) && is_medium(b) && b != 0.0)
            },
        ));
        all.push(check(format!("rcp.{rounding}.f64 %d, %a;"), Kind::F64, &[Kind::F64], move |[a, ..]| {
            let a = f64::from_bits(a);
            finish(a.recip(), (-a.recip()).mul_add(a, 1.0) / a, is_medium(a) && a != 0.0)
        }));
        all.push(check(format!("sqrt.{rounding}.f64 %d, %a;"), Kind::F64, &[Kind::F64], move |[a, ..]| {
            let a = f64::from_bits(a);
            finish(a.sqrt(), (-a.sqrt()).mul_add(a.sqrt(), a), is_medium(a))
        }));
        all.push(check(
            format!("fma.{rounding}.f64 %d, %a, %b, %c;"),
            Kind::F64,
            &[Kind::F64; 3],
            move |[a, b, c, _]| {
                let (a, b, c) = (f64::from_bits(a), f64::from_bits(b), f64::from_bits(c));
                let nearest = a.mul_add(b, c);
                if to == To::Nearest {
                    return finish(nearest, 0.0, true);
                }
                // The exact sum as three parts; only where they do not cancel is the sign of what is cut off certain.
                let (product, rest) = (a * b, a.mul_add(b, -(a * b)));
                let (sum, error) = two_sum(product, c);
                let (tail, tail_error) = two_sum(error, rest);
                let is_safe =
                    is_medium(a) && is_medium(b) && is_medium(c) && tail_error == 0.0 && nearest != 0.0;
                let low = (sum - nearest) + tail;
                let is_exact = sum - nearest == 0.0 || (sum - nearest).abs() >= tail.abs();
                finish(nearest, low, is_safe && is_exact)
            },
        ));
    }
    // Products of numbers with few bits are sums of integers: exact in every rounding.
    for (rounding, to) in ROUNDINGS {
        all.push(check(
            format!(
                "shr.s64 %a, %a, 14;\nshr.s64 %b, %b, 14;\nshr.s64 %c, %c, 2;\n\
                 cvt.rn.f64.s64 %a, %a;\ncvt.rn.f64.s64 %b, %b;\ncvt.rz.f64.s64 %c, %c;\n\
                 fma.{rounding}.f64 %d, %a, %b, %c;"
            ),
            Kind::B64,
            &[Kind::B64; 3],
            move |[a, b, c, _]| {
                let (a, b) = ((a as i64 >> 14) as f64, (b as i64 >> 14) as f64);
                let c = truncate(i128::from(c as i64 >> 2));
                let exact = a as i128 * b as i128 + c as i128;
                // The sign of a zero depends on the product's.
                if exact == 0 && to == To::Down { Expect::Any } else { Bits(round_integer(exact, to)) }
            },
        ));
    }
}

/// An integer as an `f64`, toward zero.
fn truncate(value: i128) -> f64 {
    f64::from_bits(round_integer(value, To::Zero))
}

/// An integer rounded to `f64`, by its bits.
fn round_integer(value: i128, to: To) -> u64 {
    if value == 0 {
        return 0;
    }
    let magnitude = value.unsigned_abs();
    let drop = (128 - magnitude.leading_zeros()).saturating_sub(53);
    let kept = magnitude >> drop;
    let rest = magnitude - (kept << drop);
    let half = (1_u128 << drop) / 2;
    let up = match to {
        To::Nearest => rest > half || rest == half && drop > 0 && kept & 1 == 1,
        To::Zero => false,
        To::Down => value < 0 && rest > 0,
        To::Up => value > 0 && rest > 0,
    };
    // 54 bits at most, of which the lowest is then zero: exact.
    let rounded = (kept + u128::from(up)) as f64 * f64::from(drop).exp2();
    (if value < 0 { -rounded } else { rounded }).to_bits()
}

fn signs(all: &mut Vec<Check>) {
    for (ty, kind) in [("f32", Kind::F32), ("f64", Kind::F64), ("f16", Kind::F16), ("bf16", Kind::BF16)] {
        let sign = 1_u64 << (kind.bits() - 1);
        let is_number = move |bits: u64| match kind {
            Kind::F64 => !f64::from_bits(bits).is_nan(),
            Kind::F32 => !F32.decode(bits).is_nan(),
            Kind::F16 => !F16.decode(bits).is_nan(),
            _ => !BF16.decode(bits).is_nan(),
        };
        all.push(check(format!("abs.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
            if is_number(a) { Bits(a & !sign) } else { Expect::Any }
        }));
        all.push(check(format!("neg.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
            if is_number(a) { Bits(a ^ sign) } else { Expect::Any }
        }));
    }
    all.push(check("abs.ftz.f32 %d, %a;", Kind::F32, &[Kind::F32], |[a, ..]| {
        if F32.decode(a).is_nan() { Expect::Any } else { Bits(flush(F32, a) & 0x7fff_ffff) }
    }));
    all.push(check("neg.ftz.f32 %d, %a;", Kind::F32, &[Kind::F32], |[a, ..]| {
        if F32.decode(a).is_nan() { Expect::Any } else { Bits(flush(F32, a) ^ 0x8000_0000) }
    }));
}

fn approximations(all: &mut Vec<Check>) {
    type Function = fn(f64) -> f64;
    let ulp = 2.0_f64.powi(-23);
    // The bounds are PTX's.
    let functions: [(&str, Function, f64, f64); 8] = [
        ("rcp.approx", |x| 1.0 / x, ulp, 0.0),
        ("sqrt.approx", f64::sqrt, ulp * 1.5, 0.0),
        ("rsqrt.approx", |x| 1.0 / x.sqrt(), 2.0_f64.powf(-22.4), 0.0),
        ("sin.approx", f64::sin, 0.0, 2.0_f64.powf(-20.5)),
        ("cos.approx", f64::cos, 0.0, 2.0_f64.powf(-20.5)),
        ("lg2.approx", f64::log2, 2.0_f64.powi(-22), 2.0_f64.powi(-22)),
        ("ex2.approx", f64::exp2, 2.0_f64.powi(-22), 0.0),
        ("tanh.approx", f64::tanh, 2.0_f64.powi(-11), 0.0),
    ];
    for (name, function, relative, absolute) in functions {
        for ftz in [false, true] {
            if ftz && name == "tanh.approx" {
                continue;
            }
            let suffix = if ftz { ".ftz" } else { "" };
            all.push(check(
                format!("{name}{suffix}.f32 %d, %a;"),
                Kind::F32,
                &[Kind::F32],
                move |[a, ..]| {
                    let a = if ftz { flush(F32, a) } else { a };
                    let exact = function(F32.decode(a));
                    let is_trigonometric = name.starts_with("sin") || name.starts_with("cos");
                    if is_trigonometric && F32.decode(a).abs() > 100.0 {
                        // No bound is given.
                        return if exact.is_nan() { Bits(0x7fff_ffff) } else { Expect::Any };
                    }
                    if exact.is_nan() {
                        return Bits(0x7fff_ffff);
                    }
                    let value = f64::from(exact as f32);
                    let value = if ftz && value.abs() < f64::from(f32::MIN_POSITIVE) {
                        0.0_f64.copysign(value)
                    } else {
                        value
                    };
                    let least = if ftz { f64::from(f32::MIN_POSITIVE) } else { f64::from(f32::from_bits(2)) };
                    Near32 {
                        value,
                        relative,
                        absolute: if value == 0.0 { absolute } else { absolute.max(least) },
                    }
                },
            ));
        }
    }
    for (name, can_be_zero) in [("approx", true), ("full", false)] {
        for ftz in [false, true] {
            let suffix = if ftz { ".ftz" } else { "" };
            all.push(check(
                format!("div.{name}{suffix}.f32 %d, %a, %b;"),
                Kind::F32,
                &[Kind::F32; 2],
                move |[a, b, ..]| {
                    let read = |bits: u64| if ftz { flush(F32, bits) } else { bits };
                    let (x, y) = (F32.decode(read(a)), F32.decode(read(b)));
                    if can_be_zero && y.is_finite() && y.abs() > 2.0_f64.powi(126) {
                        return if x.is_finite() {
                            Near32 { value: 0.0, relative: 0.0, absolute: f64::from_bits(1) }
                        } else {
                            Bits(0x7fff_ffff)
                        };
                    }
                    if (x / y).is_nan() {
                        return Bits(0x7fff_ffff);
                    }
                    let value = f64::from((x / y) as f32);
                    let least = f64::from(f32::MIN_POSITIVE);
                    let absolute =
                        if ftz && value.abs() <= least { least } else { f64::from(f32::from_bits(2)) };
                    Near32 { value, relative: 2.0 * ulp, absolute }
                },
            ));
        }
    }
    all.push(check("rcp.approx.ftz.f64 %d, %a;", Kind::F64, &[Kind::F64], |[a, ..]| {
        let a = f64::from_bits(a);
        let a = if a.is_subnormal() { 0.0_f64.copysign(a) } else { a };
        match a.recip() {
            value if value.is_nan() => Nan64,
            value if value.is_subnormal() => Bits(0.0_f64.copysign(value).to_bits()),
            value => Near64 { value, relative: 2.0_f64.powi(-20) },
        }
    }));
    for (name, ftz) in [("rsqrt.approx", false), ("rsqrt.approx.ftz", true)] {
        all.push(check(format!("{name}.f64 %d, %a;"), Kind::F64, &[Kind::F64], move |[a, ..]| {
            let a = f64::from_bits(a);
            let a = if ftz && a.is_subnormal() { 0.0_f64.copysign(a) } else { a };
            let value = a.sqrt().recip();
            if value.is_nan() { Nan64 } else { Near64 { value, relative: 2.0_f64.powi(-20) } }
        }));
    }
    halves_approximately(all);
}

fn halves_approximately(all: &mut Vec<Check>) {
    for (ty, kind, format) in [("f16", Kind::F16, F16), ("bf16", Kind::BF16, BF16)] {
        let ex2 = if ty == "f16" { "ex2.approx" } else { "ex2.approx.ftz" };
        for (name, function) in [("tanh.approx", f64::tanh as fn(f64) -> f64), (ex2, f64::exp2)] {
            let flushes = name.ends_with("ftz");
            all.push(check(format!("{name}.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
                let value = function(format.decode(if flushes { flush(format, a) } else { a }));
                // To the nearest, which is within any bound.
                let nearest = format.encode(value, To::Nearest);
                Bits(if flushes && !value.is_nan() { flush(format, nearest) } else { nearest })
            }));
        }
    }
}
