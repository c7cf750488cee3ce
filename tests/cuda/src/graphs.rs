//! Graphs: captured, built, with branches that run at once.

use std::ffi::CString;
use std::ffi::c_int;
use std::ffi::c_void;
use std::os::fd::IntoRawFd as _;
use std::ptr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use dxg_core::FenceValue;

use crate::api;
use crate::api::Handle;
use crate::api::Ptr;
use crate::programs::Program;
use crate::scenarios::Scenario;
use crate::scenarios::exchange;

const NOT_READY: c_int = 600;
const NON_BLOCKING: u32 = 1;
/// `CU_GRAPH_NODE_TYPE_BATCH_MEM_OP`.
const BATCH_MEM_OP_NODE: u64 = 12;
const WAIT: u64 = 1;
const WRITE: u64 = 2;

/// `CU_GRAPH_NODE_TYPE_CONDITIONAL`, and the kinds of those.
const CONDITIONAL_NODE: u64 = 13;
const IF: u64 = 0;
const WHILE: u64 = 1;
const SWITCH: u64 = 2;

/// Counts down and sets a condition to what is left.
const COUNT_DOWN: &str = "
.version 7.0
.target sm_70
.address_size 64
.extern .func cudaGraphSetConditional
(
    .param .b64 cudaGraphSetConditional_param_0,
    .param .b32 cudaGraphSetConditional_param_1
);
.visible .entry count_down(.param .u64 condition, .param .u64 counter)
{
    .reg .b64 %rd<4>;
    .reg .b32 %r<3>;
    ld.param.u64 %rd1, [condition];
    ld.param.u64 %rd2, [counter];
    cvta.to.global.u64 %rd3, %rd2;
    ld.global.u32 %r1, [%rd3];
    add.s32 %r2, %r1, -1;
    st.global.u32 [%rd3], %r2;
    {
        .param .b64 param0;
        st.param.b64 [param0+0], %rd1;
        .param .b32 param1;
        st.param.b32 [param1+0], %r2;
        call.uni cudaGraphSetConditional, (param0, param1);
    }
    ret;
}
";

/// All of them.
pub const ALL: &[Scenario] = &[
    ("captured_graph", captured_graph),
    ("built_graph", built_graph),
    ("branches_of_a_graph", branches_of_a_graph),
    ("conditional_graph", conditional_graph),
    ("graph_of_all_kinds", graph_of_all_kinds),
    ("graphs_of_any_shape", graphs_of_any_shape),
];

fn captured_graph(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let (stream, other) = (program.stream(NON_BLOCKING), program.stream(NON_BLOCKING));
    let (one, two) = (program.alloc(256), program.alloc(256));
    let (fork, join) = (program.event(2), program.event(2));
    cuda.ok(cuda.cuStreamBeginCapture_v2(stream, 0));
    cuda.ok(cuda.cuMemsetD32Async(one, 1, 32, stream));
    cuda.ok(cuda.cuEventRecord(fork, stream));
    cuda.ok(cuda.cuStreamWaitEvent(other, fork, 0));
    cuda.ok(cuda.cuMemsetD32Async(two, 5, 32, other));
    cuda.ok(cuda.cuEventRecord(join, other));
    program.scale(scale, one, 3, 32, stream);
    cuda.ok(cuda.cuStreamWaitEvent(stream, join, 0));
    program.scale(scale, two, 2, 32, stream);
    let mut graph = 0;
    cuda.ok(cuda.cuStreamEndCapture(stream, &raw mut graph));
    let mut count = 0;
    cuda.ok(cuda.cuGraphGetNodes(graph, ptr::null_mut(), &raw mut count));
    assert_eq!(count, 4);
    program.write(one, &[0_u32; 32]);
    let mut exec = 0;
    cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    for _ in 0..3 {
        cuda.ok(cuda.cuGraphLaunch(exec, stream));
        cuda.ok(cuda.cuStreamSynchronize(stream));
        assert_eq!((program.read::<u32>(one, 1), program.read::<u32>(two, 1)), (vec![3], vec![10]));
    }
    cuda.ok(cuda.cuGraphExecDestroy(exec));
    cuda.ok(cuda.cuGraphDestroy(graph));
    // Work that nobody waits for in the end.
    cuda.ok(cuda.cuStreamBeginCapture_v2(stream, 0));
    cuda.ok(cuda.cuEventRecord(fork, stream));
    cuda.ok(cuda.cuStreamWaitEvent(other, fork, 0));
    cuda.ok(cuda.cuMemsetD32Async(two, 5, 32, other));
    assert_eq!(cuda.cuStreamEndCapture(stream, &raw mut graph), 904);
    cuda.ok(cuda.cuStreamQuery(other));
}

