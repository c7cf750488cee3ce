//! Barriers of a block, `mbarrier` objects, threads that spin on each other, grids that wait for all of their blocks.

use dxg_ptx::exec::Residency;

use super::kernel::Kernel;
use crate::support::program::Make;

fn barrier_orders_shared_memory(make: Make<'_>) {
    // Each thread writes its word, then reads that of the opposite thread.
    let body = ".shared .align 4 .b8 s[1024];\nmov.u32 %r1, s;\nmad.lo.u32 %r2, %t, 4, %r1;\nst.shared.u32 [%r2], %t;\n\
                bar.sync 0;\nsub.u32 %r3, 255, %t;\nmad.lo.u32 %r2, %r3, 4, %r1;\nld.shared.u32 %r4, [%r2];\n\
                st.global.u32 [%mine], %r4;";
    let got = Kernel { body, block: 256, ..Kernel::default() }.out(make);
    assert_eq!(got[..256], (0..256).rev().collect::<Vec<u32>>());
}

fn barriers_with_counts_join_some_warps(make: Make<'_>) {
    // Warps 0 and 1 produce and arrive, warp 2 waits for them; warp 3 does not take part.
    let body = ".shared .align 4 .b8 s[4];\nmov.u32 %r1, s;\nsetp.eq.u32 %p3, %t, 0;\nmov.u32 %r5, 0;\n\
                @%p3 st.shared.u32 [%r1], %r5;\nbar.sync 0;\nshr.u32 %r2, %t, 5;\nsetp.ge.u32 %p1, %r2, 2;\n@%p1 bra USE;\n\
                atom.shared.add.u32 %r3, [%r1], 1;\nbar.arrive 1, 96;\nbra END;\nUSE:\nsetp.eq.u32 %p2, %r2, 3;\n\
                @%p2 bra END;\nbar.sync 1, 96;\nld.shared.u32 %r4, [%r1];\nst.global.u32 [%mine], %r4;\nEND:";
    let got = Kernel { body, block: 128, ..Kernel::default() }.out(make);
    assert_eq!(got[64..96], [64; 32]);
    assert_eq!(got[96..128], [0; 32]);
}

fn exited_threads_do_not_hold_a_barrier(make: Make<'_>) {
    let body = "setp.ge.u32 %p1, %t, 70;\n@%p1 exit;\nbar.sync 0;\nbar.sync 0;\nst.global.u32 [%mine], 1;";
    let got = Kernel { body, block: 128, ..Kernel::default() }.out(make);
    assert_eq!(got[..70], [1; 70]);
    assert_eq!(got[70..128], [0; 58]);
}

fn barrier_in_divergent_branches_is_one_barrier(make: Make<'_>) {
    let body = "and.b32 %r1, %t, 1;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra EVEN;\nbarrier.sync 0;\nmov.u32 %r2, 5;\n\
                bra END;\nEVEN:\nbarrier.sync 0;\nmov.u32 %r2, 6;\nEND:\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, block: 64, ..Kernel::default() }.out(make);
    assert_eq!(got[..64], (0..64).map(|i| if i % 2 == 0 { 6 } else { 5 }).collect::<Vec<u32>>());
}

fn barrier_reductions_combine_the_block(make: Make<'_>) {
    let body = "rem.u32 %r1, %t, 3;\nsetp.eq.u32 %p1, %r1, 0;\nbar.red.popc.u32 %r2, 0, %p1;\n\
                bar.red.and.pred %p2, 0, %p1;\nbar.red.or.pred %p3, 0, %p1;\nselp.u32 %r3, 1000, 0, %p2;\n\
                selp.u32 %r4, 2000, 0, %p3;\nadd.u32 %r2, %r2, %r3;\nadd.u32 %r2, %r2, %r4;\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, block: 96, ..Kernel::default() }.out(make);
    assert_eq!(got[..96], [2032; 96]);
}

fn threads_that_spin_on_each_other_make_progress(make: Make<'_>) {
    // Thread i waits until thread i - 1 has had its turn: across lanes and warps.
    let body = ".shared .align 4 .b8 s[4];\nmov.u32 %r1, s;\nsetp.eq.u32 %p1, %t, 0;\nmov.u32 %r5, 0;\n\
                @%p1 st.shared.u32 [%r1], %r5;\nbar.sync 0;\nLOOP:\nld.volatile.shared.u32 %r2, [%r1];\n\
                setp.ne.u32 %p2, %r2, %t;\n@%p2 bra LOOP;\nmul.lo.u32 %r3, %t, 3;\nst.global.u32 [%mine], %r3;\n\
                add.u32 %r2, %r2, 1;\nst.volatile.shared.u32 [%r1], %r2;";
    let got = Kernel { body, block: 80, ..Kernel::default() }.out(make);
    assert_eq!(got[..80], (0..80).map(|i| i * 3).collect::<Vec<u32>>());
}

