//! What four threads at once must do as one thread does: parting, meeting again, addresses in steps, numbers that wrap, faults.
//!
//! All of it runs on every executor; the ends of blocks that are no multiple of four are part of it.

use dxg_ptx::exec::FaultKind;

use super::kernel::Kernel;
use crate::support::program::Make;

fn lanes_part_and_end_where_each_should(make: Make<'_>) {
    // Collatz: each thread has another number of steps.
    let body = "add.u32 %r1, %g, 1;\nmov.u32 %r2, 0;\nLOOP:\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 bra DONE;\n\
                and.b32 %r3, %r1, 1;\nsetp.eq.u32 %p2, %r3, 0;\n@%p2 bra EVEN;\n\
                mad.lo.u32 %r1, %r1, 3, 1;\nbra NEXT;\nEVEN:\nshr.u32 %r1, %r1, 1;\nNEXT:\nadd.u32 %r2, %r2, 1;\n\
                bra LOOP;\nDONE:\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, grid: 3, block: 54, ..Kernel::default() }.out(make);
    let steps = |start: u32| {
        let (mut value, mut count) = (start, 0);
        while value != 1 {
            value = if value % 2 == 0 { value / 2 } else { 3 * value + 1 };
            count += 1;
        }
        count
    };
    let want: Vec<u32> = (1..=162).map(steps).collect();
    assert_eq!(got[..162], want);
}

fn lanes_that_parted_meet_again_at_a_barrier(make: Make<'_>) {
    // A counter that all threads keep alike is different in each after the first loop, and alike again after the second.
    let body = ".shared .align 4 .b32 s[64];\nand.b32 %r1, %t, 3;\nmov.u32 %r2, 0;\nmov.u32 %r5, 0;\nONE:\n\
                add.u32 %r2, %r2, 1;\nadd.u32 %r5, %r5, %t;\nsetp.le.u32 %p1, %r2, %r1;\n@%p1 bra ONE;\nbar.sync 0;\n\
                mul.wide.u32 %rd1, %t, 4;\nmov.u64 %rd2, s;\nadd.u64 %rd2, %rd2, %rd1;\nTWO:\n\
                add.u32 %r2, %r2, 1;\nsetp.lt.u32 %p2, %r2, 9;\n@%p2 bra TWO;\nst.shared.u32 [%rd2], %r5;\n\
                bar.sync 0;\nxor.b32 %r6, %t, 1;\nmul.wide.u32 %rd1, %r6, 4;\nmov.u64 %rd2, s;\n\
                add.u64 %rd2, %rd2, %rd1;\nld.shared.u32 %r7, [%rd2];\nmad.lo.u32 %r7, %r2, 1000, %r7;\n\
                st.global.u32 [%mine], %r7;";
    let got = Kernel { body, grid: 2, block: 64, ..Kernel::default() }.out(make);
    let sum = |t: u32| t * ((t & 3) + 1);
    let want: Vec<u32> = (0..64).map(|t| 9000 + sum(t ^ 1)).collect();
    assert_eq!([&got[..64], &got[64..128]], [&want[..], &want[..]]);
}

