//! Modules and grids.

use std::sync::atomic::Ordering;

use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;
use dxg_wire::cuda::symbol_kind;

use crate::context::Context;
use crate::guest::BLOCK;
use crate::guest::FREE;

const VECTOR_ADD: &str = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 n)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<12>;
    .reg .f32 %f<4>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [c];
    ld.param.u32 %r1, [n];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mad.lo.s32 %r5, %r2, %r3, %r4;
    setp.ge.s32 %p1, %r5, %r1;
    @%p1 bra DONE;
    mul.wide.s32 %rd4, %r5, 4;
    add.s64 %rd5, %rd1, %rd4;
    add.s64 %rd6, %rd2, %rd4;
    add.s64 %rd7, %rd3, %rd4;
    ld.global.f32 %f1, [%rd5];
    ld.global.f32 %f2, [%rd6];
    add.f32 %f3, %f1, %f2;
    st.global.f32 [%rd7], %f3;
DONE:
    ret;
}
";

/// Adds `n` numbers and answers those that are wrong.
fn wrong_sums(mut context: Context, n: u32) -> usize {
    let module = context.load(VECTOR_ADD, 0);
    let mut stream = context.stream();
    let bytes = n as usize * 4;
    let (a, b, c) = (0, 1 << 20, 2 << 20);
    let input: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
    context.memory(a, bytes).copy_in(0, &input).unwrap();
    context.memory(b, bytes).copy_in(0, &input).unwrap();
    let base = context.base;
    let grid = [n.div_ceil(256), 1, 1];
    let params = [base + a, base + b, base + c, n.into()];
    context.launch(&mut stream, &module, "add", [grid, [256, 1, 1]], &params);
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    let output = context.memory(c, bytes);
    let wrong = (0..n).filter(|i| output.read::<u32>(*i as usize * 4) != Ok((*i as f32 * 2.0).to_bits()));
    let wrong = wrong.count();
    context.close();
    wrong
}

#[test]
fn vectors_are_added() {
    assert_eq!(wrong_sums(Context::new(), 100_000), 0);
}

#[test]
fn vectors_are_added_by_the_interpreter() {
    assert_eq!(wrong_sums(Context::interpreted(), 10_000), 0);
}

#[test]
fn module_says_what_its_functions_and_variables_are() {
    let mut context = Context::new();
    let text = "
.version 7.0
.target sm_75
.address_size 64
.visible .global .align 8 .b8 table[24] = {1, 2, 3};
.visible .const .align 4 .u32 scale = 7;
.visible .entry first(.param .u32 a, .param .u64 b)
.maxntid 128, 1, 1
{
    .shared .align 4 .b8 tile[512];
    .reg .b32 %r<4>;
    mov.u32 %r1, tile;
    st.shared.u32 [%r1], 5;
    ret;
}
.visible .entry second()
{
    ret;
}
";
    let module = context.load(text, 4 << 20);
    assert!(module.loaded.variable_bytes >= 28);
    let first = &module.info.functions.0[module.function("first") as usize];
    assert_eq!((first.param_bytes, first.shared_bytes, first.max_threads), (16, 512, 128));
    let params: Vec<_> = first.params.0.iter().map(|param| (param.offset, param.size)).collect();
    assert_eq!(params, [(0, 4), (8, 8)]);
    assert_eq!(first.ptx_version, 70);
    assert_eq!(first.binary_version, 75);
    let second = &module.info.functions.0[module.function("second") as usize];
    assert_eq!((second.param_bytes, second.shared_bytes, second.max_threads), (0, 0, 1024));
    let table = module.symbol("table");
    assert_eq!((table.kind, table.bytes), (symbol_kind::GLOBAL, 24));
    let scale = module.symbol("scale");
    assert_eq!((scale.kind, scale.bytes), (symbol_kind::CONSTANT, 4));
    context.guest.settle();
    assert_eq!(context.memory((4 << 20) + table.offset, 4).read::<[u8; 4]>(0), Ok([1, 2, 3, 0]));
    assert_eq!(context.memory((4 << 20) + scale.offset, 4).read::<u32>(0), Ok(7));
    context.close();
}

#[test]
fn text_that_is_no_module_is_refused_with_its_line() {
    let mut context = Context::new();
    let (_, loaded) = context.try_load(&[".version 7.0\n.target sm_75\n.address_size 64\nnonsense here;\n"]);
    assert_eq!(loaded.result, 218);
    let log = String::from_utf8(loaded.error_log).unwrap();
    assert!(log.contains("line 4"), "{log}");
    // The stream lives.
    context.load(VECTOR_ADD, 0);
    context.close();
}

#[test]
fn text_of_a_later_version_is_refused_as_such() {
    let mut context = Context::new();
    let (_, loaded) = context.try_load(&[".version 99.0\n.target sm_75\n.address_size 64\n"]);
    assert_eq!(loaded.result, 222);
    context.close();
}

#[test]
fn binary_image_is_not_for_this_device() {
    let mut context = Context::new();
    let image =
        wire::Image { kind: wire::image_kind::BINARY, io: BLOCK + FREE as u64, bytes: 16, name: Vec::new() };
    let load = wire::LoadModule { module: 9, images: wire::List(vec![image]), optimization: 4, log_bytes: 0 };
    let answer = context.guest.call(op::LOAD_MODULE, |e| load.encode(e)).unwrap();
    let loaded = wire::ModuleLoaded::decode(&mut dxg_wire::codec::Decoder::new(&answer)).unwrap();
    assert_eq!(loaded.result, 209);
    context.close();
}

