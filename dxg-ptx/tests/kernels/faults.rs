//! What ends a grid, and what it says about where.

use dxg_ptx::exec::FaultKind;

use super::kernel::Kernel;
use crate::support::program::Make;

fn fault(make: Make<'_>, body: &str) -> (FaultKind, dxg_ptx::exec::Fault) {
    let fault = Kernel { body, ..Kernel::default() }.run(make).outcome.expect_err("the kernel fails");
    (fault.kind, fault)
}

fn wild_store_is_an_illegal_address(make: Make<'_>) {
    let (kind, _) = fault(make, "mov.u64 %rd1, 0x100000;\nst.global.u32 [%rd1], %t;");
    assert!(matches!(kind, FaultKind::IllegalAddress { .. }), "{kind:?}");
}

fn null_load_is_an_illegal_address(make: Make<'_>) {
    let (kind, _) = fault(make, "mov.u64 %rd1, 0;\nld.u32 %r1, [%rd1];\nst.global.u32 [%mine], %r1;");
    assert!(matches!(kind, FaultKind::IllegalAddress { .. }), "{kind:?}");
}

fn shared_access_beyond_the_block_is_an_illegal_address(make: Make<'_>) {
    let body = ".shared .align 4 .b8 s[64];\nmov.u32 %r1, s;\nst.shared.u32 [%r1+100000000], %t;";
    let (kind, _) = fault(make, body);
    assert!(matches!(kind, FaultKind::IllegalAddress { .. }), "{kind:?}");
}

fn odd_address_is_misaligned(make: Make<'_>) {
    let (kind, _) = fault(make, "ld.global.u32 %r1, [%data+2];\nst.global.u32 [%mine], %r1;");
    assert!(matches!(kind, FaultKind::Misaligned { .. }), "{kind:?}");
}

fn vector_at_half_its_size_is_misaligned(make: Make<'_>) {
    let (kind, _) = fault(make, "ld.global.v2.u32 {%r1, %r2}, [%out+4];\nst.global.u32 [%mine], %r1;");
    assert!(matches!(kind, FaultKind::Misaligned { .. }), "{kind:?}");
}

fn asynchronous_copy_from_or_to_nowhere_is_an_illegal_address(make: Make<'_>) {
    for copy in [
        "[s], [%rd1], 4",
        "[s], [%rd1], 4, %r1",
        "[s], [%rd1], 8, %t",
        "[s+64], [%data], 4",
        "[%r2], [%data], 16, 0",
        "[%r2], [%data], 16, 7",
    ] {
        let body = format!(
            ".shared .align 16 .b8 s[64];\nmov.u64 %rd1, 4096;\nmov.u32 %r1, 4;\nmov.u32 %r2, s;\n\
             add.u32 %r2, %r2, 100000000;\ncp.async.ca.shared.global {copy};"
        );
        let (kind, fault) = fault(make, &body);
        assert!(matches!(kind, FaultKind::IllegalAddress { .. }), "{copy}: {kind:?}");
        let first = if copy.ends_with("%t") { 1 } else { 0 };
        assert_eq!(fault.thread, Some([first, 0, 0]), "{copy}");
    }
}

fn asynchronous_copy_of_an_odd_address_is_misaligned(make: Make<'_>) {
    for copy in ["[s], [%data+2], 4", "[s+4], [%data], 8, 0", "[s+8], [%data], 16, %t"] {
        let body = format!(".shared .align 16 .b8 s[64];\ncp.async.ca.shared.global {copy};");
        let (kind, _) = fault(make, &body);
        assert!(matches!(kind, FaultKind::Misaligned { .. }), "{copy}: {kind:?}");
    }
}

fn trap_ends_the_grid(make: Make<'_>) {
    let (kind, fault) = fault(make, "setp.eq.u32 %p1, %t, 5;\n@%p1 trap;");
    assert_eq!((kind, fault.function.as_str()), (FaultKind::Trap, "k"));
}

fn barrier_that_a_lane_cannot_reach_is_a_deadlock(make: Make<'_>) {
    // Lane 0 waits for a count that nobody else adds to.
    let (kind, _) = fault(make, "setp.eq.u32 %p1, %t, 0;\n@%p1 barrier.sync 1, 64;");
    assert_eq!(kind, FaultKind::Deadlock);
}

fn warp_operation_without_all_of_its_lanes_is_a_deadlock(make: Make<'_>) {
    let body = "setp.eq.u32 %p1, %t, 0;\n@%p1 bra ONE;\nbarrier.sync 0;\nbra END;\nONE:\n\
                bar.warp.sync 0xffffffff;\nEND:\n";
    let (kind, _) = fault(make, body);
    assert_eq!(kind, FaultKind::Deadlock);
}

fn endless_recursion_overflows_the_stack(make: Make<'_>) {
    let outside = ".func (.param .u32 r) deep(.param .u32 n)\n{\n.reg .b32 %a<4>;\n\
                   .local .align 8 .b8 depot[64];\nld.param.u32 %a0, [n];\n{\n.param .u32 p;\n.param .u32 q;\n\
                   add.u32 %a1, %a0, 1;\nst.param.u32 [p], %a1;\ncall (q), deep, (p);\nld.param.u32 %a2, [q];\n}\n\
                   add.u32 %a2, %a2, %a0;\nst.param.u32 [r], %a2;\nret;\n}\n";
    let body = "{\n.param .u32 p;\n.param .u32 q;\nst.param.u32 [p], %t;\ncall (q), deep, (p);\n\
                ld.param.u32 %r1, [q];\n}\nst.global.u32 [%mine], %r1;";
    let outcome = Kernel { outside, body, ..Kernel::default() }.run(make).outcome;
    assert_eq!(outcome.expect_err("the stack has an end").kind, FaultKind::StackOverflow);
}