/// The structure of a kernel node: function, grid and block in pairs, shared memory, pointers.
fn kernel_node(function: Handle, threads: u32, params: *mut *mut c_void) -> [u64; 9] {
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let params = params.expose_provenance() as u64;
    [function as u64, pair(1, 1), pair(1, threads), pair(1, 1), 0, params, 0, 0, 0]
}

fn built_graph(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let at = program.alloc(256);
    let build = |factor: u32| {
        let mut graph = 0;
        cuda.ok(cuda.cuGraphCreate(&raw mut graph, 0));
        let fill = [at, 0, 2 | 4 << 32, 32, 1];
        let (mut first, mut second) = (0, 0);
        cuda.ok(cuda.cuGraphAddMemsetNode(&raw mut first, graph, ptr::null(), 0, &raw const fill, 0));
        let (mut place, mut factor) = (at, factor);
        let mut params: [*mut c_void; 2] = [(&raw mut place).cast(), (&raw mut factor).cast()];
        let node = kernel_node(scale, 32, params.as_mut_ptr());
        cuda.ok(cuda.cuGraphAddKernelNode_v2(&raw mut second, graph, &raw const first, 1, &raw const node));
        (graph, second)
    };
    let (graph, node) = build(10);
    let mut exec = 0;
    cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    let run = || {
        cuda.ok(cuda.cuGraphLaunch(exec, 0));
        program.read::<u32>(at, 32)
    };
    assert_eq!(run(), [20; 32]);
    let (mut place, mut factor) = (at, 11_u32);
    let mut params: [*mut c_void; 2] = [(&raw mut place).cast(), (&raw mut factor).cast()];
    let changed = kernel_node(scale, 16, params.as_mut_ptr());
    cuda.ok(cuda.cuGraphExecKernelNodeSetParams_v2(exec, node, &raw const changed));
    assert_eq!(run(), [[22; 16], [2; 16]].concat());
    let (other, _) = build(12);
    let mut info = [0; 3];
    cuda.ok(cuda.cuGraphExecUpdate_v2(exec, other, &raw mut info));
    assert_eq!(run(), [24; 32]);
    let mut empty = 0;
    cuda.ok(cuda.cuGraphCreate(&raw mut empty, 0));
    assert_eq!(cuda.cuGraphExecUpdate_v2(exec, empty, &raw mut info), 910);
}

/// A branch waits for what another writes: one after the other they would never end.
fn branches_of_a_graph(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let at = program.alloc(256);
    let flag = program.alloc(256);
    program.write(flag, &[0_u32]);
    let mut graph = 0;
    cuda.ok(cuda.cuGraphCreate(&raw mut graph, 0));
    // Operations on values: kind, address, value, flags.
    let values = |before: &[Handle], kind: u64, value: u64| {
        let mut list = [kind, flag, value, 0, 0, 0];
        let mut node = [0; 32];
        node[0] = BATCH_MEM_OP_NODE;
        (node[3], node[4]) = (1, (&raw mut list).expose_provenance() as u64);
        let mut made = 0;
        let before = (before.as_ptr(), before.len());
        cuda.ok(cuda.cuGraphAddNode(&raw mut made, graph, before.0, before.1, &raw mut node));
        made
    };
    let fill = |before: &[Handle], place: Ptr, value: u32| {
        let fill = [place, 0, u64::from(value) | 4 << 32, 8, 1];
        let mut made = 0;
        let before = (before.as_ptr(), before.len());
        cuda.ok(cuda.cuGraphAddMemsetNode(&raw mut made, graph, before.0, before.1, &raw const fill, 0));
        made
    };
    let waits = values(&[], WAIT, 1);
    let waited = fill(&[waits], at, 3);
    let other = fill(&[], at + 32, 4);
    let wrote = values(&[other], WRITE, 1);
    let joined = fill(&[waited, wrote], at + 64, 5);
    values(&[joined], WRITE, 0);
    let mut exec = 0;
    cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    for _ in 0..20 {
        cuda.ok(cuda.cuMemsetD8_v2(at, 0, 96));
        cuda.ok(cuda.cuGraphLaunch(exec, 0));
        let found = program.read::<u32>(at, 24);
        assert_eq!(found, [[3; 8], [4; 8], [5; 8]].concat());
        // The graph reuses what the last launch has left; two in a row come one after the other.
        cuda.ok(cuda.cuGraphLaunch(exec, 0));
    }
    cuda.ok(cuda.cuGraphExecDestroy(exec));
    cuda.ok(cuda.cuCtxSynchronize());
}

