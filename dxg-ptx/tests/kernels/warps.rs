//! Shuffles, votes, matches, reductions.

use super::kernel::Kernel;
use crate::support::program::Make;

/// Values that differ between lanes, some of them alike.
fn values() -> Vec<u32> {
    (0..64).map(|i: u32| i.wrapping_mul(0x9e37_79b9) >> 3 ^ i).collect()
}

fn run(make: Make<'_>, body: &str, block: u32) -> Vec<u32> {
    let load = "mad.wide.u32 %rd1, %g, 4, %data;\nld.global.u32 %r1, [%rd1];\n";
    let text = format!("{load}{body}\nst.global.u32 [%mine], %r2;");
    Kernel { body: &text, data: values(), block, ..Kernel::default() }.out(make)
}

fn shuffles_take_the_lane_that_ptx_says(make: Make<'_>) {
    let values = values();
    for (mode, steps) in
        [("up", [0, 1, 5, 31]), ("down", [0, 1, 5, 31]), ("bfly", [0, 1, 7, 16]), ("idx", [0, 3, 17, 31])]
    {
        for segment in [0_u32, 0x18, 0x10, 0x1f] {
            for step in steps {
                let clamp = if mode == "up" { 0 } else { 0x1f };
                let c = segment << 8 | clamp;
                let body = format!(
                    "shfl.sync.{mode}.b32 %r2|%p1, %r1, {step}, {c}, 0xffffffff;\n\
                     selp.u32 %r3, 0x80000000, 0, %p1;\nand.b32 %r2, %r2, 0x7fffffff;\nor.b32 %r2, %r2, %r3;"
                );
                let got = run(make, &body, 32);
                for lane in 0..32_i32 {
                    let segment = segment as i32;
                    let first = lane & segment;
                    let last = if mode == "up" { first } else { first | 0x1f & !segment };
                    let from = match mode {
                        "up" => lane - step,
                        "down" => lane + step,
                        "bfly" => lane ^ step,
                        _ => first | step & !segment,
                    };
                    let within = if mode == "up" { from >= last } else { from <= last };
                    let value = values[if within { from } else { lane } as usize] & 0x7fff_ffff;
                    let want = value | if within { 0x8000_0000 } else { 0 };
                    assert_eq!(got[lane as usize], want, "shfl.{mode} {step} {c:#x} lane {lane}");
                }
            }
        }
    }
}

fn shuffle_in_a_branch_needs_only_its_mask(make: Make<'_>) {
    let body = "mov.u32 %r2, 7;\nsetp.lt.u32 %p1, %t, 16;\n@!%p1 bra END;\n\
                shfl.sync.bfly.b32 %r2, %r1, 1, 0x1f, 0xffff;\nEND:";
    let got = run(make, body, 32);
    let values = values();
    let want = |lane: usize| if lane < 16 { values[lane ^ 1] } else { 7 };
    assert_eq!(got[..32], (0..32).map(want).collect::<Vec<_>>());
}

fn both_sides_of_a_branch_meet_with_their_own_masks(make: Make<'_>) {
    let body = "and.b32 %r3, %t, 1;\nsetp.eq.u32 %p1, %r3, 1;\n@%p1 bra ODD;\n\
                redux.sync.add.u32 %r2, %r1, 0x55555555;\nbra END;\nODD:\n\
                redux.sync.add.u32 %r2, %r1, 0xaaaaaaaa;\nEND:";
    let got = run(make, body, 32);
    let values = values();
    let sum = |odd: usize| {
        (0..32).filter(|lane| lane % 2 == odd).fold(0_u32, |sum, lane| sum.wrapping_add(values[lane]))
    };
    assert_eq!(got[..32], (0..32).map(|lane| sum(lane % 2)).collect::<Vec<_>>());
}

fn lanes_that_ended_are_not_waited_for(make: Make<'_>) {
    let body = "setp.ge.u32 %p1, %t, 20;\n@%p1 exit;\nvote.sync.ballot.b32 %r2, 1, 0xffffffff;";
    let got = run(make, body, 32);
    assert_eq!(got[..20], [0x000f_ffff; 20]);
    assert_eq!(got[20..32], [0; 12]);
}

fn partial_warp_votes_with_a_full_mask(make: Make<'_>) {
    let body = "and.b32 %r3, %t, 1;\nsetp.eq.u32 %p1, %r3, 1;\nvote.sync.ballot.b32 %r2, %p1, 0xffffffff;";
    let got = run(make, body, 40);
    assert_eq!(got[..32], [0xaaaa_aaaa; 32]);
    assert_eq!(got[32..40], [0xaa; 8]);
}

fn votes_answer_all_any_and_uni(make: Make<'_>) {
    for (threshold, all, any, uni) in [(0, 0, 0, 1), (5, 0, 1, 0), (32, 1, 1, 1)] {
        let body = format!(
            "setp.lt.u32 %p1, %t, {threshold};\nvote.sync.all.pred %p2, %p1, 0xffffffff;\n\
             vote.sync.any.pred %p3, %p1, 0xffffffff;\nvote.sync.uni.pred %p4, %p1, 0xffffffff;\n\
             selp.u32 %r2, 1, 0, %p2;\nselp.u32 %r3, 2, 0, %p3;\nselp.u32 %r4, 4, 0, %p4;\n\
             or.b32 %r2, %r2, %r3;\nor.b32 %r2, %r2, %r4;"
        );
        assert_eq!(run(make, &body, 32)[..32], [all | any << 1 | uni << 2; 32], "{threshold}");
    }
}

