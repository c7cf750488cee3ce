//! Logic, shifts, bit fields, permutations, selections.

use crate::harness::Check;
use crate::harness::Expect::Bits;
use crate::harness::Kind;
use crate::harness::check;
use crate::integer::Int;
use crate::integer::TYPES;

fn mask(bits: u32) -> u64 {
    if bits == 64 { u64::MAX } else { (1 << bits) - 1 }
}

fn kind(bits: u32) -> Kind {
    match bits {
        16 => Kind::B16,
        32 => Kind::B32,
        _ => Kind::B64,
    }
}

fn bit(value: u64, at: u32) -> u64 {
    if at > 63 { 0 } else { value >> at & 1 }
}

pub(crate) fn checks() -> Vec<Check> {
    let mut all = Vec::new();
    logic(&mut all);
    shifts(&mut all);
    fields(&mut all);
    counts(&mut all);
    permutations(&mut all);
    selections(&mut all);
    for (part, shift) in [("lo", 0), ("hi", 64)] {
        all.push(check(
            format!("clmad.{part}.u64 %d, %a, %b, %c;"),
            Kind::B64,
            &[Kind::B64; 3],
            move |[a, b, c, _]| {
                let product =
                    (0..64).fold(
                        0_u128,
                        |sum, bit| {
                            if a >> bit & 1 == 1 { sum ^ (u128::from(b) << bit) } else { sum }
                        },
                    );
                Bits((product >> shift) as u64 ^ c)
            },
        ));
    }
    all
}

fn logic(all: &mut Vec<Check>) {
    for bits in [16, 32, 64] {
        let kind = kind(bits);
        all.push(check(format!("and.b{bits} %d, %a, %b;"), kind, &[kind; 2], |[a, b, ..]| Bits(a & b)));
        all.push(check(format!("or.b{bits} %d, %a, %b;"), kind, &[kind; 2], |[a, b, ..]| Bits(a | b)));
        all.push(check(format!("xor.b{bits} %d, %a, %b;"), kind, &[kind; 2], |[a, b, ..]| Bits(a ^ b)));
        all.push(check(format!("not.b{bits} %d, %a;"), kind, &[kind], move |[a, ..]| Bits(!a & mask(bits))));
        all.push(check(format!("cnot.b{bits} %d, %a;"), kind, &[kind], |[a, ..]| Bits(u64::from(a == 0))));
        all.push(check(format!("mov.b{bits} %d, %a;"), kind, &[kind], |[a, ..]| Bits(a)));
    }
    let pred = Kind::Pred;
    all.push(check("and.pred %d, %a, %b;", pred, &[pred; 2], |[a, b, ..]| Bits(a & b)));
    all.push(check("or.pred %d, %a, %b;", pred, &[pred; 2], |[a, b, ..]| Bits(a | b)));
    all.push(check("xor.pred %d, %a, %b;", pred, &[pred; 2], |[a, b, ..]| Bits(a ^ b)));
    all.push(check("not.pred %d, %a;", pred, &[pred], |[a, ..]| Bits(1 - a)));
    for table in [0_u32, 0xff, 0x80, 0xfe, 0x96, 0xca, 0xd8, 0x1b, 0x6a, 0x3c, 0x40, 0x0f] {
        all.push(check(
            format!("lop3.b32 %d, %a, %b, %c, {table:#x};"),
            Kind::B32,
            &[Kind::B32; 3],
            move |[a, b, c, _]| {
                Bits((0..32).fold(0, |word, at| {
                    let index = bit(a, at) << 2 | bit(b, at) << 1 | bit(c, at);
                    word | u64::from(table >> index & 1) << at
                }))
            },
        ));
    }
}