/// A graph in the making, with kernels that count down.
struct Making<'a> {
    program: &'a Program,
    count_down: Handle,
    scale: Handle,
}

impl Making<'_> {
    fn graph(&self) -> Handle {
        let mut graph = 0;
        self.program.cuda.ok(self.program.cuda.cuGraphCreate(&raw mut graph, 0));
        graph
    }

    fn kernel(&self, graph: Handle, before: &[Handle], function: Handle, one: u64, mut other: u64) -> Handle {
        let mut one = one;
        let mut params: [*mut c_void; 2] = [(&raw mut one).cast(), (&raw mut other).cast()];
        let node = kernel_node(function, 1, params.as_mut_ptr());
        let (mut made, cuda) = (0, &self.program.cuda);
        let place = &raw mut made;
        cuda.ok(cuda.cuGraphAddKernelNode_v2(place, graph, before.as_ptr(), before.len(), &raw const node));
        made
    }

    fn count_down(&self, graph: Handle, before: &[Handle], condition: u64, counter: Ptr) -> Handle {
        self.kernel(graph, before, self.count_down, condition, counter)
    }

    fn scale(&self, graph: Handle, before: &[Handle], at: Ptr, factor: u64) -> Handle {
        self.kernel(graph, before, self.scale, at, factor)
    }

    fn condition(&self, graph: Handle, default: Option<u32>) -> u64 {
        let (mut handle, cuda) = (0, &self.program.cuda);
        let (value, flags) = (default.unwrap_or(0), u32::from(default.is_some()));
        cuda.ok(cuda.cuGraphConditionalHandleCreate(&raw mut handle, graph, 0, value, flags));
        handle
    }

    /// A copy of bytes in a line from the device to the program.
    fn copy_to_host(&self, graph: Handle, before: &[Handle], to: u64, from: Ptr, bytes: u64) -> Handle {
        let mut copy = [0_u64; 25];
        // Source: kind 2 is the device. Destination: kind 1 is the host.
        (copy[4], copy[6]) = (2, from);
        (copy[15], copy[16]) = (1, to);
        (copy[22], copy[23], copy[24]) = (bytes, 1, 1);
        let (mut made, cuda) = (0, &self.program.cuda);
        let (list, count) = (before.as_ptr(), before.len());
        cuda.ok(cuda.cuGraphAddMemcpyNode(&raw mut made, graph, list, count, &raw const copy, 0));
        made
    }

    /// A conditional node and its graphs.
    fn node<const N: usize>(
        &self,
        graph: Handle,
        before: &[Handle],
        condition: u64,
        kind: u64,
    ) -> (Handle, [Handle; N]) {
        let mut node = [0; 32];
        node[0] = CONDITIONAL_NODE;
        (node[2], node[3]) = (condition, kind | (N as u64) << 32);
        let (mut made, cuda) = (0, &self.program.cuda);
        cuda.ok(cuda.cuGraphAddNode(&raw mut made, graph, before.as_ptr(), before.len(), &raw mut node));
        let names = api::bytes_at(node[4] as usize, N * 8);
        let name = |at: usize| usize::from_ne_bytes(std::array::from_fn(|byte| names[at * 8 + byte]));
        (made, std::array::from_fn(name))
    }
}