#[test]
fn function_of_another_image_is_linked() {
    let mut context = Context::new();
    let caller = "
.version 7.0
.target sm_75
.address_size 64
.extern .func (.param .b32 out) twice (.param .b32 in);
.visible .entry run(.param .u64 to)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, 21;
    {
    .param .b32 p;
    .param .b32 q;
    st.param.b32 [p], %r1;
    call (q), twice, (p);
    ld.param.b32 %r2, [q];
    }
    st.global.u32 [%rd1], %r2;
    ret;
}
";
    let callee = "
.version 7.0
.target sm_75
.address_size 64
.visible .func (.param .b32 out) twice (.param .b32 in)
{
    .reg .b32 %r<3>;
    ld.param.b32 %r1, [in];
    add.s32 %r2, %r1, %r1;
    st.param.b32 [out], %r2;
    ret;
}
";
    let (_, alone) = context.try_load(&[caller]);
    assert_ne!(alone.result, 0);
    let (number, both) = context.try_load(&[caller, callee]);
    assert_eq!(both.result, 0, "{}", String::from_utf8_lossy(&both.error_log));
    context.guest.post(op::PLACE_MODULE, |e| wire::PlaceModule { module: number, address: 0 }.encode(e));
    let mut stream = context.stream();
    let launch = wire::Launch {
        stream: stream.number,
        flags: 0,
        sequence: stream.next(),
        module: number,
        function: 0,
        grid: [1, 1, 1],
        block: [1, 1, 1],
        shared_bytes: 0,
        params: context.base.to_le_bytes().to_vec(),
    };
    context.guest.post(op::LAUNCH, |e| launch.encode(e));
    context.synchronise(&stream);
    assert_eq!(context.memory(0, 4).read::<u32>(0), Ok(42));
    context.close();
}

#[test]
fn module_that_is_unloaded_runs_what_was_launched() {
    let mut context = Context::new();
    let module = context.load(VECTOR_ADD, 0);
    let mut stream = context.stream();
    let (gate, gate_io) = context.guest.cell(0);
    let sequence = stream.next();
    let wait = wire::WaitCell { stream: stream.number, sequence, cell_io: gate_io, value: 1 };
    context.guest.post(op::WAIT_CELL, |e| wait.encode(e));
    context.memory(0, 4).copy_in(0, &2.0_f32.to_le_bytes()).unwrap();
    let base = context.base;
    let params = [base, base, base + 64, 1];
    context.launch(&mut stream, &module, "add", [[1, 1, 1], [32, 1, 1]], &params);
    let number = module.number;
    context.guest.post(op::UNLOAD_MODULE, |e| wire::ModuleRef { module: number }.encode(e));
    context.guest.settle();
    gate.publish(1);
    context.synchronise(&stream);
    assert_eq!(context.memory(64, 4).read::<u32>(0), Ok(4.0_f32.to_bits()));
    context.close();
}

/// Each block counts itself in the grid's workspace, waits until all have, and says how many it found.
const MEET: &str = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry meet(.param .u64 to)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<6>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %envreg1;
    mov.u32 %r2, %envreg2;
    mov.b64 %rd2, {%r2, %r1};
    mov.u32 %r3, %nctaid.x;
    atom.global.add.u32 %r4, [%rd2+4], 1;
LOOP:
    ld.volatile.global.u32 %r5, [%rd2+4];
    setp.lt.u32 %p1, %r5, %r3;
    @%p1 bra LOOP;
    mov.u32 %r6, %ctaid.x;
    mul.wide.u32 %rd3, %r6, 4;
    add.s64 %rd4, %rd1, %rd3;
    st.global.u32 [%rd4], %r5;
    ret;
}
";

#[test]
fn blocks_of_a_cooperative_grid_wait_for_each_other() {
    let mut context = Context::new();
    let module = context.load(MEET, 0);
    let mut stream = context.stream();
    const BLOCKS: u32 = 61;
    // Twice: the second grid finds a workspace of zeros as well.
    for at in [0, 4096] {
        let launch = wire::Launch {
            stream: stream.number,
            flags: wire::launch_flags::COOPERATIVE,
            sequence: stream.next(),
            module: module.number,
            function: 0,
            grid: [BLOCKS, 1, 1],
            block: [1, 1, 1],
            shared_bytes: 0,
            params: (context.base + at).to_le_bytes().to_vec(),
        };
        context.guest.post(op::LAUNCH, |e| launch.encode(e));
    }
    context.synchronise(&stream);
    assert_eq!(context.error(), 0);
    for at in [0, 4096] {
        let found = context.memory(at, 4 * BLOCKS as usize);
        assert!((0..BLOCKS as usize).all(|block| found.read::<u32>(block * 4) == Ok(BLOCKS)));
    }
    context.close();
}

#[test]
fn local_memory_that_is_much_is_charged_while_it_is_used() {
    let mut context = Context::new();
    let text = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry hold(.param .u64 at)
{
    .local .align 8 .b8 depot[8192];
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
    mov.u32 %r2, %tid.x;
    st.local.u32 [depot], %r2;
LOOP:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra LOOP;
    ret;
}
";
    let module = context.load(text, 0);
    let mut stream = context.stream();
    let base = context.base;
    let ledger = std::sync::Arc::clone(&context.guest.ledger);
    context.launch(&mut stream, &module, "hold", [[1, 1, 1], [256, 1, 1]], &[base]);
    while ledger.charged.load(Ordering::SeqCst) == 0 {
        assert!(!context.guest.host_ended() && stream.cell.value() == 0);
        std::thread::yield_now();
    }
    assert!(ledger.charged.load(Ordering::SeqCst) >= 2 << 20);
    context.memory(0, 4).write(0, &1_u32).unwrap();
    context.synchronise(&stream);
    context.close();
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
}
