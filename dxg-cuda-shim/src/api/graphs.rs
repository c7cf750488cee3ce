//! Graphs: their shape, and what is launched.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::current;
use crate::driver;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUgraphExecUpdateResult;
use crate::generated::enums::CUgraphInstantiateResult;
use crate::generated::enums::CUgraphNodeType;
use crate::generated::enums::CUlaunchAttributeID;
use crate::generated::enums::CUresult;
use crate::generated::handles::*;
use crate::generated::structs::*;
use crate::graph;
use crate::graph::Exec;
use crate::graph::Graph;
use crate::graph::Params;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUlaunchAttributeValue;

use super::graph_nodes;
use super::graph_nodes::node;

/// `CUDA_GRAPH_INSTANTIATE_FLAG_DEVICE_LAUNCH`.
const DEVICE_LAUNCH: u64 = 4;

/// Writes a list as these functions do: without a place only the count; what is left of a place that is too long is null.
fn put_list<T: Copy>(list: &[T], out: Mut<T>, count: Mut<usize>, none: T) -> Answer {
    count.given()?;
    if !out.is_null() {
        let room = count.read()?;
        for at in 0..room {
            out.set_at(at, list.get(at).copied().unwrap_or(none))?;
        }
        return count.set(list.len().min(room));
    }
    count.set(list.len())
}

fn graph(name: CUgraph) -> Answer<Arc<Graph>> {
    driver::driver()?;
    tables::GRAPHS.get(name)
}

fn exec(name: CUgraphExec) -> Answer<Arc<Exec>> {
    driver::driver()?;
    tables::EXECS.get(name)
}

/// `cuGraphGetNodes`.
pub fn nodes(name: CUgraph, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let list: Vec<_> = graph(name)?.nodes.lock().iter().flatten().map(|node| node.name).collect();
    put_list(&list, out, count, CUgraphNode::NULL)
}

/// `cuGraphGetRootNodes`.
pub fn roots(name: CUgraph, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let graph = graph(name)?;
    let nodes = graph.nodes.lock();
    let list: Vec<_> =
        nodes.iter().flatten().filter(|node| node.before.is_empty()).map(|node| node.name).collect();
    put_list(&list, out, count, CUgraphNode::NULL)
}

fn edge_list(graph: &Graph) -> Vec<(CUgraphNode, CUgraphNode)> {
    let nodes = graph.nodes.lock();
    let name = |at: &usize| Some(nodes.get(*at)?.as_ref()?.name);
    nodes
        .iter()
        .flatten()
        .flat_map(|node| {
            node.before.iter().filter_map(|before| Some((name(before)?, node.name))).collect::<Vec<_>>()
        })
        .collect()
}

/// `cuGraphGetEdges`.
pub fn edges(name: CUgraph, from: Mut<CUgraphNode>, to: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let list = edge_list(&*graph(name)?);
    let (sources, targets): (Vec<_>, Vec<_>) = list.into_iter().unzip();
    count.given()?;
    let room = count.read().unwrap_or(0);
    put_list(&sources, from, count, CUgraphNode::NULL)?;
    if !to.is_null() {
        count.set(room)?;
        put_list(&targets, to, count, CUgraphNode::NULL)?;
    }
    Ok(())
}

/// All edges are alike.
fn put_edge_data(data: Mut<CUgraphEdgeData>, count: Mut<usize>) -> Answer {
    if data.is_null() {
        return Ok(());
    }
    let plain: CUgraphEdgeData = zerocopy::FromZeros::new_zeroed();
    (0..count.read()?).try_for_each(|at| data.set_at(at, plain))
}

/// `cuGraphGetEdges_v2`.
pub fn edges_v2(
    name: CUgraph,
    from: Mut<CUgraphNode>,
    to: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    edges(name, from, to, count)?;
    if from.is_null() { Ok(()) } else { put_edge_data(data, count) }
}

/// `cuGraphNodeGetDependencies`.
pub fn dependencies(name: CUgraphNode, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let node = node(name)?;
    let graph = node.graph()?;
    let list: Vec<_> =
        edge_list(&graph).into_iter().filter(|(_, to)| *to == name).map(|(from, _)| from).collect();
    put_list(&list, out, count, CUgraphNode::NULL)
}

/// `cuGraphNodeGetDependencies_v2`.
pub fn dependencies_v2(
    name: CUgraphNode,
    out: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    dependencies(name, out, count)?;
    if out.is_null() { Ok(()) } else { put_edge_data(data, count) }
}

/// `cuGraphNodeGetDependentNodes`.
pub fn dependents(name: CUgraphNode, out: Mut<CUgraphNode>, count: Mut<usize>) -> Answer {
    let node = node(name)?;
    let graph = node.graph()?;
    let list: Vec<_> =
        edge_list(&graph).into_iter().filter(|(from, _)| *from == name).map(|(_, to)| to).collect();
    put_list(&list, out, count, CUgraphNode::NULL)
}

