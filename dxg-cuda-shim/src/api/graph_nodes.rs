//! Nodes of graphs: added, and their parameters asked for and changed.

use dxg_wire::cuda::launch_flags;

use crate::condition::Conditional;
use crate::driver;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUgraphConditionalNodeType;
use crate::generated::enums::CUgraphNodeType as T;
use crate::generated::enums::CUlaunchAttributeID as L;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUgraph;
use crate::generated::handles::CUgraphNode;
use crate::generated::structs::CUDA_BATCH_MEM_OP_NODE_PARAMS;
use crate::generated::structs::CUDA_EXT_SEM_SIGNAL_NODE_PARAMS;
use crate::generated::structs::CUDA_EXT_SEM_WAIT_NODE_PARAMS;
use crate::generated::structs::CUDA_HOST_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS_v1;
use crate::generated::structs::CUDA_MEM_ALLOC_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMCPY_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS_v2;
use crate::generated::structs::CUgraphEdgeData;
use crate::generated::structs::CUgraphNodeParams;
use crate::graph::Node;
use crate::graph::Params;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::types::CUlaunchAttributeValue;

use super::graph::note_memory;
use super::nodes;
use super::nodes::Made;

/// Where in [`CUgraphNodeParams`] the parameters of the kind begin.
const PARAMS_AT: usize = 16;
/// Where in those of a conditional node the place of the graphs' names is.
const NAMES_AT: usize = 16;

fn add(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    make: impl FnOnce() -> Answer<Made>,
) -> Answer {
    driver::driver()?;
    out.given()?;
    let graph = tables::GRAPHS.get(graph)?;
    let mut before = graph.places(&dependencies.list(count)?)?;
    before.sort_unstable();
    if before.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let Made { step, params, memory } = make()?;
    if let Params::Conditional(said) = &params
        && said.condition.graph != graph.id
    {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let (name, index) = graph.add(step, params, before)?;
    if let Some(memory) = memory {
        note_memory(memory.context.device.ordinal);
        if let Some(Some(node)) = graph.nodes.lock().get_mut(index) {
            node.memory = Some(memory);
        }
    }
    out.set(name)
}

/// `cuGraphAddKernelNode`.
pub fn add_kernel(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::kernel(&nodes::widen(params.read()?)))
}

/// `cuGraphAddKernelNode_v2`.
pub fn add_kernel_v2(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_KERNEL_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::kernel(&params.read()?))
}

/// `cuGraphAddMemcpyNode`.
pub fn add_copy(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_MEMCPY3D>,
    context: CUcontext,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::copy(&params.read()?, context))
}

/// `cuGraphAddMemsetNode`.
pub fn add_fill(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_MEMSET_NODE_PARAMS>,
    context: CUcontext,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::fill(&nodes::fill_in(params.read()?, context)))
}

/// `cuGraphAddHostNode`.
pub fn add_host(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_HOST_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::host(params.read()?))
}

/// `cuGraphAddChildGraphNode`.
pub fn add_child(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    child: CUgraph,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::child(child))
}

/// `cuGraphAddEmptyNode`.
pub fn add_empty(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
) -> Answer {
    add(out, graph, dependencies, count, || Ok(nodes::empty()))
}

/// `cuGraphAddEventRecordNode`.
pub fn add_record(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::record(event))
}

/// `cuGraphAddEventWaitNode`.
pub fn add_wait(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::wait(event))
}

/// `cuGraphAddExternalSemaphoresSignalNode`.
pub fn add_signal(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || signal(&params.read()?))
}

/// `cuGraphAddExternalSemaphoresWaitNode`.
pub fn add_wait_for(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || wait_for(&params.read()?))
}

/// `cuGraphAddBatchMemOpNode`.
pub fn add_values(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::values(&params.read()?))
}

/// `cuGraphAddMemAllocNode`.
pub fn add_alloc(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Mut<CUDA_MEM_ALLOC_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || alloc(params))
}

/// `cuGraphAddMemFreeNode`.
pub fn add_free(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    address: CUdeviceptr,
) -> Answer {
    add(out, graph, dependencies, count, || nodes::free(address))
}

/// `cuGraphAddNode`.
pub fn add_any(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Mut<CUgraphNodeParams>,
) -> Answer {
    add(out, graph, dependencies, count, || any(params))
}

