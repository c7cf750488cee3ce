//! Graphs that can be launched: made, changed, launched.

use std::sync::Arc;

use crate::current;
use crate::driver;
use crate::exec::Exec;
use crate::exec::Mismatch;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUgraphExecUpdateResult as U;
use crate::generated::enums::CUgraphInstantiateResult;
use crate::generated::enums::CUgraphNodeType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUgraph;
use crate::generated::handles::CUgraphExec;
use crate::generated::handles::CUgraphNode;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_BATCH_MEM_OP_NODE_PARAMS;
use crate::generated::structs::CUDA_EXT_SEM_SIGNAL_NODE_PARAMS;
use crate::generated::structs::CUDA_EXT_SEM_WAIT_NODE_PARAMS;
use crate::generated::structs::CUDA_GRAPH_INSTANTIATE_PARAMS;
use crate::generated::structs::CUDA_HOST_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS_v1;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS;
use crate::generated::structs::CUgraphExecUpdateResultInfo;
use crate::generated::structs::CUgraphNodeParams;
use crate::graph;
use crate::graph::Child;
use crate::graph::Params;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;

use super::graph_nodes;
use super::nodes;
use super::nodes::Made;

/// Flags of an instantiation: launches from the device are the one wish that is refused.
const FLAGS: u64 = 15;
const DEVICE_LAUNCH: u64 = 4;

fn exec(name: CUgraphExec) -> Answer<Arc<Exec>> {
    driver::driver()?;
    tables::EXECS.get(name)
}

/// `cuGraphInstantiateWithFlags`.
pub fn instantiate_with_flags(out: Mut<CUgraphExec>, graph: CUgraph, flags: u64) -> Answer {
    driver::driver()?;
    out.given()?;
    if flags & !FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    let exec = Exec::new(&*tables::GRAPHS.get(graph)?, flags)?;
    out.set(tables::EXECS.insert(Arc::new(exec))?)
}

/// `cuGraphInstantiate` and `_v2`.
pub fn instantiate(
    out: Mut<CUgraphExec>,
    graph: CUgraph,
    error_node: Mut<CUgraphNode>,
    log: Mut<u8>,
    log_bytes: usize,
) -> Answer {
    error_node.put(CUgraphNode::NULL);
    log.put_text(b"", log_bytes);
    let made = instantiate_with_flags(out, graph, 0);
    if made == Err(CUresult::ERROR_INVALID_VALUE) {
        log.put_text(b"the graph has a cycle", log_bytes);
    }
    made
}

/// `cuGraphInstantiateWithParams`.
pub fn instantiate_with_params(
    out: Mut<CUgraphExec>,
    graph: CUgraph,
    params: Mut<CUDA_GRAPH_INSTANTIATE_PARAMS>,
) -> Answer {
    let mut asked = params.read()?;
    let made = instantiate_with_flags(out, graph, asked.flags);
    asked.h_err_node_out = CUgraphNode::NULL;
    asked.result_out = match made {
        Ok(()) => CUgraphInstantiateResult::SUCCESS,
        Err(CUresult::ERROR_NOT_SUPPORTED) => CUgraphInstantiateResult::NODE_OPERATION_NOT_SUPPORTED,
        Err(CUresult::ERROR_INVALID_VALUE) => CUgraphInstantiateResult::INVALID_STRUCTURE,
        Err(_) => CUgraphInstantiateResult::ERROR,
    };
    params.set(asked)?;
    made
}

/// `cuGraphExecDestroy`: what was launched still runs.
pub fn destroy(name: CUgraphExec) -> Answer {
    driver::driver()?;
    tables::EXECS.remove(name).map(drop)
}

/// `cuGraphExecGetFlags`.
pub fn flags(name: CUgraphExec, out: Mut<u64>) -> Answer {
    // The wish to upload is not one that lasts.
    out.set(exec(name)?.flags & !2)
}

/// `cuGraphExecGetId`.
pub fn id(name: CUgraphExec, out: Mut<u32>) -> Answer {
    out.set(exec(name)?.id as u32)
}

/// `cuGraphUpload`: there is nothing to bring anywhere.
pub fn upload(name: CUgraphExec, stream: CUstream) -> Answer {
    exec(name)?;
    current::stream(stream).map(drop)
}

/// `cuGraphLaunch`.
pub fn launch(name: CUgraphExec, stream: CUstream) -> Answer {
    let exec = exec(name)?;
    let (context, lane) = current::stream(stream)?;
    if !lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed) {
        crate::capture::check_legacy(&context, &lane)?;
        return exec.launch(&context, &lane);
    }
    let prepared = exec.prepared();
    let child = Child::of(&*prepared.to_graph()?)?;
    graph::enqueue(&context, &lane, Step::Graph(prepared), || Params::Child(child))
}

/// What happened, and the node that is to blame.
fn update(name: CUgraphExec, graph: CUgraph) -> Answer<(U, CUgraphNode)> {
    let exec = exec(name)?;
    let graph = tables::GRAPHS.get(graph)?;
    Ok(match exec.update(&graph) {
        Ok(()) => (U::SUCCESS, CUgraphNode::NULL),
        Err(Mismatch::Topology(node)) => (U::ERROR_TOPOLOGY_CHANGED, node.unwrap_or_default()),
        Err(Mismatch::Kind(node)) => (U::ERROR_NODE_TYPE_CHANGED, node),
        Err(Mismatch::Function(node)) => (U::ERROR_UNSUPPORTED_FUNCTION_CHANGE, node),
        Err(Mismatch::Conditional(node)) => (U::ERROR_NOT_SUPPORTED, node),
    })
}