/// `cuGraphNodeGetDependentNodes_v2`.
pub fn dependents_v2(
    name: CUgraphNode,
    out: Mut<CUgraphNode>,
    data: Mut<CUgraphEdgeData>,
    count: Mut<usize>,
) -> Answer {
    dependents(name, out, count)?;
    if out.is_null() { Ok(()) } else { put_edge_data(data, count) }
}

/// `cuGraphAddDependencies`.
pub fn add_dependencies(name: CUgraph, from: Ref<CUgraphNode>, to: Ref<CUgraphNode>, count: usize) -> Answer {
    let graph = graph(name)?;
    let (from, to) = (graph.places(&from.list(count)?)?, graph.places(&to.list(count)?)?);
    let mut nodes = graph.nodes.lock();
    for (from, to) in from.into_iter().zip(to) {
        let node = nodes.get_mut(to).and_then(Option::as_mut).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        if from == to || node.before.contains(&from) {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        node.before.push(from);
    }
    Ok(())
}

/// `cuGraphAddDependencies_v2`.
pub fn add_dependencies_v2(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
) -> Answer {
    add_dependencies(name, from, to, count)
}

/// `cuGraphRemoveDependencies`.
pub fn remove_dependencies(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    count: usize,
) -> Answer {
    let graph = graph(name)?;
    let (from, to) = (graph.places(&from.list(count)?)?, graph.places(&to.list(count)?)?);
    let mut nodes = graph.nodes.lock();
    for (from, to) in from.into_iter().zip(to) {
        let node = nodes.get_mut(to).and_then(Option::as_mut).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        let at = node.before.iter().position(|one| *one == from).ok_or(CUresult::ERROR_INVALID_VALUE)?;
        node.before.remove(at);
    }
    Ok(())
}

/// `cuGraphRemoveDependencies_v2`.
pub fn remove_dependencies_v2(
    name: CUgraph,
    from: Ref<CUgraphNode>,
    to: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
) -> Answer {
    remove_dependencies(name, from, to, count)
}

/// `cuGraphDestroyNode`.
pub fn destroy_node(name: CUgraphNode) -> Answer {
    let node = node(name)?;
    node.graph()?.remove(node.index);
    Ok(())
}

/// `cuGraphNodeGetType`.
pub fn node_kind(name: CUgraphNode, kind: Mut<CUgraphNodeType>) -> Answer {
    kind.given()?.set(node(name)?.with(|node| Ok(node.params.kind()))?)
}

/// `cuGraphNodeFindInClone`.
pub fn find_in_clone(out: Mut<CUgraphNode>, original: CUgraphNode, clone: CUgraph) -> Answer {
    out.given()?;
    let original = node(original)?;
    let clone = graph(clone)?;
    let nodes = clone.nodes.lock();
    let found = nodes.iter().flatten().find(|node| node.original == original.index);
    out.set(found.ok_or(CUresult::ERROR_INVALID_VALUE)?.name)
}

/// `cuGraphNodeGetContainingGraph`.
pub fn containing(name: CUgraphNode, out: Mut<CUgraph>) -> Answer {
    let graph = node(name)?.graph()?;
    out.set(tables::GRAPHS.name_of(&graph).ok_or(CUresult::ERROR_INVALID_HANDLE)?)
}

/// `cuGraphNodeGetLocalId`.
pub fn local_id(name: CUgraphNode, id: Mut<u32>) -> Answer {
    id.set(u32::try_from(node(name)?.index).unwrap_or(u32::MAX))
}

/// `cuGraphNodeGetToolsId`.
pub fn tools_id(name: CUgraphNode, id: Mut<u64>) -> Answer {
    node(name)?;
    id.set(name.0 as u64)
}

/// `cuGraphGetId`.
pub fn id(name: CUgraph, id: Mut<u32>) -> Answer {
    id.set(graph(name)?.id as u32)
}

/// `cuGraphExecGetId`.
pub fn exec_id(name: CUgraphExec, id: Mut<u32>) -> Answer {
    id.set(exec(name)?.id as u32)
}

/// `cuGraphDebugDotPrint`.
pub fn print(name: CUgraph, path: Text, _flags: u32) -> Answer {
    use std::os::unix::ffi::OsStringExt;
    let graph = graph(name)?;
    let path = std::ffi::OsString::from_vec(path.bytes()?);
    let mut text = String::from("digraph graph_ {\n");
    for node in graph.nodes.lock().iter().flatten() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  n{:x} [label=\"{:?}\"];", node.name.0, node.params.kind());
    }
    for (from, to) in edge_list(&graph) {
        let _ = writeln!(text, "  n{:x} -> n{:x};", from.0, to.0);
    }
    text.push_str("}\n");
    std::fs::write(path, text).map_err(|_| CUresult::ERROR_OPERATING_SYSTEM)
}

