//! Graphs: captured, built, with branches that run at once.

use std::ffi::c_void;
use std::ptr;

use crate::api::Handle;
use crate::api::Ptr;
use crate::programs::Program;
use crate::scenarios::Scenario;

const NON_BLOCKING: u32 = 1;
/// `CU_GRAPH_NODE_TYPE_BATCH_MEM_OP`.
const BATCH_MEM_OP_NODE: u64 = 12;
const WAIT: u64 = 1;
const WRITE: u64 = 2;

/// All of them.
pub const ALL: &[Scenario] = &[
    ("captured_graph", captured_graph),
    ("built_graph", built_graph),
    ("branches_of_a_graph", branches_of_a_graph),
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