fn addresses_may_run_down_and_skip(make: Make<'_>) {
    // data[3 * (63 - t)] and data[t * 2] as bytes, halves, doubles, pairs.
    let body = "mov.u32 %r1, 63;\nsub.u32 %r1, %r1, %t;\nmul.lo.u32 %r1, %r1, 3;\nmul.wide.u32 %rd1, %r1, 4;\n\
                add.u64 %rd1, %data, %rd1;\nld.global.u32 %r2, [%rd1];\nmul.wide.u32 %rd2, %t, 2;\n\
                add.u64 %rd2, %data, %rd2;\nld.global.u8 %r3, [%rd2+1];\nld.global.u16 %r4, [%rd2];\n\
                mul.wide.u32 %rd3, %t, 8;\nadd.u64 %rd3, %data, %rd3;\nld.global.v2.u32 {%r5, %r6}, [%rd3];\n\
                ld.global.u64 %rd4, [%rd3+8];\nxor.b32 %r2, %r2, %r3;\nadd.u32 %r2, %r2, %r4;\nadd.u32 %r2, %r2, %r5;\n\
                sub.u32 %r2, %r2, %r6;\ncvt.u32.u64 %r7, %rd4;\nadd.u32 %r2, %r2, %r7;\nshr.u64 %rd4, %rd4, 32;\n\
                cvt.u32.u64 %r7, %rd4;\nxor.b32 %r2, %r2, %r7;\nmul.wide.s32 %rd5, %t, -4;\nadd.u64 %rd5, %rd5, %out;\n\
                st.global.u32 [%rd5+252], %r2;";
    let data: Vec<u32> = (0..192_u32).map(|at| at.wrapping_mul(0x9e37_79b9) ^ 0x1234).collect();
    let got = Kernel { body, data: data.clone(), block: 64, ..Kernel::default() }.out(make);
    let byte = |at: usize| data[at / 4] >> (8 * (at % 4)) & 0xff;
    for t in 0..64 {
        let mut want = data[3 * (63 - t)] ^ byte(2 * t + 1);
        want = want.wrapping_add(byte(2 * t) | byte(2 * t + 1) << 8);
        want = want.wrapping_add(data[2 * t]).wrapping_sub(data[2 * t + 1]);
        want = want.wrapping_add(data[2 * t + 2]) ^ data[2 * t + 3];
        assert_eq!(got[63 - t], want, "thread {t}");
    }
}

fn numbers_that_wrap_between_neighbours_do_so_in_each(make: Make<'_>) {
    // Signed and unsigned, up and down, near where 32 bits end: the 64-bit results are those of each thread.
    for (start, step) in [
        (0x7fff_fffd_u32, 1_i32),
        (0x7fff_fff0, 5),
        (0xffff_fffd, 1),
        (0x8000_0001, -1),
        (2, -1),
        (0xffff_ffff, 3),
        (0x8000_0000, -7),
    ] {
        let body = format!(
            "mul.lo.s32 %r1, %t, {step};\nadd.u32 %r1, %r1, {start};\ncvt.s64.s32 %rd1, %r1;\n\
             cvt.u64.u32 %rd2, %r1;\nmul.wide.s32 %rd3, %r1, 3;\nmul.wide.u32 %rd4, %r1, 3;\nxor.b64 %rd1, %rd1, %rd2;\n\
             add.u64 %rd1, %rd1, %rd3;\nxor.b64 %rd1, %rd1, %rd4;\nmul.wide.u32 %rd5, %g, 8;\nadd.u64 %rd5, %out, %rd5;\n\
             st.global.u64 [%rd5], %rd1;"
        );
        let got = Kernel { body: &body, block: 40, ..Kernel::default() }.out(make);
        for t in 0..40_u32 {
            let value = t.wrapping_mul(step.cast_unsigned()).wrapping_add(start);
            let (signed, unsigned) = (i64::from(value.cast_signed()), u64::from(value));
            let mut want = signed.cast_unsigned() ^ unsigned;
            want = want.wrapping_add((signed * 3).cast_unsigned()) ^ (unsigned * 3);
            let at = 2 * t as usize;
            assert_eq!(
                u64::from(got[at]) | u64::from(got[at + 1]) << 32,
                want,
                "{start:#x} {step} thread {t}"
            );
        }
    }
}

fn bits_of_the_thread_number_are_those_of_each(make: Make<'_>) {
    let body = "and.b32 %r1, %t, 31;\nshr.u32 %r2, %t, 5;\nshl.b32 %r3, %r2, 7;\nor.b32 %r4, %r3, %r1;\n\
                bfe.u32 %r5, %t, 1, 3;\nxor.b32 %r6, %t, 64;\nand.b32 %r7, %t, 2;\nshr.u32 %r8, %t, 1;\nor.b32 %r9, %t, 3;\n\
                xor.b32 %r10, %t, 5;\nmov.u32 %r11, %laneid;\nmul.lo.u32 %r4, %r4, 7;\nmad.lo.u32 %r4, %r5, 11, %r4;\n\
                mad.lo.u32 %r4, %r6, 13, %r4;\nmad.lo.u32 %r4, %r7, 17, %r4;\nmad.lo.u32 %r4, %r8, 19, %r4;\n\
                mad.lo.u32 %r4, %r9, 23, %r4;\nmad.lo.u32 %r4, %r10, 29, %r4;\nmad.lo.u32 %r4, %r11, 31, %r4;\n\
                st.global.u32 [%mine], %r4;";
    let got = Kernel { body, block: 160, ..Kernel::default() }.out(make);
    for t in 0..160_u32 {
        let both = (t >> 5 << 7) | t & 31;
        let want = both * 7
            + (t >> 1 & 7) * 11
            + (t ^ 64) * 13
            + (t & 2) * 17
            + (t >> 1) * 19
            + (t | 3) * 23
            + (t ^ 5) * 29
            + (t & 31) * 31;
        assert_eq!(got[t as usize], want, "thread {t}");
    }
}