/// A loop, a choice within it, and one of several, by values that kernels set.
fn conditional_graph(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let text = CString::new(COUNT_DOWN).expect("no zero in it");
    let mut module = 0;
    cuda.ok(cuda.cuModuleLoadData(&raw mut module, text.as_ptr().cast()));
    let count_down = program.function(module, "count_down");
    let scale = program.function(program.module(), "scale");
    let making = Making { program: &program, count_down, scale };
    let [counter, inner, rounds, twice, last] = [(); 5].map(|()| program.alloc(256));
    let graph = making.graph();
    // While the counter is not zero: `rounds` doubles; if the inner counter is not zero after it was counted down, `twice`
    // doubles, else it triples.
    let condition = making.condition(graph, Some(1));
    let (looped, [body]) = making.node::<1>(graph, &[], condition, WHILE);
    let doubled = making.scale(body, &[], rounds, 2);
    let counted = making.count_down(body, &[doubled], condition, counter);
    let choice = making.condition(body, None);
    let counted = making.count_down(body, &[counted], choice, inner);
    let (_, [yes, no]) = making.node::<2>(body, &[counted], choice, IF);
    making.scale(yes, &[], twice, 2);
    making.scale(no, &[], twice, 3);
    // What comes after the loop: the second of three.
    let which = making.condition(graph, Some(1));
    let (chosen, cases) = making.node::<3>(graph, &[looped], which, SWITCH);
    for (case, factor) in cases.into_iter().zip([5, 7, 11]) {
        making.scale(case, &[], last, factor);
    }
    making.scale(graph, &[chosen], rounds, 10);
    let mut exec = 0;
    cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    cuda.ok(cuda.cuGraphDestroy(graph));
    let stream = program.stream(NON_BLOCKING);
    for times in [5_u32, 1, 3] {
        for (place, value) in [(counter, times), (inner, 2), (rounds, 1), (twice, 1), (last, 1)] {
            program.write(place, &[value]);
        }
        cuda.ok(cuda.cuGraphLaunch(exec, stream));
        cuda.ok(cuda.cuStreamSynchronize(stream));
        let value = |place| program.read::<u32>(place, 1)[0];
        // The inner counter goes 1, 0, -1 and on: it is zero the second time.
        let want = (1..=times).map(|turn| if turn == 2 { 3 } else { 2 }).product::<u32>();
        let found = [rounds, twice, last, counter].map(value);
        assert_eq!(found, [10 << times, want, 7, 0]);
    }
    cuda.ok(cuda.cuGraphExecDestroy(exec));
    cuda.ok(cuda.cuCtxSynchronize());
}

static SEEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn see(place: *mut c_void) {
    let bytes = api::bytes_at(place.expose_provenance(), 4);
    SEEN.store(bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes)), Ordering::SeqCst);
}

/// Nodes of all kinds that work alone, one after the other: each finds what the one before has left.
fn graph_of_all_kinds(_: &str) {
    let program = Program::begin();
    let cuda = &program.cuda;
    let scale = program.function(program.module(), "scale");
    let making = Making { program: &program, count_down: 0, scale };
    let graph = making.graph();
    let add = |before: &[Handle], kind: u64, params: &[u64]| {
        let mut node = [0; 32];
        node[0] = kind;
        node[2..2 + params.len()].copy_from_slice(params);
        let mut made = 0;
        let (list, count) = (before.as_ptr(), before.len());
        cuda.ok(cuda.cuGraphAddNode(&raw mut made, graph, list, count, &raw mut node));
        (made, node)
    };
    let mut host = ptr::null_mut();
    cuda.ok(cuda.cuMemHostAlloc(&raw mut host, 64, 0));
    let host_at = host.expose_provenance() as u64;
    // Of the graph's own memory: pinned, on device 0, 256 bytes.
    let mut params = [0; 15];
    (params[0], params[1], params[13]) = (1, 1, 256);
    let (allocated, node) = add(&[], 10, &params);
    let at = node[16];
    assert_ne!(at, 0);
    let filled = {
        let fill = [at, 0, 3 | 4 << 32, 8, 1];
        let mut made = 0;
        let place = &raw mut made;
        cuda.ok(cuda.cuGraphAddMemsetNode(place, graph, &raw const allocated, 1, &raw const fill, 0));
        made
    };
    let scaled = making.scale(graph, &[filled], at, 7);
    let (wrote, _) = {
        let mut list = [WRITE, at + 4, 2, 0, 0, 0];
        add(&[scaled], BATCH_MEM_OP_NODE, &[0, 1, (&raw mut list).expose_provenance() as u64])
    };
    let within = making.graph();
    making.scale(within, &[], at, 2);
    making.scale(within, &[], at + 4, 5);
    let (child, _) = add(&[wrote], 4, &[within as u64]);
    let (early, late) = (program.event(0), program.event(0));
    cuda.ok(cuda.cuEventRecord(early, 0));
    let (waited, _) = add(&[child], 6, &[early as u64]);
    let (recorded, _) = add(&[waited], 7, &[late as u64]);
    let fence = exchange().create_shared_fence(FenceValue(0)).expect("a fence");
    let mut desc = [0_u64; 12];
    (desc[0], desc[1]) = (9, fence.share().expect("a descriptor").into_raw_fd() as u64);
    let mut semaphore: Handle = 0;
    cuda.ok(cuda.cuImportExternalSemaphore(&raw mut semaphore, &raw const desc));
    let values = [1_u64, 2].map(|value| {
        let mut params = [0_u64; 18];
        params[0] = value;
        params
    });
    let names = (&raw mut semaphore).expose_provenance() as u64;
    let [first, second] = [0, 1].map(|at: usize| values[at].as_ptr().expose_provenance() as u64);
    let (awaited, _) = add(&[recorded], 9, &[names, first, 1]);
    let (signalled, _) = add(&[awaited], 8, &[names, second, 1]);
    let (empty, _) = add(&[signalled], 5, &[]);
    let copied = making.copy_to_host(graph, &[empty], host_at, at, 8);
    let call = see as extern "C" fn(*mut c_void);
    let (called, _) = add(&[copied], 3, &[call as *const () as u64, host_at]);
    add(&[called], 11, &[at]);
    let mut exec = 0;
    cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
    let stream = program.stream(NON_BLOCKING);
    cuda.ok(cuda.cuGraphLaunch(exec, stream));
    assert_eq!(cuda.cuStreamQuery(stream), NOT_READY);
    fence.signal(FenceValue(1)).expect("a signal");
    cuda.ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(fence.value(), FenceValue(2));
    assert_eq!(SEEN.load(Ordering::SeqCst), 3 * 7 * 2);
    let found = api::bytes_at(host.expose_provenance(), 8);
    assert_eq!(found[4..], 10_u32.to_ne_bytes());
    let mut milliseconds = 0.0;
    cuda.ok(cuda.cuEventElapsedTime(&raw mut milliseconds, early, late));
    assert!(milliseconds >= 0.0);
    cuda.ok(cuda.cuGraphExecDestroy(exec));
    cuda.ok(cuda.cuGraphDestroy(graph));
    cuda.ok(cuda.cuDestroyExternalSemaphore(semaphore));
}