fn updated(result: U) -> Answer {
    if result == U::SUCCESS { Ok(()) } else { Err(CUresult::ERROR_GRAPH_EXEC_UPDATE_FAILURE) }
}

/// `cuGraphExecUpdate`.
pub fn update_whole(
    name: CUgraphExec,
    graph: CUgraph,
    error_node: Mut<CUgraphNode>,
    result: Mut<U>,
) -> Answer {
    let (found, node) = update(name, graph)?;
    error_node.put(node);
    result.put(found);
    updated(found)
}

/// `cuGraphExecUpdate_v2`.
pub fn update_whole_v2(name: CUgraphExec, graph: CUgraph, info: Mut<CUgraphExecUpdateResultInfo>) -> Answer {
    let (result, error_node) = update(name, graph)?;
    info.put(CUgraphExecUpdateResultInfo { result, error_node, error_from_node: CUgraphNode::NULL });
    updated(result)
}

fn replace(name: CUgraphExec, node: CUgraphNode, made: Made) -> Answer {
    exec(name)?.replace(node, made.step, made.params)
}

/// `cuGraphExecKernelNodeSetParams`.
pub fn set_kernel(name: CUgraphExec, node: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>) -> Answer {
    replace(name, node, nodes::kernel(&nodes::widen(params.read()?))?)
}

/// `cuGraphExecKernelNodeSetParams_v2`.
pub fn set_kernel_v2(name: CUgraphExec, node: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    replace(name, node, nodes::kernel(&params.read()?)?)
}

/// `cuGraphExecMemcpyNodeSetParams`.
pub fn set_copy(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_MEMCPY3D>,
    context: CUcontext,
) -> Answer {
    replace(name, node, nodes::copy(&params.read()?, context)?)
}

/// `cuGraphExecMemsetNodeSetParams`.
pub fn set_fill(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_MEMSET_NODE_PARAMS>,
    context: CUcontext,
) -> Answer {
    replace(name, node, nodes::fill(&nodes::fill_in(params.read()?, context))?)
}

/// `cuGraphExecHostNodeSetParams`.
pub fn set_host(name: CUgraphExec, node: CUgraphNode, params: Ref<CUDA_HOST_NODE_PARAMS>) -> Answer {
    replace(name, node, nodes::host(params.read()?)?)
}

/// `cuGraphExecChildGraphNodeSetParams`.
pub fn set_child(name: CUgraphExec, node: CUgraphNode, graph: CUgraph) -> Answer {
    replace(name, node, nodes::child(graph)?)
}

/// `cuGraphExecEventRecordNodeSetEvent`.
pub fn set_record(name: CUgraphExec, node: CUgraphNode, event: CUevent) -> Answer {
    replace(name, node, nodes::record(event)?)
}

/// `cuGraphExecEventWaitNodeSetEvent`.
pub fn set_wait(name: CUgraphExec, node: CUgraphNode, event: CUevent) -> Answer {
    replace(name, node, nodes::wait(event)?)
}

/// `cuGraphExecBatchMemOpNodeSetParams`.
pub fn set_values(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>,
) -> Answer {
    replace(name, node, nodes::values(&params.read()?)?)
}

/// `cuGraphExecExternalSemaphoresSignalNodeSetParams`.
pub fn set_signal(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>,
) -> Answer {
    let params = params.read()?;
    replace(name, node, nodes::signal(params.ext_sem_array, params.params_array, params.num_ext_sems)?)
}

/// `cuGraphExecExternalSemaphoresWaitNodeSetParams`.
pub fn set_wait_for(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>,
) -> Answer {
    let params = params.read()?;
    replace(name, node, nodes::wait_for(params.ext_sem_array, params.params_array, params.num_ext_sems)?)
}

/// `cuGraphExecNodeSetParams`.
pub fn set_any(name: CUgraphExec, node: CUgraphNode, params: Mut<CUgraphNodeParams>) -> Answer {
    let exec = exec(name)?;
    // Memory of a graph stays where it is.
    match params.read()?.kind {
        CUgraphNodeType::MEM_ALLOC | CUgraphNodeType::MEM_FREE | CUgraphNodeType::CONDITIONAL => {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        _ => {}
    }
    let made = graph_nodes::any(params)?;
    exec.replace(node, made.step, made.params)
}

/// Kinds of nodes that can be left out.
fn can_be_left_out(params: &Params) -> Answer {
    match params {
        Params::Kernel(..) | Params::Memcpy(_) | Params::Memset(_) => Ok(()),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

/// `cuGraphNodeSetEnabled`.
pub fn set_enabled(name: CUgraphExec, node: CUgraphNode, enabled: u32) -> Answer {
    exec(name)?.with(node, |step| {
        can_be_left_out(&step.params)?;
        step.enabled = enabled != 0;
        Ok(())
    })
}

/// `cuGraphNodeGetEnabled`.
pub fn enabled(name: CUgraphExec, node: CUgraphNode, out: Mut<u32>) -> Answer {
    let found = exec(name)?.with(node, |step| {
        can_be_left_out(&step.params)?;
        Ok(u32::from(step.enabled))
    })?;
    out.set(found)
}