fn access_beyond_the_end_is_the_fault_of_the_first_thread_beyond(make: Make<'_>) {
    // The arena ends somewhere after `out`; every thread goes a page further, the first beyond the end is at fault.
    let body = "mul.wide.u32 %rd1, %t, 65536;\nadd.u64 %rd1, %rd1, %out;\nst.global.u32 [%rd1], %t;";
    let left = Kernel { body, block: 128, ..Kernel::default() }.run(make);
    let fault = left.outcome.expect_err("the kernel fails");
    let FaultKind::IllegalAddress { address: Some(address) } = fault.kind else {
        panic!("{fault:?}");
    };
    let thread = fault.thread.expect("the thread is known")[0];
    assert!(thread > 0 && thread < 128, "{fault:?}");
    assert_eq!(address % 4, 0);
    let alone = format!("setp.ge.u32 %p1, %t, {thread};\n@%p1 exit;\n{body}");
    Kernel { body: &alone, block: 128, ..Kernel::default() }.out(make);
}

fn last_thread_of_four_alone_misses_its_alignment(make: Make<'_>) {
    let body = "mul.wide.u32 %rd1, %t, 4;\nsetp.eq.u32 %p1, %t, 7;\nselp.u64 %rd2, 2, 0, %p1;\nadd.u64 %rd1, %rd1, %rd2;\n\
                add.u64 %rd1, %rd1, %out;\nst.global.u32 [%rd1], %t;";
    let fault = Kernel { body, ..Kernel::default() }.run(make).outcome.expect_err("the kernel fails");
    assert!(matches!(fault.kind, FaultKind::Misaligned { .. }), "{fault:?}");
    assert_eq!(fault.thread, Some([7, 0, 0]));
}

fn lanes_that_part_keep_their_own_variables(make: Make<'_>) {
    // No barrier: threads share frames one after the other. Each fills its array by its own number, parts, and sums it up.
    let body = ".local .align 4 .b8 l[32];\nmov.u64 %rd1, l;\nmov.u32 %r1, 0;\nFILL:\nmul.wide.u32 %rd2, %r1, 4;\n\
                add.u64 %rd3, %rd1, %rd2;\nmad.lo.u32 %r2, %g, 8, %r1;\nst.local.u32 [%rd3], %r2;\nadd.u32 %r1, %r1, 1;\n\
                setp.lt.u32 %p1, %r1, 8;\n@%p1 bra FILL;\nand.b32 %r3, %t, 7;\nmov.u32 %r4, 0;\nmov.u32 %r1, 0;\nSUM:\n\
                mul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd3, %rd1, %rd2;\ncvta.local.u64 %rd4, %rd3;\nld.u32 %r5, [%rd4];\n\
                add.u32 %r4, %r4, %r5;\nadd.u32 %r1, %r1, 1;\nsetp.le.u32 %p1, %r1, %r3;\n@%p1 bra SUM;\n\
                st.global.u32 [%mine], %r4;";
    let got = Kernel { body, grid: 2, block: 44, ..Kernel::default() }.out(make);
    for block in 0..2 {
        for t in 0..44 {
            let g = block * 44 + t;
            let want: u32 = (0..=t & 7).map(|at| g * 8 + at).sum();
            assert_eq!(got[g as usize], want, "thread {g}");
        }
    }
}

