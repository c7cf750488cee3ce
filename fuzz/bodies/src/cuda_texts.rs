//! Modules that a guest loads: each with [`ENTRIES`] entries, which take four numbers of 8 bytes.

/// Entries of each module.
pub(crate) const ENTRIES: u32 = 4;

/// Memory: stores, atomics, shared memory with a barrier, and local memory.
const MEMORY: &str = "
.version 7.0
.target sm_75
.address_size 64
.global .align 8 .u64 counter;
.const .align 4 .u32 table[4] = {1, 2, 3, 4};
.visible .entry store(.param .u64 at, .param .u64 value, .param .u64 c, .param .u64 d)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [at];
    ld.param.u32 %r1, [value];
    mov.u32 %r2, %tid.x;
    mul.wide.u32 %rd2, %r2, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1;
    ret;
}
.visible .entry count(.param .u64 at, .param .u64 value, .param .u64 c, .param .u64 d)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [value];
    mov.u64 %rd2, counter;
    atom.global.add.u64 %rd3, [%rd2], %rd1;
    ret;
}
.visible .entry share(.param .u64 at, .param .u64 value, .param .u64 c, .param .u64 d)
{
    .shared .align 4 .b8 room[4096];
    .reg .b32 %r<8>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [at];
    mov.u32 %r1, %tid.x;
    shl.b32 %r2, %r1, 2;
    mov.u32 %r3, room;
    add.u32 %r4, %r3, %r2;
    st.shared.u32 [%r4], %r1;
    bar.sync 0;
    ld.shared.u32 %r5, [%r3];
    mul.wide.u32 %rd2, %r1, 4;
    add.u64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r5;
    ret;
}
.visible .entry load(.param .u64 at, .param .u64 value, .param .u64 c, .param .u64 d)
{
    .local .align 8 .b8 kept[64];
    .reg .b32 %r<4>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [at];
    ld.param.u64 %rd2, [value];
    ld.global.u32 %r1, [%rd1];
    st.local.u32 [kept], %r1;
    ld.local.u32 %r2, [kept];
    st.global.u32 [%rd2], %r2;
    ret;
}
";

/// What goes on for long, goes wrong, or asks the host.
const HOST: &str = "
.version 7.0
.target sm_75
.address_size 64
.extern .func (.param .b64 r) malloc(.param .b64 n);
.extern .func free(.param .b64 p);
.visible .entry spin(.param .u64 at, .param .u64 b, .param .u64 c, .param .u64 d)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
AGAIN:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra AGAIN;
    ret;
}
.visible .entry stop(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)
{
    trap;
    ret;
}
.visible .entry take(.param .u64 at, .param .u64 bytes, .param .u64 c, .param .u64 d)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [at];
    ld.param.u64 %rd2, [bytes];
    {
        .param .b64 n;
        .param .b64 r;
        st.param.b64 [n], %rd2;
        call.uni (r), malloc, (n);
        ld.param.b64 %rd3, [r];
    }
    st.global.u64 [%rd1], %rd3;
    ret;
}
.visible .entry give(.param .u64 at, .param .u64 b, .param .u64 c, .param .u64 d)
{
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [at];
    {
        .param .b64 p;
        st.param.b64 [p], %rd1;
        call.uni free, (p);
    }
    ret;
}
";

/// All modules.
pub(crate) const TEXTS: [&str; 2] = [MEMORY, HOST];