/// Attributes of kernel nodes: wishes.
fn kernel_node(name: CUgraphNode) -> Answer {
    node(name)?.with(|node| match node.params {
        Params::Kernel(..) => Ok(()),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    })
}

/// `cuGraphKernelNodeCopyAttributes`.
pub fn copy_attributes(to: CUgraphNode, from: CUgraphNode) -> Answer {
    kernel_node(to)?;
    kernel_node(from)
}

/// `cuGraphKernelNodeGetAttribute`.
pub fn attribute(name: CUgraphNode, _id: CUlaunchAttributeID, out: Mut<CUlaunchAttributeValue>) -> Answer {
    kernel_node(name)?;
    out.set([0; 8])
}

/// `cuGraphKernelNodeSetAttribute`.
pub fn set_attribute(
    name: CUgraphNode,
    id: CUlaunchAttributeID,
    value: Ref<CUlaunchAttributeValue>,
) -> Answer {
    let value = value.read()?;
    let is_cooperative = id == CUlaunchAttributeID::COOPERATIVE && value[0] as u32 != 0;
    kernel_node(name)?;
    node(name)?.with(|node| {
        if let Step::Launch(launch) = &mut node.step
            && is_cooperative
        {
            launch.flags |= dxg_wire::cuda::launch_flags::COOPERATIVE;
        }
        Ok(())
    })
}