fn blocks_of_a_cooperative_grid_wait_for_each_other(make: Make<'_>) {
    // Every block counts itself, then waits for all; the sum each reads is complete.
    let body = "setp.ne.u32 %p1, %t, 0;\n@%p1 bra WAIT;\natom.global.add.u32 %r1, [%data], 1;\nSPIN:\n\
                ld.acquire.gpu.global.u32 %r2, [%data];\nsetp.lt.u32 %p2, %r2, 24;\n@%p2 bra SPIN;\nWAIT:\nbar.sync 0;\n\
                ld.volatile.global.u32 %r3, [%data];\nst.global.u32 [%mine], %r3;";
    let kernel = Kernel {
        body,
        data: vec![0; 4],
        grid: 24,
        block: 32,
        residency: Residency::Cooperative,
        ..Kernel::default()
    };
    assert_eq!(kernel.out(make)[..768], [24; 768]);
}

fn workspace_of_a_cooperative_grid_is_in_its_registers(make: Make<'_>) {
    let body = "mov.u32 %r1, %envreg1;\nmov.u32 %r2, %envreg2;\nmov.b64 %rd1, {%r2, %r1};\n\
                atom.global.add.u32 %r3, [%rd1+4], 1;\nbar.sync 0;\nld.volatile.global.u32 %r3, [%rd1+4];\n\
                st.global.u32 [%mine], %r3;";
    let kernel = Kernel { body, block: 64, residency: Residency::Cooperative, ..Kernel::default() };
    assert_eq!(kernel.out(make)[..64], [64; 64]);
}

fn mbarrier_phases_complete_with_all_arrivals(make: Make<'_>) {
    let body = ".shared .align 8 .b8 m[8];\nmov.u32 %r1, m;\nsetp.ne.u32 %p1, %t, 0;\n@%p1 bra READY;\n\
                mbarrier.init.shared.b64 [%r1], 64;\nREADY:\nbar.sync 0;\nmbarrier.arrive.shared.b64 %rd1, [%r1];\n\
                WAIT:\nmbarrier.test_wait.shared.b64 %p2, [%r1], %rd1;\n@!%p2 bra WAIT;\n\
                mbarrier.test_wait.parity.shared.b64 %p3, [%r1], 0;\nmbarrier.test_wait.parity.shared.b64 %p4, [%r1], 1;\n\
                selp.u32 %r2, 1, 0, %p3;\nselp.u32 %r3, 2, 0, %p4;\nor.b32 %r2, %r2, %r3;\nst.global.u32 [%mine], %r2;";
    let got = Kernel { body, block: 64, ..Kernel::default() }.out(make);
    assert_eq!(got[..64], [1; 64]);
}

fn a_block_is_a_cluster_of_its_own(make: Make<'_>) {
    let body = ".shared .align 4 .b32 words[64];\nmov.u32 %r1, words;\nmad.lo.u32 %r2, %t, 4, %r1;\nmul.lo.u32 %r3, %g, 3;\n\
                st.shared::cluster.u32 [%r2], %r3;\nbarrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n\
                xor.b32 %r4, %t, 63;\nmad.lo.u32 %r4, %r4, 4, %r1;\nmapa.shared::cluster.u32 %r4, %r4, 0;\n\
                ld.shared::cluster.u32 %r5, [%r4];\ncvt.u64.u32 %rd1, %r4;\ncvta.shared::cluster.u64 %rd1, %rd1;\n\
                mapa.u64 %rd1, %rd1, 0;\nisspacep.shared::cluster %p1, %rd1;\n@!%p1 mov.u32 %r5, 0;\n\
                getctarank.u64 %r6, %rd1;\nadd.u32 %r5, %r5, %r6;\nmov.u32 %r7, %cluster_nctarank;\nadd.u32 %r5, %r5, %r7;\n\
                selp.u32 %r8, 1, 0, %is_explicit_cluster;\nadd.u32 %r5, %r5, %r8;\ngriddepcontrol.wait;\n\
                st.global.u32 [%mine], %r5;\ngriddepcontrol.launch_dependents;";
    let got = Kernel { body, grid: 2, block: 64, ..Kernel::default() }.out(make);
    let want: Vec<u32> = (0..128).map(|g: u32| (g / 64 * 64 + ((g % 64) ^ 63)) * 3 + 1).collect();
    assert_eq!(got[..128], want);
}

crate::for_each_executor!(
    a_block_is_a_cluster_of_its_own,
    barrier_orders_shared_memory,
    barriers_with_counts_join_some_warps,
    exited_threads_do_not_hold_a_barrier,
    barrier_in_divergent_branches_is_one_barrier,
    barrier_reductions_combine_the_block,
    threads_that_spin_on_each_other_make_progress,
    blocks_of_a_cooperative_grid_wait_for_each_other,
    workspace_of_a_cooperative_grid_is_in_its_registers,
    mbarrier_phases_complete_with_all_arrivals,
);