/// `cuGraphAddNode_v2` and `_v3`: the node comes after the whole of others, whatever the edges say.
pub fn add_any_v2(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    _data: Ref<CUgraphEdgeData>,
    count: usize,
    params: Mut<CUgraphNodeParams>,
) -> Answer {
    add_any(out, graph, dependencies, count, params)
}

fn signal(params: &CUDA_EXT_SEM_SIGNAL_NODE_PARAMS) -> Answer<Made> {
    nodes::signal(params.ext_sem_array, params.params_array, params.num_ext_sems)
}

fn wait_for(params: &CUDA_EXT_SEM_WAIT_NODE_PARAMS) -> Answer<Made> {
    nodes::wait_for(params.ext_sem_array, params.params_array, params.num_ext_sems)
}

fn alloc(params: Mut<CUDA_MEM_ALLOC_NODE_PARAMS>) -> Answer<Made> {
    let mut asked = params.read()?;
    let made = nodes::alloc(&asked)?;
    if let Params::Alloc(address, _) = made.params {
        asked.dptr = CUdeviceptr(address);
        params.set(asked)?;
    }
    Ok(made)
}

/// A node with graphs that run by a value. Words: handle, kind and size, where the graphs' names are, context.
fn conditional(at: Address) -> Answer<Made> {
    let [handle, kind, ..] = at.typed::<[u64; 4]>().read()?;
    let made =
        nodes::conditional(handle, CUgraphConditionalNodeType(kind as u32 as i32), (kind >> 32) as u32)?;
    if let Params::Conditional(said) = &made.params {
        at.plus(NAMES_AT).typed::<Address>().set(names_of(said))?;
    }
    Ok(made)
}

fn names_of(said: &Conditional) -> Address {
    Address(said.names.as_ptr().expose_provenance())
}

/// A node of whatever kind the parameters say.
///
/// # Errors
/// Invalid value.
pub fn any(params: Mut<CUgraphNodeParams>) -> Answer<Made> {
    let at = params.given()?.address().plus(PARAMS_AT);
    match params.read()?.kind {
        T::KERNEL => nodes::kernel(&at.typed().read()?),
        T::MEMCPY => {
            let asked: CUDA_MEMCPY_NODE_PARAMS = at.typed().read()?;
            nodes::copy(&asked.copy_params, asked.copy_ctx)
        }
        T::MEMSET => nodes::fill(&at.typed().read()?),
        T::HOST => nodes::host(at.typed().read()?),
        T::GRAPH => nodes::child(at.typed().read()?),
        T::EMPTY => Ok(nodes::empty()),
        T::WAIT_EVENT => nodes::wait(at.typed().read()?),
        T::EVENT_RECORD => nodes::record(at.typed().read()?),
        T::EXT_SEMAS_SIGNAL => signal(&at.typed().read()?),
        T::EXT_SEMAS_WAIT => wait_for(&at.typed().read()?),
        T::MEM_ALLOC => alloc(at.typed()),
        T::MEM_FREE => nodes::free(at.typed().read()?),
        T::BATCH_MEM_OP => nodes::values(&at.typed().read()?),
        T::CONDITIONAL => conditional(at),
        _ => Err(CUresult::ERROR_INVALID_VALUE),
    }
}

fn with<R>(node: CUgraphNode, run: impl FnOnce(&mut Node) -> Answer<R>) -> Answer<R> {
    driver::driver()?;
    tables::NODES.get(node)?.with(run)
}