/// `cuGraphInstantiateWithFlags`.
pub fn instantiate_with_flags(out: Mut<CUgraphExec>, name: CUgraph, flags: u64) -> Answer {
    let graph = graph(name)?;
    out.given()?;
    if flags & DEVICE_LAUNCH != 0 {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    out.set(tables::EXECS.insert(Arc::new(Exec::new(&graph, flags)?))?)
}

/// `cuGraphInstantiate` and `_v2`.
pub fn instantiate(
    out: Mut<CUgraphExec>,
    name: CUgraph,
    error_node: Mut<CUgraphNode>,
    log: Mut<u8>,
    log_bytes: usize,
) -> Answer {
    error_node.put(CUgraphNode::NULL);
    log.put_text(b"", log_bytes);
    instantiate_with_flags(out, name, 0)
}

/// `cuGraphInstantiateWithParams`.
pub fn instantiate_with_params(
    out: Mut<CUgraphExec>,
    name: CUgraph,
    params: Mut<CUDA_GRAPH_INSTANTIATE_PARAMS>,
) -> Answer {
    let mut said = params.read()?;
    let made = instantiate_with_flags(out, name, said.flags);
    said.h_err_node_out = CUgraphNode::NULL;
    said.result_out = match made {
        Ok(()) => CUgraphInstantiateResult::SUCCESS,
        Err(CUresult::ERROR_NOT_SUPPORTED) => CUgraphInstantiateResult::NODE_OPERATION_NOT_SUPPORTED,
        Err(_) => CUgraphInstantiateResult::INVALID_STRUCTURE,
    };
    params.set(said)?;
    made
}

/// `cuGraphExecDestroy`.
pub fn destroy_exec(name: CUgraphExec) -> Answer {
    driver::driver()?;
    tables::EXECS.remove(name).map(drop)
}

/// `cuGraphExecGetFlags`.
pub fn exec_flags(name: CUgraphExec, flags: Mut<u64>) -> Answer {
    flags.set(exec(name)?.flags)
}

/// `cuGraphLaunch`.
pub fn launch(name: CUgraphExec, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let prepared = exec(name)?.prepared.lock().clone();
    if lane.is_capturing.load(std::sync::atomic::Ordering::Relaxed) {
        return crate::capture::add(&lane, Step::Graph(Arc::new(prepared)), Params::Child(CUgraph::NULL));
    }
    graph::launch(&context, &lane, &prepared)
}

/// `cuGraphUpload`: there is nothing to prepare.
pub fn upload(name: CUgraphExec, stream: CUstream) -> Answer {
    current::stream(stream)?;
    exec(name).map(drop)
}

/// `cuGraphExecUpdate_v2`.
pub fn update(name: CUgraphExec, graph_name: CUgraph, info: Mut<CUgraphExecUpdateResultInfo>) -> Answer {
    let exec = exec(name)?;
    let graph = graph(graph_name)?;
    info.given()?;
    let mut said: CUgraphExecUpdateResultInfo = zerocopy::FromZeros::new_zeroed();
    let updated = exec.update(&graph);
    if let Err(node) = updated {
        said.result = match node {
            Some(_) => CUgraphExecUpdateResult::ERROR_NODE_TYPE_CHANGED,
            None => CUgraphExecUpdateResult::ERROR_TOPOLOGY_CHANGED,
        };
        said.error_node = node.unwrap_or(CUgraphNode::NULL);
    }
    info.set(said)?;
    updated.map_err(|_| CUresult::ERROR_GRAPH_EXEC_UPDATE_FAILURE)
}

/// `cuGraphExecUpdate`.
pub fn update_v1(
    name: CUgraphExec,
    graph: CUgraph,
    node: Mut<CUgraphNode>,
    result: Mut<CUgraphExecUpdateResult>,
) -> Answer {
    let mut said: CUgraphExecUpdateResultInfo = zerocopy::FromZeros::new_zeroed();
    let place = crate::ffi::pointers::Address(std::ptr::from_mut(&mut said).expose_provenance());
    let updated = update(name, graph, place.typed());
    node.put(said.error_node);
    result.put(said.result);
    updated
}

fn replace(name: CUgraphExec, node: CUgraphNode, made: Answer<(Step, Params)>) -> Answer {
    let exec = exec(name)?;
    let (step, params) = made?;
    exec.replace(node, step, params)
}

/// `cuGraphExecKernelNodeSetParams_v2`.
pub fn exec_kernel(name: CUgraphExec, node: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    replace(name, node, graph_nodes::kernel_step(&params.read()?))
}

/// `cuGraphExecKernelNodeSetParams`.
pub fn exec_kernel_v1(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>,
) -> Answer {
    replace(name, node, graph_nodes::kernel_step_v1(&params.read()?))
}

/// `cuGraphExecMemcpyNodeSetParams`.
pub fn exec_memcpy(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_MEMCPY3D>,
    ctx: CUcontext,
) -> Answer {
    replace(name, node, graph_nodes::memcpy_step(&params.read()?, ctx))
}

/// `cuGraphExecMemsetNodeSetParams`.
pub fn exec_memset(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_MEMSET_NODE_PARAMS>,
    ctx: CUcontext,
) -> Answer {
    replace(name, node, graph_nodes::memset_step(&params.read()?, ctx))
}

/// `cuGraphExecHostNodeSetParams`.
pub fn exec_host(name: CUgraphExec, node: CUgraphNode, params: Ref<CUDA_HOST_NODE_PARAMS>) -> Answer {
    replace(name, node, graph_nodes::host_step(&params.read()?))
}

/// `cuGraphExecChildGraphNodeSetParams`.
pub fn exec_child(name: CUgraphExec, node: CUgraphNode, child: CUgraph) -> Answer {
    replace(name, node, graph_nodes::child_step(child))
}

/// `cuGraphExecEventRecordNodeSetEvent`.
pub fn exec_record(name: CUgraphExec, node: CUgraphNode, event: CUevent) -> Answer {
    replace(name, node, graph_nodes::record_step(event))
}

/// `cuGraphExecEventWaitNodeSetEvent`.
pub fn exec_wait(name: CUgraphExec, node: CUgraphNode, event: CUevent) -> Answer {
    replace(name, node, graph_nodes::wait_step(event))
}

/// `cuGraphExecExternalSemaphoresSignalNodeSetParams`.
pub fn exec_signal(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>,
) -> Answer {
    replace(name, node, graph_nodes::signal_step(&params.read()?))
}

/// `cuGraphExecExternalSemaphoresWaitNodeSetParams`.
pub fn exec_await(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>,
) -> Answer {
    replace(name, node, graph_nodes::await_step(&params.read()?))
}

/// `cuGraphExecBatchMemOpNodeSetParams`.
pub fn exec_values(
    name: CUgraphExec,
    node: CUgraphNode,
    params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>,
) -> Answer {
    replace(name, node, graph_nodes::values_step(&params.read()?))
}

/// `cuGraphExecNodeSetParams`.
pub fn exec_any(name: CUgraphExec, node: CUgraphNode, params: Mut<CUgraphNodeParams>) -> Answer {
    replace(name, node, graph_nodes::any_step(params))
}

/// `cuGraphNodeSetEnabled`.
pub fn set_enabled(name: CUgraphExec, node: CUgraphNode, enabled: u32) -> Answer {
    exec(name)?.with(node, |step| match step.params {
        Params::Kernel(..) | Params::Memcpy(_) | Params::Memset(_) => {
            step.enabled = enabled != 0;
            Ok(())
        }
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    })
}

/// `cuGraphNodeGetEnabled`.
pub fn enabled(name: CUgraphExec, node: CUgraphNode, enabled: Mut<u32>) -> Answer {
    enabled.set(exec(name)?.with(node, |step| Ok(u32::from(step.enabled)))?)
}
