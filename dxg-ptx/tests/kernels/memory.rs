//! Loads and stores of all widths, spaces, generic addresses, asynchronous copies, special registers.

use super::kernel::Kernel;
use crate::support::program::Make;

fn narrow_loads_extend_as_their_type_says(make: Make<'_>) {
    let body = "ld.global.u8 %r1, [%data+3];\nst.global.u32 [%out], %r1;\nld.global.s8 %r1, [%data+3];\n\
                st.global.u32 [%out+4], %r1;\nld.global.u16 %r1, [%data+2];\nst.global.u32 [%out+8], %r1;\n\
                ld.global.s16 %r1, [%data+2];\nst.global.u32 [%out+12], %r1;\nld.global.s8 %h1, [%data];\n\
                st.global.u16 [%out+16], %h1;\nld.global.s32 %rd1, [%data];\nst.global.u64 [%out+24], %rd1;\n\
                ld.global.v4.u8 {%r1, %r2, %r3, %r4}, [%data];\nst.global.v2.u16 [%out+32], {%r2, %r4};\n\
                st.global.u8 [%out+37], %r3;";
    let got = Kernel { body, data: vec![0x8765_4381, 0], block: 1, ..Kernel::default() }.out(make);
    let want =
        [0x87, 0xffff_ff87, 0x8765, 0xffff_8765, 0xff81, 0, 0x8765_4381, 0xffff_ffff, 0x0087_0043, 0x6500];
    assert_eq!(got[..10], want);
}

fn generic_addresses_reach_every_space(make: Make<'_>) {
    let outside =
        ".const .align 4 .b8 table[8] = {1, 2, 3, 4, 5, 6, 7, 8};\n.global .align 4 .u32 word = 77;\n";
    let body = ".shared .align 4 .b8 s[64];\n.local .align 4 .b8 l[64];\nmov.u64 %rd1, s;\ncvta.shared.u64 %rd2, %rd1;\n\
                st.u32 [%rd2+8], 11;\nld.shared.u32 %r1, [s+8];\nst.global.u32 [%out], %r1;\nmov.u64 %rd3, l;\n\
                cvta.local.u64 %rd4, %rd3;\nst.u32 [%rd4+12], 22;\nld.local.u32 %r1, [l+12];\nst.global.u32 [%out+4], %r1;\n\
                mov.u64 %rd5, table;\ncvta.const.u64 %rd5, %rd5;\nld.u32 %r1, [%rd5+4];\nst.global.u32 [%out+8], %r1;\n\
                ld.const.u8 %r1, [table+2];\nst.global.u32 [%out+12], %r1;\nld.global.u32 %r1, [word];\n\
                st.global.u32 [%out+16], %r1;\nisspacep.shared %p1, %rd2;\nisspacep.local %p2, %rd2;\n\
                isspacep.local %p3, %rd4;\nisspacep.global %p4, %out;\nselp.u32 %r1, 1, 0, %p1;\nselp.u32 %r2, 2, 0, %p2;\n\
                selp.u32 %r3, 4, 0, %p3;\nselp.u32 %r4, 8, 0, %p4;\nor.b32 %r1, %r1, %r2;\nor.b32 %r1, %r1, %r3;\n\
                or.b32 %r1, %r1, %r4;\nst.global.u32 [%out+20], %r1;\ncvta.to.shared.u64 %rd6, %rd2;\n\
                sub.u64 %rd6, %rd6, %rd1;\nst.global.u32 [%out+24], %rd6;";
    let body = body.replace("st.global.u32 [%out+24], %rd6;", "st.global.u64 [%out+24], %rd6;");
    let got = Kernel { outside, body: &body, block: 1, ..Kernel::default() }.out(make);
    assert_eq!(got[..8], [11, 22, 0x0807_0605, 3, 77, 13, 0, 0]);
}

fn local_memory_belongs_to_each_thread(make: Make<'_>) {
    let body = ".local .align 4 .b8 l[128];\nmov.u64 %rd1, l;\nand.b32 %r1, %t, 31;\nmul.wide.u32 %rd2, %r1, 4;\n\
                add.u64 %rd1, %rd1, %rd2;\nst.local.u32 [%rd1], %g;\nbar.sync 0;\nld.local.u32 %r2, [%rd1];\n\
                st.global.u32 [%mine], %r2;";
    let got = Kernel { body, grid: 2, block: 128, ..Kernel::default() }.out(make);
    assert_eq!(got[..256], (0..256).collect::<Vec<u32>>());
}

fn asynchronous_copies_arrive_and_fill_with_zero(make: Make<'_>) {
    let body = ".shared .align 16 .b8 s[64];\nmov.u32 %r1, s;\ncp.async.ca.shared.global [%r1], [%data], 16;\n\
                cp.async.cg.shared.global [%r1+16], [%data+16], 16, 8;\ncp.async.ca.shared.global [%r1+32], [%data+4], 4;\n\
                cp.async.commit_group;\ncp.async.wait_group 0;\nbar.sync 0;\n\
                mad.lo.u32 %r2, %t, 4, %r1;\nld.shared.u32 %r3, [%r2];\nst.global.u32 [%mine], %r3;";
    let got = Kernel { body, data: (1..=8).collect(), block: 9, ..Kernel::default() }.out(make);
    assert_eq!(got[..9], [1, 2, 3, 4, 5, 6, 0, 0, 2]);
}