fn shifts(all: &mut Vec<Check>) {
    for bits in [16, 32, 64] {
        let kind = kind(bits);
        all.push(check(format!("shl.b{bits} %d, %a, %b;"), kind, &[kind, Kind::Count], move |[a, b, ..]| {
            let wide = u128::from(a) << b.min(64);
            Bits(wide as u64 & mask(bits))
        }));
        all.push(check(format!("shr.b{bits} %d, %a, %b;"), kind, &[kind, Kind::Count], |[a, b, ..]| {
            Bits((u128::from(a) >> b.min(64)) as u64)
        }));
    }
    for ty in TYPES {
        all.push(check(
            format!("shr.{} %d, %a, %b;", ty.name),
            ty.kind(),
            &[ty.kind(), Kind::Count],
            move |[a, b, ..]| Bits(ty.wrap(ty.number(a) >> b.min(100))),
        ));
    }
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        let amount = move |c: u64| if clamp { c.min(32) } else { c % 32 };
        all.push(check(
            format!("shf.l.{mode}.b32 %d, %a, %b, %c;"),
            Kind::B32,
            &[Kind::B32, Kind::B32, Kind::Count],
            move |[a, b, c, _]| Bits(((b << 32 | a) << amount(c) >> 32) & 0xffff_ffff),
        ));
        all.push(check(
            format!("shf.r.{mode}.b32 %d, %a, %b, %c;"),
            Kind::B32,
            &[Kind::B32, Kind::B32, Kind::Count],
            move |[a, b, c, _]| Bits(((b << 32 | a) >> amount(c)) & 0xffff_ffff),
        ));
    }
}

fn fields(all: &mut Vec<Check>) {
    for ty in &TYPES[2..] {
        let ty = *ty;
        // Bit by bit, as the definition is written.
        let extract = move |a: u64, b: u64, c: u64| {
            let (position, length) = ((b & 0xff) as u32, (c & 0xff) as u32);
            let sign =
                if ty.signed && length > 0 { bit(a, (position + length - 1).min(ty.bits - 1)) } else { 0 };
            (0..ty.bits).fold(0, |word, at| {
                let value = if at < length && position + at < ty.bits { bit(a, position + at) } else { sign };
                word | value << at
            })
        };
        all.push(check(
            format!("bfe.{} %d, %a, %b, %c;", ty.name),
            ty.kind(),
            &[ty.kind(), Kind::Count, Kind::Count],
            move |[a, b, c, _]| Bits(extract(a, b, c)),
        ));
    }
    for bits in [32, 64] {
        let kind = kind(bits);
        all.push(check(
            format!("bfi.b{bits} %d, %a, %b, %c, %e;"),
            kind,
            &[kind, kind, Kind::Count, Kind::Count],
            move |[a, b, c, e]| {
                let (position, length) = ((c & 0xff) as u32, (e & 0xff) as u32);
                Bits(
                    (0..length.min(bits))
                        .filter(|at| position + at < bits)
                        .fold(b, |word, at| word & !(1 << (position + at)) | bit(a, at) << (position + at)),
                )
            },
        ));
    }
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        all.push(check(
            format!("bmsk.{mode}.b32 %d, %a, %b;"),
            Kind::B32,
            &[Kind::Count; 2],
            move |[a, b, ..]| {
                let (position, width) = if clamp { (a.min(32), b.min(32)) } else { (a % 32, b % 32) };
                Bits((((1_u128 << width) - 1) << position) as u64 & 0xffff_ffff)
            },
        ));
        for ty in &TYPES[2..4] {
            let ty = *ty;
            all.push(check(
                format!("szext.{mode}.{} %d, %a, %b;", ty.name),
                Kind::B32,
                &[Kind::B32, Kind::Count],
                move |[a, b, ..]| {
                    let count = if clamp { b.min(32) } else { b % 32 } as u32;
                    if count == 0 {
                        return Bits(0);
                    }
                    let narrow = Int { bits: count, ..ty };
                    Bits(ty.wrap(narrow.number(a)))
                },
            ));
        }
    }
}