/// Graphs whose nodes add what two earlier ones have made, launched several times, on two streams in turns.
fn graphs_of_any_shape(_: &str) {
    const NODES: usize = 40;
    let program = Program::begin();
    let cuda = &program.cuda;
    let add = program.function(program.module(), "add");
    let all = program.alloc(NODES * 256);
    let place = |node: usize| all + node as u64 * 256;
    let streams = [NON_BLOCKING, 0].map(|flags| program.stream(flags));
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..12 {
        let roots = 1 + random(8);
        let mut graph = 0;
        cuda.ok(cuda.cuGraphCreate(&raw mut graph, 0));
        let (mut nodes, mut want): (Vec<Handle>, Vec<f32>) = (Vec::new(), Vec::new());
        for node in 0..NODES {
            let mut made = 0;
            if node < roots {
                let fill = [place(node), 0, u64::from((node as f32 + 1.0).to_bits()) | 4 << 32, 1, 1];
                let out = &raw mut made;
                cuda.ok(cuda.cuGraphAddMemsetNode(out, graph, ptr::null(), 0, &raw const fill, 0));
                want.push(node as f32 + 1.0);
            } else {
                let (one, other) = (random(node), random(node));
                let mut places = [place(node), place(one), place(other)];
                let mut count = 1_u32;
                let mut params: [*mut c_void; 4] = [
                    (&raw mut places[0]).cast(),
                    (&raw mut places[1]).cast(),
                    (&raw mut places[2]).cast(),
                    (&raw mut count).cast(),
                ];
                let params = kernel_node(add, 1, params.as_mut_ptr());
                let before = [nodes[one], nodes[other]];
                let before = if one == other { &before[..1] } else { &before[..] };
                let (list, count) = (before.as_ptr(), before.len());
                cuda.ok(cuda.cuGraphAddKernelNode_v2(&raw mut made, graph, list, count, &raw const params));
                want.push(want[one] + want[other]);
            }
            nodes.push(made);
        }
        let mut exec = 0;
        cuda.ok(cuda.cuGraphInstantiateWithFlags(&raw mut exec, graph, 0));
        for turn in 0..6 {
            cuda.ok(cuda.cuMemsetD8_v2(all, 0, NODES * 256));
            cuda.ok(cuda.cuCtxSynchronize());
            for stream in [streams[turn % 2], streams[(turn + 1) % 2]] {
                cuda.ok(cuda.cuGraphLaunch(exec, stream));
            }
            cuda.ok(cuda.cuStreamSynchronize(streams[(turn + 1) % 2]));
            let found = program.read::<f32>(all, NODES * 64);
            assert!(want.iter().zip(found.chunks(64)).all(|(want, found)| *want == found[0]));
        }
        cuda.ok(cuda.cuGraphExecDestroy(exec));
        cuda.ok(cuda.cuGraphDestroy(graph));
    }
}