fn asynchronous_copies_read_as_many_bytes_as_a_register_says(make: Make<'_>) {
    // Each thread reads a byte more of its own 16; what reads none names no memory.
    let body = ".shared .align 16 .b8 s[1024];\nmov.u32 %r1, s;\nmad.lo.u32 %r1, %t, 16, %r1;\nmov.u64 %rd1, %data;\n\
                setp.eq.u32 %p1, %t, 0;\nselp.u64 %rd1, 24, %rd1, %p1;\n\
                cp.async.ca.shared.global [%r1], [%rd1], 16, %t;\ncp.async.wait_all;\n\
                ld.shared.v4.u32 {%r2, %r3, %r4, %r5}, [%r1];\nmad.wide.u32 %rd2, %t, 16, %out;\n\
                st.global.v4.u32 [%rd2], {%r2, %r3, %r4, %r5};";
    let data = vec![0x0403_0201, 0x0807_0605, 0x0c0b_0a09, 0x100f_0e0d];
    let got = Kernel { body, data, block: 17, ..Kernel::default() }.out(make);
    let bytes: Vec<u8> = got[..17 * 4].iter().flat_map(|word| word.to_le_bytes()).collect();
    for (count, line) in bytes.chunks(16).enumerate() {
        let want: Vec<u8> = (1..=16).map(|byte| if byte <= count as u8 { byte } else { 0 }).collect();
        assert_eq!(line, want, "{count} bytes");
    }
}

fn special_registers_say_where_a_thread_is(make: Make<'_>) {
    let body = "mov.u32 %r1, %laneid;\nmov.u32 %r2, %warpid;\nmov.u32 %r3, %lanemask_lt;\npopc.b32 %r3, %r3;\n\
                mov.u32 %r4, %nwarpid;\nmov.u32 %r5, %nctaid.x;\nshl.b32 %r2, %r2, 8;\nshl.b32 %r3, %r3, 16;\n\
                shl.b32 %r5, %r5, 24;\nor.b32 %r1, %r1, %r2;\nor.b32 %r1, %r1, %r3;\nor.b32 %r1, %r1, %r5;\n\
                st.global.u32 [%mine], %r1;";
    let got = Kernel { body, grid: 2, block: 64, ..Kernel::default() }.out(make);
    let want = |g: u32| (g % 32) | (g % 64 / 32) << 8 | (g % 32) << 16 | 2 << 24;
    assert_eq!(got[..128], (0..128).map(want).collect::<Vec<u32>>());
}

fn vectors_of_64_bits_move_whole(make: Make<'_>) {
    let body = "ld.global.v2.u64 {%rd1, %rd2}, [%data];\nst.global.v2.u64 [%out+16], {%rd2, %rd1};\n\
                ld.global.v4.u32 {%r1, %r2, _, %r4}, [%data];\nst.global.v2.u32 [%out], {%r4, %r2};\n\
                mov.b64 {%r5, %r6}, %rd1;\nmov.b64 %rd3, {%r6, %r5};\nst.global.u64 [%out+8], %rd3;";
    let got = Kernel { body, data: vec![1, 2, 3, 4], block: 1, ..Kernel::default() }.out(make);
    assert_eq!(got[..8], [4, 2, 2, 1, 3, 4, 1, 2]);
}

fn atomics_of_128_and_16_bits_exchange_whole(make: Make<'_>) {
    let body = ".reg .b128 %w<4>;\nld.global.v2.u64 {%rd1, %rd2}, [%data];\nmov.b128 %w0, {%rd1, %rd2};\n\
                mov.b128 %w1, {%rd2, %rd1};\natom.global.cas.b128 %w2, [%data], %w0, %w1;\n\
                mov.b128 {%rd3, %rd4}, %w2;\nst.global.v2.u64 [%out], {%rd3, %rd4};\n\
                atom.global.exch.b128 %w3, [%data], %w0;\nmov.b128 {%rd3, %rd4}, %w3;\nst.global.v2.u64 [%out+16], {%rd3, %rd4};\n\
                mov.u16 %h1, 7;\nmov.u16 %h2, 9;\natom.global.cas.b16 %h3, [%data+18], %h1, %h2;\nst.global.u16 [%out+32], %h3;";
    let left = Kernel { body, data: vec![1, 2, 3, 4, 7 << 16 | 5], block: 1, ..Kernel::default() }.run(make);
    assert_eq!(left.outcome, Ok(()));
    assert_eq!(left.out[..9], [1, 2, 3, 4, 3, 4, 1, 2, 7]);
    assert_eq!(left.data, [1, 2, 3, 4, 9 << 16 | 5]);
}

crate::for_each_executor!(
    atomics_of_128_and_16_bits_exchange_whole,
    narrow_loads_extend_as_their_type_says,
    generic_addresses_reach_every_space,
    local_memory_belongs_to_each_thread,
    asynchronous_copies_arrive_and_fill_with_zero,
    asynchronous_copies_read_as_many_bytes_as_a_register_says,
    special_registers_say_where_a_thread_is,
    vectors_of_64_bits_move_whole,
);