/// Puts other parameters in the place of a node's. What was there is dropped without a lock.
fn replace(node: CUgraphNode, mut made: Made) -> Answer {
    let old = with(node, |node| {
        if node.params.kind() != made.params.kind() {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        if let (Step::Launch(old), Step::Launch(new)) = (&node.step, &mut made.step) {
            if old.function.module.context.id != new.function.module.context.id {
                return Err(CUresult::ERROR_INVALID_VALUE);
            }
            new.flags = old.flags;
        }
        node.pointers = None;
        Ok((std::mem::replace(&mut node.step, made.step), std::mem::replace(&mut node.params, made.params)))
    })?;
    drop(old);
    Ok(())
}

/// `cuGraphKernelNodeGetParams`.
pub fn kernel(node: CUgraphNode, out: Mut<CUDA_KERNEL_NODE_PARAMS_v1>) -> Answer {
    out.given()?.set(nodes::narrow(&with(node, nodes::kernel_params)?))
}

/// `cuGraphKernelNodeGetParams_v2`.
pub fn kernel_v2(node: CUgraphNode, out: Mut<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    out.given()?.set(with(node, nodes::kernel_params)?)
}

/// `cuGraphKernelNodeSetParams`.
pub fn set_kernel(node: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>) -> Answer {
    replace(node, nodes::kernel(&nodes::widen(params.read()?))?)
}

/// `cuGraphKernelNodeSetParams_v2`.
pub fn set_kernel_v2(node: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    replace(node, nodes::kernel(&params.read()?)?)
}

/// `cuGraphKernelNodeGetAttribute`.
pub fn kernel_attribute(node: CUgraphNode, attribute: L, out: Mut<CUlaunchAttributeValue>) -> Answer {
    out.given()?;
    let found = with(node, |node| {
        let Step::Launch(launch) = &node.step else { return Err(CUresult::ERROR_INVALID_VALUE) };
        let kept = node.attributes.iter().find(|(one, _)| *one == attribute.0).map(|(_, value)| *value);
        let is_cooperative = launch.flags & launch_flags::COOPERATIVE != 0;
        match attribute {
            L::COOPERATIVE => Ok([u64::from(is_cooperative), 0, 0, 0, 0, 0, 0, 0]),
            L::CLUSTER_DIMENSION => Ok([0; 8]),
            L::PRIORITY | L::ACCESS_POLICY_WINDOW | L::MEM_SYNC_DOMAIN | L::MEM_SYNC_DOMAIN_MAP => {
                Ok(kept.unwrap_or_default())
            }
            _ => kept.ok_or(CUresult::ERROR_INVALID_VALUE),
        }
    })?;
    out.set(found)
}

fn keep_attribute(node: &mut Node, attribute: L, value: CUlaunchAttributeValue) -> Answer {
    let Step::Launch(launch) = &mut node.step else { return Err(CUresult::ERROR_INVALID_VALUE) };
    match attribute {
        L::COOPERATIVE if value[0] as u32 != 0 => launch.flags |= launch_flags::COOPERATIVE,
        L::COOPERATIVE => launch.flags &= !launch_flags::COOPERATIVE,
        L::PRIORITY | L::ACCESS_POLICY_WINDOW | L::MEM_SYNC_DOMAIN | L::MEM_SYNC_DOMAIN_MAP => {
            node.attributes.retain(|(one, _)| *one != attribute.0);
            node.attributes.push((attribute.0, value));
        }
        L::DEVICE_UPDATABLE_KERNEL_NODE | L::PROGRAMMATIC_EVENT | L::LAUNCH_COMPLETION_EVENT => {
            return Err(CUresult::ERROR_NOT_SUPPORTED);
        }
        L::CLUSTER_DIMENSION => super::launch::check_cluster(value)?,
        // Other wishes.
        _ => {}
    }
    Ok(())
}

/// `cuGraphKernelNodeSetAttribute`.
pub fn set_kernel_attribute(node: CUgraphNode, attribute: L, value: Ref<CUlaunchAttributeValue>) -> Answer {
    let value = value.read()?;
    with(node, |node| keep_attribute(node, attribute, value))
}

/// `cuGraphKernelNodeCopyAttributes`.
pub fn copy_kernel_attributes(to: CUgraphNode, from: CUgraphNode) -> Answer {
    let (flags, attributes) = with(from, |node| {
        let Step::Launch(launch) = &node.step else { return Err(CUresult::ERROR_INVALID_VALUE) };
        Ok((launch.flags, node.attributes.clone()))
    })?;
    with(to, |node| {
        let Step::Launch(launch) = &mut node.step else { return Err(CUresult::ERROR_INVALID_VALUE) };
        launch.flags = flags;
        node.attributes = attributes;
        Ok(())
    })
}

/// What of a node's parameters is there to be had, or invalid value.
macro_rules! asked {
    ($node:expr, $pattern:pat => $value:expr) => {
        with($node, |node| match &node.params {
            $pattern => Ok($value),
            _ => Err(CUresult::ERROR_INVALID_VALUE),
        })
    };
}

/// `cuGraphMemcpyNodeGetParams`.
pub fn copy(node: CUgraphNode, out: Mut<CUDA_MEMCPY3D>) -> Answer {
    out.set(asked!(node, Params::Memcpy(copy) => **copy)?)
}

/// `cuGraphMemcpyNodeSetParams`.
pub fn set_copy(node: CUgraphNode, params: Ref<CUDA_MEMCPY3D>) -> Answer {
    replace(node, nodes::copy(&params.read()?, CUcontext::NULL)?)
}

/// `cuGraphMemsetNodeGetParams`.
pub fn fill(node: CUgraphNode, out: Mut<CUDA_MEMSET_NODE_PARAMS>) -> Answer {
    let CUDA_MEMSET_NODE_PARAMS_v2 { dst, pitch, value, element_size, width, height, .. } =
        asked!(node, Params::Memset(fill) => *fill)?;
    out.set(CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, element_size, width, height })
}