fn counts(all: &mut Vec<Check>) {
    for bits in [32, 64] {
        let kind = kind(bits);
        all.push(check(format!("popc.b{bits} %d, %a;"), Kind::B32, &[kind], |[a, ..]| {
            Bits((0..64).map(|at| bit(a, at)).sum())
        }));
        all.push(check(format!("clz.b{bits} %d, %a;"), Kind::B32, &[kind], move |[a, ..]| {
            Bits((0..bits).rev().take_while(|&at| bit(a, at) == 0).count() as u64)
        }));
        all.push(check(format!("brev.b{bits} %d, %a;"), kind, &[kind], move |[a, ..]| {
            Bits((0..bits).fold(0, |word, at| word | bit(a, at) << (bits - 1 - at)))
        }));
    }
    for ty in &TYPES[2..] {
        let ty = *ty;
        let find = move |a: u64| {
            let negative = ty.signed && ty.number(a) < 0;
            (0..ty.bits).rev().find(|&at| bit(a, at) != u64::from(negative))
        };
        all.push(check(format!("bfind.{} %d, %a;", ty.name), Kind::B32, &[ty.kind()], move |[a, ..]| {
            Bits(find(a).map_or(0xffff_ffff, u64::from))
        }));
        all.push(check(
            format!("bfind.shiftamt.{} %d, %a;", ty.name),
            Kind::B32,
            &[ty.kind()],
            move |[a, ..]| Bits(find(a).map_or(0xffff_ffff, |at| u64::from(ty.bits - 1 - at))),
        ));
    }
    all.push(check(
        "and.b32 %b, %b, 31;\nsub.s32 %c, %c, 20;\nfns.b32 %d, %a, %b, %c;",
        Kind::B32,
        &[Kind::B32, Kind::Small, Kind::Small],
        |[a, b, c, _]| {
            let base = (b & 31) as i64;
            let offset = i64::from(c as u32 as i32) - 20;
            if !(-64..=1 << 20).contains(&offset) {
                return Bits(0xffff_ffff);
            }
            let set = |at: i64| (0..32).contains(&at) && a >> at & 1 == 1;
            if offset == 0 {
                return Bits(if set(base) { base as u64 } else { 0xffff_ffff });
            }
            let step = offset.signum();
            let mut left = offset.abs();
            let mut at = base;
            while (0..32).contains(&at) {
                if set(at) {
                    left -= 1;
                    if left == 0 {
                        return Bits(at as u64);
                    }
                }
                at += step;
            }
            Bits(0xffff_ffff)
        },
    ));
}

fn permutations(all: &mut Vec<Check>) {
    let bytes = |a: u64, b: u64| {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(a as u32).to_le_bytes());
        bytes[4..].copy_from_slice(&(b as u32).to_le_bytes());
        bytes
    };
    all.push(check("prmt.b32 %d, %a, %b, %c;", Kind::B32, &[Kind::B32; 3], move |[a, b, c, _]| {
        let bytes = bytes(a, b);
        let chosen = [0, 1, 2, 3].map(|at| {
            let selector = c >> (4 * at) & 15;
            let byte = bytes[(selector & 7) as usize];
            if selector & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
        });
        Bits(u64::from(u32::from_le_bytes(chosen)))
    }));
    // Rows: the selector; columns: the bytes of the result from the lowest.
    let modes: [(&str, [[usize; 4]; 4]); 6] = [
        ("f4e", [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]]),
        ("b4e", [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]]),
        ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecl", [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]]),
        ("rc16", [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]]),
    ];
    for (mode, rows) in modes {
        all.push(check(
            format!("prmt.b32.{mode} %d, %a, %b, %c;"),
            Kind::B32,
            &[Kind::B32, Kind::B32, Kind::Small],
            move |[a, b, c, _]| {
                let bytes = bytes(a, b);
                Bits(u64::from(u32::from_le_bytes(rows[(c & 3) as usize].map(|at| bytes[at]))))
            },
        ));
    }
}

fn selections(all: &mut Vec<Check>) {
    for bits in [16, 32, 64] {
        let kind = kind(bits);
        all.push(check(
            format!("selp.b{bits} %d, %a, %b, %c;"),
            kind,
            &[kind, kind, Kind::Pred],
            |[a, b, c, _]| Bits(if c == 1 { a } else { b }),
        ));
        all.push(check(
            format!("slct.b{bits}.s32 %d, %a, %b, %c;"),
            kind,
            &[kind, kind, Kind::B32],
            |[a, b, c, _]| Bits(if (c as u32 as i32) >= 0 { a } else { b }),
        ));
        for (ftz, flushes) in [("", false), (".ftz", true)] {
            all.push(check(
                format!("slct{ftz}.b{bits}.f32 %d, %a, %b, %c;"),
                kind,
                &[kind, kind, Kind::F32],
                move |[a, b, c, _]| {
                    let c = f32::from_bits(c as u32);
                    let c = if flushes && c.is_subnormal() { 0.0 } else { c };
                    Bits(if c >= 0.0 { a } else { b })
                },
            ));
        }
    }
}