fn match_finds_equal_lanes(make: Make<'_>) {
    let body = "rem.u32 %r3, %t, 5;\nmatch.any.sync.b32 %r2, %r3, 0xffffffff;";
    let got = run(make, body, 32);
    let mask = |lane: u32| {
        (0..32).filter(|other| other % 5 == lane % 5).fold(0, |mask, other| mask | 1_u32 << other)
    };
    assert_eq!(got[..32], (0..32).map(mask).collect::<Vec<_>>());
    let body = "mov.u32 %r3, 9;\nmatch.all.sync.b32 %r2|%p1, %r3, 0xffffffff;\nsetp.eq.u32 %p2, %t, 3;\n\
                selp.u32 %r3, 1, 9, %p2;\nmatch.all.sync.b32 %r4|%p3, %r3, 0xffffffff;\n\
                selp.u32 %r5, 1, 0, %p1;\nselp.u32 %r6, 2, 0, %p3;\nshr.u32 %r2, %r2, 16;\nshl.b32 %r2, %r2, 8;\n\
                or.b32 %r2, %r2, %r4;\nor.b32 %r2, %r2, %r5;\nor.b32 %r2, %r2, %r6;";
    assert_eq!(run(make, body, 32)[..32], [0x00ff_ff01; 32]);
}

fn reductions_combine_all_lanes(make: Make<'_>) {
    let values = &values()[..32];
    let signed = || values.iter().map(|&value| value as i32);
    let cases = [
        ("add.u32", values.iter().fold(0_u32, |a, &b| a.wrapping_add(b))),
        ("min.u32", values.iter().copied().min().expect("there are lanes")),
        ("max.u32", values.iter().copied().max().expect("there are lanes")),
        ("min.s32", signed().min().expect("there are lanes") as u32),
        ("max.s32", signed().max().expect("there are lanes") as u32),
        ("and.b32", values.iter().fold(u32::MAX, |a, &b| a & b)),
        ("or.b32", values.iter().fold(0, |a, &b| a | b)),
        ("xor.b32", values.iter().fold(0, |a, &b| a ^ b)),
    ];
    for (op, want) in cases {
        let got = run(make, &format!("redux.sync.{op} %r2, %r1, 0xffffffff;"), 32);
        assert_eq!(got[..32], [want; 32], "{op}");
    }
}

fn elect_chooses_one_lane(make: Make<'_>) {
    let body = "setp.lt.u32 %p1, %t, 4;\nmov.u32 %r2, 99;\n@%p1 bra END;\nelect.sync %r2|%p2, 0xfffffff0;\n\
                selp.u32 %r3, 100, 0, %p2;\nadd.u32 %r2, %r2, %r3;\nEND:";
    let got = run(make, body, 32);
    let want = |lane: u32| match lane {
        0..4 => 99,
        4 => 104,
        _ => 4,
    };
    assert_eq!(got[..32], (0..32).map(want).collect::<Vec<_>>());
}

fn loop_with_different_trip_counts_meets_in_each_round(make: Make<'_>) {
    // Lane `i` adds in rounds 0 to i; in each round those that are left vote.
    let body = "mov.u32 %r2, 0;\nmov.u32 %r3, 0;\nLOOP:\nmov.u32 %r5, 0xffffffff;\nshl.b32 %r4, %r5, %r3;\n\
                vote.sync.ballot.b32 %r6, 1, %r4;\npopc.b32 %r6, %r6;\nadd.u32 %r2, %r2, %r6;\n\
                add.u32 %r3, %r3, 1;\nsetp.le.u32 %p1, %r3, %t;\n@%p1 bra LOOP;";
    let got = run(make, body, 32);
    let want = |lane: u32| (0..=lane).map(|round| 32 - round).sum::<u32>();
    assert_eq!(got[..32], (0..32).map(want).collect::<Vec<_>>());
}

fn lanes_come_together_before_operations_without_a_mask(make: Make<'_>) {
    // In a branch only its lanes are active; behind it all are, and behind a loop that lanes leave one after the other.
    let body = "setp.lt.u32 %p1, %t, 10;\nmov.u32 %r2, 0;\n@!%p1 bra JOIN;\nactivemask.b32 %r2;\nJOIN:\n\
                activemask.b32 %r3;\nmov.u32 %r4, 0;\nLOOP:\nadd.u32 %r4, %r4, 1;\nsetp.le.u32 %p2, %r4, %t;\n@%p2 bra LOOP;\n\
                activemask.b32 %r5;\nand.b32 %r3, %r3, %r5;\nadd.u32 %r3, %r3, 1;\nor.b32 %r2, %r2, %r3;";
    let got = run(make, body, 32);
    let want = |lane: u32| if lane < 10 { 0x3ff } else { 0 };
    assert_eq!(got[..32], (0..32).map(want).collect::<Vec<_>>());
}

crate::for_each_executor!(
    lanes_come_together_before_operations_without_a_mask,
    shuffles_take_the_lane_that_ptx_says,
    shuffle_in_a_branch_needs_only_its_mask,
    both_sides_of_a_branch_meet_with_their_own_masks,
    lanes_that_ended_are_not_waited_for,
    partial_warp_votes_with_a_full_mask,
    votes_answer_all_any_and_uni,
    match_finds_equal_lanes,
    reductions_combine_all_lanes,
    elect_chooses_one_lane,
    loop_with_different_trip_counts_meets_in_each_round,
);
