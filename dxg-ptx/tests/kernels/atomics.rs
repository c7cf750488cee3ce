//! Atomic operations, one at a time against their definition, and many at once.

use super::kernel::Kernel;
use crate::support::program::Make;

/// Runs an operation in one thread on memory that holds `old`; the new memory and what the operation returned.
fn once(make: Make<'_>, operation: &str, [old, b, c]: [u32; 3], space: &str) -> [u32; 2] {
    let body = match space {
        "shared" => format!(
            ".shared .align 8 .b8 s[8];\nmov.u32 %r4, s;\nld.global.u32 %r1, [%data];\nst.shared.u32 [%r4], %r1;\n\
             ld.global.u32 %r2, [%data+4];\nld.global.u32 %r3, [%data+8];\n{}\nst.global.u32 [%out], %r5;\n\
             ld.shared.u32 %r6, [%r4];\nst.global.u32 [%data], %r6;",
            operation.replace("MEM", "[%r4]").replace("SPACE", ".shared")
        ),
        _ => format!(
            "ld.global.u32 %r2, [%data+4];\nld.global.u32 %r3, [%data+8];\n{}\nst.global.u32 [%out], %r5;",
            operation.replace("MEM", "[%data]").replace("SPACE", space)
        ),
    };
    let left = Kernel { body: &body, data: vec![old, b, c], block: 1, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    [left.data[0], left.out[0]]
}

type Change = fn(u32, u32, u32) -> u32;

fn float(f: fn(f32, f32) -> f32, a: u32, b: u32) -> u32 {
    f(f32::from_bits(a), f32::from_bits(b)).to_bits()
}

fn each_operation_changes_memory_as_defined(make: Make<'_>) {
    let operations: [(&str, Change); 14] = [
        ("atomSPACE.add.u32 %r5, MEM, %r2;", |old, b, _| old.wrapping_add(b)),
        ("atomSPACE.min.u32 %r5, MEM, %r2;", |old, b, _| old.min(b)),
        ("atomSPACE.max.u32 %r5, MEM, %r2;", |old, b, _| old.max(b)),
        ("atomSPACE.min.s32 %r5, MEM, %r2;", |old, b, _| (old as i32).min(b as i32) as u32),
        ("atomSPACE.max.s32 %r5, MEM, %r2;", |old, b, _| (old as i32).max(b as i32) as u32),
        ("atomSPACE.and.b32 %r5, MEM, %r2;", |old, b, _| old & b),
        ("atomSPACE.or.b32 %r5, MEM, %r2;", |old, b, _| old | b),
        ("atomSPACE.xor.b32 %r5, MEM, %r2;", |old, b, _| old ^ b),
        ("atomSPACE.exch.b32 %r5, MEM, %r2;", |_, b, _| b),
        ("atomSPACE.cas.b32 %r5, MEM, %r2, %r3;", |old, b, c| if old == b { c } else { old }),
        ("atomSPACE.inc.u32 %r5, MEM, %r2;", |old, b, _| if old >= b { 0 } else { old + 1 }),
        ("atomSPACE.dec.u32 %r5, MEM, %r2;", |old, b, _| if old == 0 || old > b { b } else { old - 1 }),
        ("atom.acq_rel.gpuSPACE.add.u32 %r5, MEM, %r2;", |old, b, _| old.wrapping_add(b)),
        ("mov.b32 %f1, %r2;\natomSPACE.add.f32 %f2, MEM, %f1;\nmov.b32 %r5, %f2;", |old, b, _| {
            float(|a, b| a + b, old, b)
        }),
    ];
    let operands = [
        [0, 0, 1],
        [5, 7, 9],
        [7, 7, 3],
        [0x8000_0000, 1, 2],
        [u32::MAX, u32::MAX, 0],
        [0x3f80_0000, 0x4000_0000, 0],
        [9, 4, 1],
    ];
    for (operation, change) in operations {
        for space in [".global", "shared", ""] {
            for [old, b, c] in operands {
                if operation.contains("f32") && f32::from_bits(old).is_nan() {
                    continue;
                }
                let want = [change(old, b, c), old];
                assert_eq!(
                    once(make, operation, [old, b, c], space),
                    want,
                    "{operation} {space} {old:#x} {b:#x} {c:#x}"
                );
            }
        }
    }
}

fn atomics_of_all_threads_add_up(make: Make<'_>) {
    let body = "atom.global.add.u32 %r1, [%data], 1;\nred.global.add.u64 [%data+8], 3;\n\
                mov.f32 %f1, 0f3F800000;\nred.global.add.f32 [%data+16], %f1;\nred.global.max.u32 [%data+20], %g;\n\
                red.global.xor.b32 [%data+24], %g;\nred.global.inc.u32 [%data+28], 99;";
    let left = Kernel { body, data: vec![0; 16], grid: 16, block: 128, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    let xor = (0..2048).fold(0, |a, b| a ^ b);
    let want = [2048, 0, 6144, 0, 2048.0_f32.to_bits(), 2047, xor, 2048 % 100];
    assert_eq!(left.data[..8], want);
}

fn small_and_large_operands_are_atomic_too(make: Make<'_>) {
    let body = "mov.b16 %h1, 0x3c00;\natom.global.add.noftz.f16 %h2, [%data], %h1;\n\
                mov.b32 %r1, 0x3c003c00;\natom.global.add.noftz.f16x2 %r2, [%data+4], %r1;\n\
                LOOP:\nld.volatile.global.u64 %rd1, [%data+8];\nadd.u64 %rd2, %rd1, 0x100000001;\n\
                atom.global.cas.b64 %rd3, [%data+8], %rd1, %rd2;\nsetp.ne.u64 %p1, %rd3, %rd1;\n@%p1 bra LOOP;\n\
                mov.f64 %rd4, 0d3FF0000000000000;\nred.global.add.f64 [%data+16], %rd4;";
    let left = Kernel { body, data: vec![0; 16], grid: 4, block: 64, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    // 256.0 in halves is 0x5c00.
    let sum = 256.0_f64.to_bits();
    assert_eq!(left.data[..6], [0x5c00, 0x5c00_5c00, 256, 256, sum as u32, (sum >> 32) as u32]);
}

fn lock_of_a_spin_loop_excludes_others(make: Make<'_>) {
    // A counter that is not atomic, guarded by a lock; the lock is taken in a loop by lanes of one warp.
    let body = "mov.u32 %r5, 0;\nTRY:\natom.global.cas.b32 %r1, [%data], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra TRY;\n\
                fence.acq_rel.gpu;\nld.volatile.global.u32 %r2, [%data+4];\nadd.u32 %r2, %r2, 1;\n\
                st.volatile.global.u32 [%data+4], %r2;\nfence.acq_rel.gpu;\natom.global.exch.b32 %r3, [%data], 0;";
    let left = Kernel { body, data: vec![0; 4], grid: 4, block: 64, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    assert_eq!(left.data[..2], [0, 256]);
}

crate::for_each_executor!(
    each_operation_changes_memory_as_defined,
    atomics_of_all_threads_add_up,
    small_and_large_operands_are_atomic_too,
    lock_of_a_spin_loop_excludes_others,
);