fn assertion_that_fails_says_what_and_where(make: Make<'_>) {
    let outside = ".global .align 1 .b8 msg[5] = {120, 32, 62, 32, 0};\n.global .align 1 .b8 file[5] = {97, 46, 99, 117, 0};\n\
                   .global .align 1 .b8 fun[2] = {102, 0};\n\
                   .extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);\n";
    let body = "setp.ne.u32 %p1, %t, 3;\n@%p1 bra END;\n{\n.param .b64 a;\n.param .b64 b;\n.param .b32 c;\n\
                .param .b64 d;\n.param .b64 e;\nmov.u64 %rd1, msg;\ncvta.global.u64 %rd1, %rd1;\nst.param.b64 [a], %rd1;\n\
                mov.u64 %rd1, file;\ncvta.global.u64 %rd1, %rd1;\nst.param.b64 [b], %rd1;\nst.param.b32 [c], 12;\n\
                mov.u64 %rd1, fun;\ncvta.global.u64 %rd1, %rd1;\nst.param.b64 [d], %rd1;\nst.param.b64 [e], 1;\n\
                call __assertfail, (a, b, c, d, e);\n}\nEND:";
    let left = Kernel { outside, body, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome.expect_err("the assertion fails").kind, FaultKind::Assert);
    assert_eq!(left.printed, "a.cu:12: f: block: [0,0,0], thread: [3,0,0] Assertion `x > ` failed.\n");
}

fn call_of_what_is_no_function_is_an_invalid_target(make: Make<'_>) {
    let outside = ".func (.param .u32 r) id(.param .u32 n)\n{\n.reg .b32 %a;\nld.param.u32 %a, [n];\n\
                   st.param.u32 [r], %a;\nret;\n}\n.global .u64 table = id;\n";
    let body = "{\nproto: .callprototype (.param .u32 _) _ (.param .u32 _);\n.param .u32 p;\n.param .u32 q;\n\
                st.param.u32 [p], %t;\nmov.u64 %rd1, 12345;\ncall (q), %rd1, (p), proto;\n}\n";
    let outcome = Kernel { outside, body, ..Kernel::default() }.run(make).outcome;
    assert_eq!(outcome.expect_err("there is no function").kind, FaultKind::InvalidTarget);
}

fn atomic_on_local_memory_is_an_invalid_space(make: Make<'_>) {
    let body = ".local .align 4 .b8 depot[16];\nmov.u64 %rd1, depot;\ncvta.local.u64 %rd1, %rd1;\n\
                atom.add.u32 %r1, [%rd1], 1;\nst.global.u32 [%mine], %r1;";
    let (kind, _) = fault(make, body);
    assert_eq!(kind, FaultKind::InvalidSpace);
}

fn launch_that_cannot_be_is_refused_before_it_runs(make: Make<'_>) {
    let store = "st.global.u32 [%mine], 1;";
    let local = ".local .align 4 .b8 depot[4000000];\nmov.u64 %rd1, depot;\nmul.wide.u32 %rd2, %t, 4;\n\
                         add.u64 %rd1, %rd1, %rd2;\nst.local.u32 [%rd1], %t;\nld.local.u32 %r1, [%rd1+4];\n\
                         st.global.u32 [%mine], %r1;";
    let shared = format!(".shared .align 4 .b8 s[400000];\nst.shared.u32 [s], %t;\n{store}");
    let kernels = [
        Kernel { body: local, ..Kernel::default() },
        Kernel { body: &shared, ..Kernel::default() },
        Kernel { body: store, block: 1025, out: vec![0; 2048], ..Kernel::default() },
        Kernel { body: store, block: 0, ..Kernel::default() },
    ];
    for kernel in kernels {
        let left = kernel.run(make);
        assert_eq!(left.outcome.expect_err("the launch is refused").kind, FaultKind::Launch);
        assert!(left.out.iter().all(|&word| word == 0));
    }
}

fn endless_loop_ends_when_the_host_says_so(make: Make<'_>) {
    // The second block asks the host to stop, by a fault; the first one never ends by itself.
    let body = "mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 1;\n@%p1 trap;\nLOOP:\nbra LOOP;";
    let left = Kernel { body, grid: 2, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome.expect_err("the grid is stopped").kind, FaultKind::Trap);
}

crate::for_each_executor!(
    wild_store_is_an_illegal_address,
    null_load_is_an_illegal_address,
    shared_access_beyond_the_block_is_an_illegal_address,
    odd_address_is_misaligned,
    vector_at_half_its_size_is_misaligned,
    asynchronous_copy_from_or_to_nowhere_is_an_illegal_address,
    asynchronous_copy_of_an_odd_address_is_misaligned,
    trap_ends_the_grid,
    barrier_that_a_lane_cannot_reach_is_a_deadlock,
    warp_operation_without_all_of_its_lanes_is_a_deadlock,
    endless_recursion_overflows_the_stack,
    assertion_that_fails_says_what_and_where,
    call_of_what_is_no_function_is_an_invalid_target,
    atomic_on_local_memory_is_an_invalid_space,
    launch_that_cannot_be_is_refused_before_it_runs,
    endless_loop_ends_when_the_host_says_so,
);