/// `cuGraphMemsetNodeSetParams`.
pub fn set_fill(node: CUgraphNode, params: Ref<CUDA_MEMSET_NODE_PARAMS>) -> Answer {
    replace(node, nodes::fill(&nodes::fill_in(params.read()?, CUcontext::NULL))?)
}

/// `cuGraphHostNodeGetParams`.
pub fn host(node: CUgraphNode, out: Mut<CUDA_HOST_NODE_PARAMS>) -> Answer {
    out.set(asked!(node, Params::Host(host) => *host)?)
}

/// `cuGraphHostNodeSetParams`.
pub fn set_host(node: CUgraphNode, params: Ref<CUDA_HOST_NODE_PARAMS>) -> Answer {
    replace(node, nodes::host(params.read()?)?)
}

/// `cuGraphChildGraphNodeGetGraph`.
pub fn child(node: CUgraphNode, out: Mut<CUgraph>) -> Answer {
    out.set(asked!(node, Params::Child(child) => child.name)?)
}

/// `cuGraphEventRecordNodeGetEvent`.
pub fn record(node: CUgraphNode, out: Mut<CUevent>) -> Answer {
    out.set(asked!(node, Params::Record(event) => *event)?)
}

/// `cuGraphEventRecordNodeSetEvent`.
pub fn set_record(node: CUgraphNode, event: CUevent) -> Answer {
    replace(node, nodes::record(event)?)
}

/// `cuGraphEventWaitNodeGetEvent`.
pub fn wait(node: CUgraphNode, out: Mut<CUevent>) -> Answer {
    out.set(asked!(node, Params::Wait(event) => *event)?)
}

/// `cuGraphEventWaitNodeSetEvent`.
pub fn set_wait(node: CUgraphNode, event: CUevent) -> Answer {
    replace(node, nodes::wait(event)?)
}

fn signal_params(node: &Node) -> Answer<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS> {
    let Params::Signal(said) = &node.params else { return Err(CUresult::ERROR_INVALID_VALUE) };
    let mut params: CUDA_EXT_SEM_SIGNAL_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    params.ext_sem_array = Address(said.names.as_ptr().expose_provenance()).typed();
    params.params_array = Address(said.params.as_ptr().expose_provenance()).typed_const();
    params.num_ext_sems = said.names.len() as u32;
    Ok(params)
}

fn wait_params(node: &Node) -> Answer<CUDA_EXT_SEM_WAIT_NODE_PARAMS> {
    let Params::Await(said) = &node.params else { return Err(CUresult::ERROR_INVALID_VALUE) };
    let mut params: CUDA_EXT_SEM_WAIT_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    params.ext_sem_array = Address(said.names.as_ptr().expose_provenance()).typed();
    params.params_array = Address(said.params.as_ptr().expose_provenance()).typed_const();
    params.num_ext_sems = said.names.len() as u32;
    Ok(params)
}

fn values_params(node: &Node) -> Answer<CUDA_BATCH_MEM_OP_NODE_PARAMS> {
    let Params::Values(ctx, list) = &node.params else { return Err(CUresult::ERROR_INVALID_VALUE) };
    let mut params: CUDA_BATCH_MEM_OP_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    params.ctx = *ctx;
    params.count = list.len() as u32;
    params.param_array = Address(list.as_ptr().expose_provenance()).typed();
    Ok(params)
}

/// `cuGraphExternalSemaphoresSignalNodeGetParams`.
pub fn signal_of(node: CUgraphNode, out: Mut<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>) -> Answer {
    out.set(with(node, |node| signal_params(node))?)
}

/// `cuGraphExternalSemaphoresSignalNodeSetParams`.
pub fn set_signal(node: CUgraphNode, params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>) -> Answer {
    replace(node, signal(&params.read()?)?)
}

