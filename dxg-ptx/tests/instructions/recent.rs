//! Forms that only newer devices have: three operands, pairs of singles, `.relu` of integers.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::TYPES;
use crate::reference::BF16;
use crate::reference::F16;
use crate::reference::F32;
use crate::reference::Op;
use crate::reference::flush;
use crate::reference::rounded;
use crate::support::number::To;

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    relu(&mut all);
    three(&mut all);
    pairs(&mut all);
    halves(&mut all);
    all
}

fn relu(all: &mut Vec<Check>) {
    let int = TYPES[3];
    let half = TYPES[1];
    for (op, greater) in [("min", false), ("max", true)] {
        let choose = move |a: i128, b: i128| if greater { a.max(b) } else { a.min(b) };
        all.push(check(
            format!("{op}.relu.s32 %d, %a, %b;"),
            Kind::B32,
            &[Kind::B32; 2],
            move |[a, b, ..]| Bits(int.wrap(choose(int.number(a), int.number(b)).max(0))),
        ));
        all.push(check(
            format!("{op}.relu.s16x2 %d, %a, %b;"),
            Kind::B32,
            &[Kind::B32; 2],
            move |[a, b, ..]| {
                let lane =
                    |shift: u32| half.wrap(choose(half.number(a >> shift), half.number(b >> shift)).max(0));
                Bits(lane(0) | lane(16) << 16)
            },
        ));
    }
}

/// The least or greatest of numbers; NaN only if all are.
fn extreme(values: &[u64], greater: bool) -> u64 {
    let numbers = values.iter().copied().filter(|&bits| !F32.decode(bits).is_nan());
    let key = |bits: u64| {
        let value = F32.decode(bits);
        // -0 before +0.
        (value, u32::from(!value.is_sign_negative()))
    };
    let better = |a: u64, b: u64| {
        let less = key(a).partial_cmp(&key(b)).is_some_and(std::cmp::Ordering::is_lt);
        if less == greater { b } else { a }
    };
    numbers.reduce(better).unwrap_or(0x7fff_ffff)
}

fn three(all: &mut Vec<Check>) {
    for (op, greater) in [("min", false), ("max", true)] {
        all.push(check(
            format!("{op}.f32 %d, %a, %b, %c;"),
            Kind::F32,
            &[Kind::F32; 3],
            move |[a, b, c, _]| Bits(extreme(&[a, b, c], greater)),
        ));
        all.push(check(
            format!("{op}.NaN.f32 %d, %a, %b, %c;"),
            Kind::F32,
            &[Kind::F32; 3],
            move |[a, b, c, _]| {
                let is_nan = [a, b, c].iter().any(|&bits| F32.decode(bits).is_nan());
                Bits(if is_nan { 0x7fff_ffff } else { extreme(&[a, b, c], greater) })
            },
        ));
    }
}

fn pairs(all: &mut Vec<Check>) {
    for (name, op) in [("add", Op::Add), ("sub", Op::Sub), ("mul", Op::Mul), ("fma", Op::Fma)] {
        let (text, count) = if op == Op::Fma { ("%a, %b, %c", 3) } else { ("%a, %b", 2) };
        for (rounding, to) in crate::float::ROUNDINGS {
            for (ftz, flushes) in [("", false), (".ftz", true)] {
                all.push(check(
                    format!("{name}.{rounding}{ftz}.f32x2 %d, {text};"),
                    Kind::F32x2,
                    &[Kind::F32x2; 3][..count],
                    move |[a, b, c, _]| {
                        let lane = |shift: u32| {
                            let read = |word: u64| {
                                let bits = word >> shift & 0xffff_ffff;
                                if flushes { flush(F32, bits) } else { bits }
                            };
                            let result = rounded(F32, op, [a, b, c].map(read), to);
                            if flushes { flush(F32, result) } else { result }
                        };
                        Bits(lane(0) | lane(32) << 32)
                    },
                ));
            }
        }
    }
}

fn halves(all: &mut Vec<Check>) {
    for (ty, kind, format) in [("f16x2", Kind::F16x2, F16), ("bf16x2", Kind::BF16x2, BF16)] {
        let ex2 = if ty == "f16x2" { "ex2.approx" } else { "ex2.approx.ftz" };
        for (name, function) in [("tanh.approx", f64::tanh as fn(f64) -> f64), (ex2, f64::exp2)] {
            let flushes = name.ends_with("ftz");
            all.push(check(format!("{name}.{ty} %d, %a;"), kind, &[kind], move |[a, ..]| {
                let lane = |shift: u32| {
                    let bits = a >> shift & 0xffff;
                    let bits = if flushes { flush(format, bits) } else { bits };
                    let result = format.encode(function(format.decode(bits)), To::Nearest);
                    if flushes { flush(format, result) } else { result }
                };
                Bits(lane(0) | lane(16) << 16)
            }));
        }
        all.push(check(
            format!("fma.rn.relu.{ty} %d, %a, %b, %c;"),
            kind,
            &[kind; 3],
            move |[a, b, c, _]| {
                let lane = |shift: u32| {
                    let operands = [a, b, c].map(|word| word >> shift & 0xffff);
                    let result = rounded(format, Op::Fma, operands, To::Nearest);
                    if result & format.sign() != 0 && result != format.nan() { 0 } else { result }
                };
                Bits(lane(0) | lane(16) << 16)
            },
        ));
    }
}
