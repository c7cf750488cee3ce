//! The kernels of the scenarios, written by hand.

/// Adds arrays of f32, scales an array of u32, waits for a word, asserts, prints, and stores where nothing is.
pub const TEXT: &str = "
.version 7.0
.target sm_70
.address_size 64
.extern .func (.param .b32 result) vprintf (.param .b64 format, .param .b64 values);
.global .align 1 .b8 greeting[10] = {116, 104, 114, 101, 97, 100, 32, 37, 117, 0};
.visible .global .align 4 .u32 counter = 7;

.visible .entry add(.param .u64 to, .param .u64 one, .param .u64 other, .param .u32 count)
{
    .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<12>; .reg .f32 %f<4>;
    ld.param.u64 %rd1, [to]; ld.param.u64 %rd2, [one]; ld.param.u64 %rd3, [other]; ld.param.u32 %r1, [count];
    mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.u32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.u32 %rd4, %r5, 4;
    add.s64 %rd5, %rd1, %rd4; add.s64 %rd6, %rd2, %rd4; add.s64 %rd7, %rd3, %rd4;
    ld.global.f32 %f1, [%rd6]; ld.global.f32 %f2, [%rd7];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd5], %f3;
DONE:
    ret;
}

.visible .entry scale(.param .u64 at, .param .u32 factor)
{
    .reg .b32 %r<5>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [at]; ld.param.u32 %r1, [factor];
    mov.u32 %r2, %tid.x;
    mul.wide.u32 %rd2, %r2, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r3, [%rd3];
    mul.lo.u32 %r4, %r3, %r1;
    st.global.u32 [%rd3], %r4;
    ret;
}

.visible .entry wild(.param .u64 at)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
    st.global.u64 [%rd1], 1;
    ret;
}

.visible .entry say()
{
    .local .align 8 .b8 values[8];
    .reg .b32 %r<3>; .reg .b64 %rd<5>;
    mov.u32 %r1, %tid.x;
    mov.u64 %rd1, values;
    cvta.local.u64 %rd2, %rd1;
    st.local.u32 [%rd1], %r1;
    mov.u64 %rd3, greeting;
    cvta.global.u64 %rd4, %rd3;
    {
        .param .b64 p0; .param .b64 p1; .param .b32 p2;
        st.param.b64 [p0], %rd4;
        st.param.b64 [p1], %rd2;
        call.uni (p2), vprintf, (p0, p1);
    }
    ret;
}
";