/// `cuGraphExternalSemaphoresWaitNodeGetParams`.
pub fn wait_of(node: CUgraphNode, out: Mut<CUDA_EXT_SEM_WAIT_NODE_PARAMS>) -> Answer {
    out.set(with(node, |node| wait_params(node))?)
}

/// `cuGraphExternalSemaphoresWaitNodeSetParams`.
pub fn set_wait_for(node: CUgraphNode, params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>) -> Answer {
    replace(node, wait_for(&params.read()?)?)
}

/// `cuGraphBatchMemOpNodeGetParams`.
pub fn values(node: CUgraphNode, out: Mut<CUDA_BATCH_MEM_OP_NODE_PARAMS>) -> Answer {
    out.set(with(node, |node| values_params(node))?)
}

/// `cuGraphBatchMemOpNodeSetParams`.
pub fn set_values(node: CUgraphNode, params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>) -> Answer {
    replace(node, nodes::values(&params.read()?)?)
}

fn alloc_params(node: &Node) -> Answer<CUDA_MEM_ALLOC_NODE_PARAMS> {
    let Params::Alloc(address, bytes) = &node.params else { return Err(CUresult::ERROR_INVALID_VALUE) };
    let mut params: CUDA_MEM_ALLOC_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    params.pool_props.alloc_type = crate::generated::enums::CUmemAllocationType::PINNED;
    params.pool_props.location.kind = crate::generated::enums::CUmemLocationType::DEVICE;
    params.pool_props.location.id = node.memory.as_ref().map_or(0, |memory| memory.context.device.number().0);
    (params.bytesize, params.dptr) = (*bytes as usize, CUdeviceptr(*address));
    Ok(params)
}

/// `cuGraphMemAllocNodeGetParams`.
pub fn alloc_of(node: CUgraphNode, out: Mut<CUDA_MEM_ALLOC_NODE_PARAMS>) -> Answer {
    out.set(with(node, |node| alloc_params(node))?)
}

/// `cuGraphMemFreeNodeGetParams`.
pub fn free_of(node: CUgraphNode, out: Mut<CUdeviceptr>) -> Answer {
    out.set(asked!(node, Params::Free(address) => CUdeviceptr(*address))?)
}

/// `cuGraphNodeSetParams` and `_v2`.
pub fn set_any(node: CUgraphNode, params: Mut<CUgraphNodeParams>) -> Answer {
    match params.read()?.kind {
        T::MEM_ALLOC | T::MEM_FREE | T::CONDITIONAL => Err(CUresult::ERROR_INVALID_VALUE),
        _ => replace(node, any(params)?),
    }
}

/// `cuGraphNodeGetParams`.
pub fn any_of(node: CUgraphNode, out: Mut<CUgraphNodeParams>) -> Answer {
    out.given()?;
    let mut head: CUgraphNodeParams = zerocopy::FromZeros::new_zeroed();
    head.kind = with(node, |node| Ok(node.params.kind()))?;
    out.set(head)?;
    let at = out.address().plus(PARAMS_AT);
    match head.kind {
        T::KERNEL => kernel_v2(node, at.typed()),
        T::MEMCPY => {
            let mut params: CUDA_MEMCPY_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
            params.copy_params = asked!(node, Params::Memcpy(copy) => **copy)?;
            at.typed().set(params)
        }
        T::MEMSET => at.typed().set(asked!(node, Params::Memset(fill) => *fill)?),
        T::HOST => host(node, at.typed()),
        T::GRAPH => child(node, at.typed()),
        T::WAIT_EVENT => wait(node, at.typed()),
        T::EVENT_RECORD => record(node, at.typed()),
        T::EXT_SEMAS_SIGNAL => signal_of(node, at.typed()),
        T::EXT_SEMAS_WAIT => wait_of(node, at.typed()),
        T::MEM_ALLOC => alloc_of(node, at.typed()),
        T::MEM_FREE => free_of(node, at.typed()),
        T::BATCH_MEM_OP => values(node, at.typed()),
        T::CONDITIONAL => {
            let said = asked!(node, Params::Conditional(said) => std::sync::Arc::clone(said))?;
            let kind = u64::from(said.kind.0 as u32) | (said.names.len() as u64) << 32;
            at.typed().set([said.condition.address, kind, names_of(&said).0 as u64, 0])
        }
        _ => Ok(()),
    }
}