fn threads_that_wait_for_their_neighbour_get_their_turn(make: Make<'_>) {
    // Thread t adds to the sum when all before it have: within four, and from four to four.
    let body = "TRY:\nld.acquire.gpu.global.u32 %r1, [%data];\nsetp.ne.u32 %p1, %r1, %t;\n@%p1 bra TRY;\n\
                ld.volatile.global.u32 %r2, [%data+4];\nmad.lo.u32 %r2, %r2, 3, %t;\nst.volatile.global.u32 [%data+4], %r2;\n\
                fence.acq_rel.gpu;\nadd.u32 %r1, %t, 1;\nst.release.gpu.global.u32 [%data], %r1;\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, data: vec![0, 0], block: 40, ..Kernel::default() }.out(make);
    let mut sum = 0_u32;
    for t in 0..40 {
        sum = sum.wrapping_mul(3).wrapping_add(t);
        assert_eq!(got[t as usize], sum, "thread {t}");
    }
}

fn guards_keep_what_lanes_had(make: Make<'_>) {
    let body = "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 1;\nmov.u32 %r2, 5;\nmov.f32 %f1, 0f40400000;\n\
                @%p1 add.u32 %r2, %r2, %t;\n@!%p1 mul.rn.f32 %f1, %f1, 0f40000000;\nsetp.lt.u32 %p2|%p3, %t, 9;\n\
                @%p2 mov.u32 %r2, 77;\n@%p3 setp.ne.u32 %p1, %r1, 1;\nselp.u32 %r3, 1000, 0, %p1;\nadd.u32 %r2, %r2, %r3;\n\
                cvt.rzi.u32.f32 %r4, %f1;\nmad.lo.u32 %r2, %r4, 10000, %r2;\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, block: 24, ..Kernel::default() }.out(make);
    for t in 0..24_u32 {
        let is_odd = t & 1 == 1;
        let kept = if t < 9 {
            77
        } else if is_odd {
            5 + t
        } else {
            5
        };
        let holds = if t < 9 { is_odd } else { !is_odd };
        let float = if is_odd { 3 } else { 6 };
        assert_eq!(got[t as usize], kept + if holds { 1000 } else { 0 } + float * 10000, "thread {t}");
    }
}

super::for_each_executor!(
    lanes_part_and_end_where_each_should,
    lanes_that_parted_meet_again_at_a_barrier,
    addresses_may_run_down_and_skip,
    numbers_that_wrap_between_neighbours_do_so_in_each,
    bits_of_the_thread_number_are_those_of_each,
    access_beyond_the_end_is_the_fault_of_the_first_thread_beyond,
    last_thread_of_four_alone_misses_its_alignment,
    lanes_that_part_keep_their_own_variables,
    threads_that_wait_for_their_neighbour_get_their_turn,
    guards_keep_what_lanes_had,
);

/// Which kernels get code for four threads: without this the tests above could pass by code for one.
#[test]
fn code_for_four_threads_is_made_where_it_can_be() {
    use std::sync::Arc;

    use dxg_ptx::exec::Placement;
    use dxg_ptx::native::NativeProgram;

    let improves = |outside: &str, body: &str| {
        let text = Kernel { outside, body, ..Kernel::default() }.text();
        let module = dxg_ptx::parse(text.as_bytes(), "kernel").expect("the text is right");
        let entry = module.entry("k").expect("the entry is there");
        let program =
            NativeProgram::new(Arc::new(module), Placement::default()).expect("there is a code generator");
        program.improve(entry)
    };
    assert_eq!(improves("", "st.global.u32 [%mine], %t;"), Ok(true));
    assert_eq!(
        improves("", "bar.sync 0;\nshfl.sync.bfly.b32 %r1, %t, 1, 31, -1;\nst.global.u32 [%mine], %r1;"),
        Ok(true)
    );
    let endless = ".func f()\n{\ncall f, ();\nret;\n}\n";
    assert_eq!(improves(endless, "call f, ();"), Ok(false));
    let waits = "W:\nld.acquire.gpu.global.u32 %r1, [%data];\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra W;";
    assert_eq!(improves("", waits), Ok(true));
}
