//! Graphs: made, and nodes added, asked and changed.

use std::sync::Arc;

use crate::arena::Kind;
use crate::arena::Residence;
use crate::context::Context;
use crate::current;
use crate::driver;
use crate::external::Semaphore;
use crate::ffi::callbacks::HostFunction;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUgraphNodeType as T;
use crate::generated::enums::CUresult;
use crate::generated::handles::*;
use crate::generated::structs::*;
use crate::graph::Graph;
use crate::graph::GraphMemory;
use crate::graph::Node;
use crate::graph::NodeRef;
use crate::graph::Params;
use crate::places::Place;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;
use crate::work::Fill;
use crate::work::HostCall;
use crate::work::Launch;

use super::copy_box;
use super::external;
use super::fill;
use super::launch;
use super::stream;

/// What a node is made of.
type Made = (Step, Params);

fn context_or_current(ctx: CUcontext) -> Answer<Arc<Context>> {
    if ctx == CUcontext::NULL { current::context() } else { tables::context(ctx) }
}

/// A kernel's node.
///
/// # Errors
/// Invalid value.
pub fn kernel_step(params: &CUDA_KERNEL_NODE_PARAMS) -> Answer<Made> {
    let context = context_or_current(params.ctx)?;
    let handle = if params.func == CUfunction::NULL { CUfunction(params.kern.0) } else { params.func };
    let function = launch::function(&context, handle)?;
    let grid = [params.grid_dim_x, params.grid_dim_y, params.grid_dim_z];
    let block = [params.block_dim_x, params.block_dim_y, params.block_dim_z];
    let shared_bytes = params.shared_mem_bytes;
    launch::check(&function, grid, block, shared_bytes)?;
    let block_of_params = launch::pack(&function, params.kernel_params, params.extra)?;
    let step = Launch { function, grid, block, shared_bytes, flags: 0, params: block_of_params };
    Ok((Step::Launch(step), Params::Kernel(handle, params.ctx)))
}

/// The same from the form without a context.
///
/// # Errors
/// Invalid value.
pub fn kernel_step_v1(params: &CUDA_KERNEL_NODE_PARAMS_v1) -> Answer<Made> {
    kernel_step(&CUDA_KERNEL_NODE_PARAMS {
        func: params.func,
        grid_dim_x: params.grid_dim_x,
        grid_dim_y: params.grid_dim_y,
        grid_dim_z: params.grid_dim_z,
        block_dim_x: params.block_dim_x,
        block_dim_y: params.block_dim_y,
        block_dim_z: params.block_dim_z,
        shared_mem_bytes: params.shared_mem_bytes,
        kernel_params: params.kernel_params,
        extra: params.extra,
        kern: CUkernel::NULL,
        ctx: CUcontext::NULL,
    })
}

/// A copy's node.
///
/// # Errors
/// Invalid value.
pub fn memcpy_step(copy: &CUDA_MEMCPY3D, ctx: CUcontext) -> Answer<Made> {
    let context = context_or_current(ctx)?;
    let step = match copy_box::of_node(&context, copy)? {
        None => Step::Empty,
        Some((to, from, shape)) => {
            let mut shape = shape;
            (shape.to[0], shape.from[0]) = (to.address(), from.address());
            match (to, from) {
                (Place::Shared(_), Place::Shared(_)) => Step::Copy(shape),
                // What would be copied when the graph runs is not known to a driver of the host.
                _ if context.arena.residence() == Residence::Remote => {
                    return Err(CUresult::ERROR_NOT_SUPPORTED);
                }
                _ => Step::HostCopy(shape),
            }
        }
    };
    Ok((step, Params::Memcpy(Box::new(*copy))))
}

/// A fill's node.
///
/// # Errors
/// Invalid value.
pub fn memset_step(params: &CUDA_MEMSET_NODE_PARAMS, ctx: CUcontext) -> Answer<Made> {
    let context = context_or_current(ctx)?;
    let CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, element_size, width, height } = *params;
    if !matches!(element_size, 1 | 2 | 4) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let fill = Fill {
        to: dst.0,
        pitch: pitch as u64,
        value_bytes: element_size,
        value,
        width: width as u64,
        height: height as u64,
    };
    let step = Step::Fill(fill::checked(&context, fill)?);
    Ok((
        step,
        Params::Memset(CUDA_MEMSET_NODE_PARAMS_v2 { dst, pitch, value, element_size, width, height, ctx }),
    ))
}

/// A call's node.
///
/// # Errors
/// Invalid value.
pub fn host_step(params: &CUDA_HOST_NODE_PARAMS) -> Answer<Made> {
    let call = HostCall::Function(HostFunction::at(params.function)?, params.user_data);
    Ok((Step::Host(call), Params::Host(*params)))
}

/// A node that is a graph.
///
/// # Errors
/// Invalid value.
pub fn child_step(child: CUgraph) -> Answer<Made> {
    let copy = tables::GRAPHS.get(child)?.duplicate()?;
    let step = Step::Graph(Arc::new(copy.prepare()?));
    Ok((step, Params::Child(tables::GRAPHS.insert(copy)?)))
}

/// A node that records an event.
///
/// # Errors
/// Invalid handle.
pub fn record_step(event: CUevent) -> Answer<Made> {
    Ok((Step::Record(tables::EVENTS.get(event)?), Params::Record(event)))
}

/// A node that waits for an event.
///
/// # Errors
/// Invalid handle.
pub fn wait_step(event: CUevent) -> Answer<Made> {
    Ok((Step::Wait(tables::EVENTS.get(event)?), Params::Wait(event)))
}

/// A node that raises semaphores.
///
/// # Errors
/// Invalid handle.
pub fn signal_step(params: &CUDA_EXT_SEM_SIGNAL_NODE_PARAMS) -> Answer<Made> {
    let count = params.num_ext_sems as usize;
    let names = params.ext_sem_array.list(count)?;
    let values = params.params_array.list(count)?.into_iter().map(|one| one.params[0]);
    Ok((Step::Signal(pairs(&names, values)?), Params::Signal))
}

/// A node that waits for semaphores.
///
/// # Errors
/// Invalid handle.
pub fn await_step(params: &CUDA_EXT_SEM_WAIT_NODE_PARAMS) -> Answer<Made> {
    let count = params.num_ext_sems as usize;
    let names = params.ext_sem_array.list(count)?;
    let values = params.params_array.list(count)?.into_iter().map(|one| one.params[0]);
    Ok((Step::Await(pairs(&names, values)?), Params::Await))
}

fn pairs(
    names: &[CUexternalSemaphore],
    values: impl Iterator<Item = u64>,
) -> Answer<Vec<(Arc<Semaphore>, u64)>> {
    names.iter().zip(values).map(|(name, value)| Ok((external::semaphore(*name)?, value))).collect()
}

/// A node of waits and writes.
///
/// # Errors
/// Invalid value.
pub fn values_step(params: &CUDA_BATCH_MEM_OP_NODE_PARAMS) -> Answer<Made> {
    let context = context_or_current(params.ctx)?;
    let values = stream::values(&context, &params.param_array.list(params.count as usize)?)?;
    Ok((Step::Values(values), Params::Values))
}

/// What the structure for any node says.
///
/// # Errors
/// Invalid value, not supported.
pub fn any_step(params: Mut<CUgraphNodeParams>) -> Answer<Made> {
    let kind = params.read()?.kind;
    let inner = params.address().plus(std::mem::offset_of!(CUgraphNodeParams, params));
    match kind {
        T::KERNEL => kernel_step(&inner.typed::<CUDA_KERNEL_NODE_PARAMS>().read()?),
        T::MEMCPY => {
            let node = inner.typed::<CUDA_MEMCPY_NODE_PARAMS>().read()?;
            memcpy_step(&node.copy_params, node.copy_ctx)
        }
        T::MEMSET => {
            let node = inner.typed::<CUDA_MEMSET_NODE_PARAMS_v2>().read()?;
            let CUDA_MEMSET_NODE_PARAMS_v2 { dst, pitch, value, element_size, width, height, ctx } = node;
            memset_step(&CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, element_size, width, height }, ctx)
        }
        T::HOST => host_step(&inner.typed::<CUDA_HOST_NODE_PARAMS>().read()?),
        T::GRAPH => child_step(inner.typed::<CUgraph>().read()?),
        T::EMPTY => Ok((Step::Empty, Params::Empty)),
        T::WAIT_EVENT => wait_step(inner.typed::<CUevent>().read()?),
        T::EVENT_RECORD => record_step(inner.typed::<CUevent>().read()?),
        T::EXT_SEMAS_SIGNAL => signal_step(&inner.typed::<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>().read()?),
        T::EXT_SEMAS_WAIT => await_step(&inner.typed::<CUDA_EXT_SEM_WAIT_NODE_PARAMS>().read()?),
        T::BATCH_MEM_OP => values_step(&inner.typed::<CUDA_BATCH_MEM_OP_NODE_PARAMS>().read()?),
        T::MEM_FREE => {
            let address = inner.typed::<CUdeviceptr>().read()?.0;
            Ok((Step::Freed(address), Params::Free(address)))
        }
        _ => Err(CUresult::ERROR_NOT_SUPPORTED),
    }
}

/// `cuGraphCreate`.
pub fn create(out: Mut<CUgraph>, flags: u32) -> Answer {
    driver::driver()?;
    out.given()?;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.set(tables::GRAPHS.insert(Arc::new(Graph::default()))?)
}

/// `cuGraphDestroy`.
pub fn destroy(graph: CUgraph) -> Answer {
    driver::driver()?;
    tables::GRAPHS.remove(graph).map(drop)
}

/// `cuGraphClone`.
pub fn clone(out: Mut<CUgraph>, original: CUgraph) -> Answer {
    driver::driver()?;
    out.given()?;
    out.set(tables::GRAPHS.insert(tables::GRAPHS.get(original)?.duplicate()?)?)
}

fn add(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    make: impl FnOnce() -> Answer<Made>,
) -> Answer<(Arc<Graph>, usize)> {
    driver::driver()?;
    out.given()?;
    let graph = tables::GRAPHS.get(graph)?;
    let before = graph.places(&dependencies.list(count)?)?;
    let (step, params) = make()?;
    let (name, index) = graph.add(step, params, before)?;
    out.set(name)?;
    Ok((graph, index))
}

/// `cuGraphAddKernelNode_v2`.
pub fn add_kernel(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_KERNEL_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || kernel_step(&params.read()?)).map(drop)
}

/// `cuGraphAddKernelNode`.
pub fn add_kernel_v1(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>,
) -> Answer {
    add(out, graph, dependencies, count, || kernel_step_v1(&params.read()?)).map(drop)
}

/// `cuGraphAddMemcpyNode`.
pub fn add_memcpy(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_MEMCPY3D>,
    ctx: CUcontext,
) -> Answer {
    add(out, graph, dependencies, count, || memcpy_step(&params.read()?, ctx)).map(drop)
}

/// `cuGraphAddMemsetNode`.
pub fn add_memset(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_MEMSET_NODE_PARAMS>,
    ctx: CUcontext,
) -> Answer {
    add(out, graph, dependencies, count, || memset_step(&params.read()?, ctx)).map(drop)
}

/// `cuGraphAddHostNode`.
pub fn add_host(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_HOST_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || host_step(&params.read()?)).map(drop)
}

/// `cuGraphAddChildGraphNode`.
pub fn add_child(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    child: CUgraph,
) -> Answer {
    add(out, graph, dependencies, count, || child_step(child)).map(drop)
}

/// `cuGraphAddEmptyNode`.
pub fn add_empty(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
) -> Answer {
    add(out, graph, dependencies, count, || Ok((Step::Empty, Params::Empty))).map(drop)
}

/// `cuGraphAddEventRecordNode`.
pub fn add_record(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> Answer {
    add(out, graph, dependencies, count, || record_step(event)).map(drop)
}

/// `cuGraphAddEventWaitNode`.
pub fn add_wait(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    event: CUevent,
) -> Answer {
    add(out, graph, dependencies, count, || wait_step(event)).map(drop)
}

/// `cuGraphAddExternalSemaphoresSignalNode`.
pub fn add_signal(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || signal_step(&params.read()?)).map(drop)
}

/// `cuGraphAddExternalSemaphoresWaitNode`.
pub fn add_await(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || await_step(&params.read()?)).map(drop)
}

/// `cuGraphAddBatchMemOpNode`.
pub fn add_values(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>,
) -> Answer {
    add(out, graph, dependencies, count, || values_step(&params.read()?)).map(drop)
}

/// Adds a node that allocates; the memory is the graph's.
fn add_allocation(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    bytes: usize,
) -> Answer<u64> {
    let context = current::context()?;
    if bytes == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let address = context.arena.allocate(&context.ring, bytes as u64, Kind::Pooled, 0)?;
    let memory = Arc::new(GraphMemory { context, address });
    let make = || Ok((Step::Allocated(address), Params::Alloc(address, bytes as u64)));
    let (graph, index) = add(out, graph, dependencies, count, make)?;
    if let Some(Some(node)) = graph.nodes.lock().get_mut(index) {
        node.memory = Some(memory);
    }
    Ok(address)
}

/// `cuGraphAddMemAllocNode`.
pub fn add_alloc(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Mut<CUDA_MEM_ALLOC_NODE_PARAMS>,
) -> Answer {
    let mut said = params.read()?;
    said.dptr = CUdeviceptr(add_allocation(out, graph, dependencies, count, said.bytesize)?);
    params.set(said)
}

/// `cuGraphAddMemFreeNode`.
pub fn add_free(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    ptr: CUdeviceptr,
) -> Answer {
    add(out, graph, dependencies, count, || Ok((Step::Freed(ptr.0), Params::Free(ptr.0)))).map(drop)
}

/// `cuGraphAddNode`.
pub fn add_any(
    out: Mut<CUgraphNode>,
    graph: CUgraph,
    dependencies: Ref<CUgraphNode>,
    count: usize,
    params: Mut<CUgraphNodeParams>,
) -> Answer {
    if params.read()?.kind == T::MEM_ALLOC {
        let inner = params.address().plus(std::mem::offset_of!(CUgraphNodeParams, params));
        let inner = inner.typed::<CUDA_MEM_ALLOC_NODE_PARAMS>();
        return add_alloc(out, graph, dependencies, count, inner);
    }
    add(out, graph, dependencies, count, || any_step(params)).map(drop)
}

/// `cuGraphAddNode_v2` and `_v3`.
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

/// A node by its name.
///
/// # Errors
/// Invalid handle.
pub fn node(name: CUgraphNode) -> Answer<Arc<NodeRef>> {
    driver::driver()?;
    tables::NODES.get(name)
}

/// Puts another step of the same kind into a node.
fn change(name: CUgraphNode, made: Answer<Made>) -> Answer {
    let node = node(name)?;
    let (step, params) = made?;
    node.with(|node| {
        if node.params.kind() != params.kind() {
            return Err(CUresult::ERROR_INVALID_VALUE);
        }
        (node.step, node.params, node.pointers) = (step, params, None);
        Ok(())
    })
}

/// `cuGraphKernelNodeSetParams_v2`.
pub fn set_kernel(name: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    change(name, kernel_step(&params.read()?))
}

/// `cuGraphKernelNodeSetParams`.
pub fn set_kernel_v1(name: CUgraphNode, params: Ref<CUDA_KERNEL_NODE_PARAMS_v1>) -> Answer {
    change(name, kernel_step_v1(&params.read()?))
}

/// `cuGraphMemcpyNodeSetParams`.
pub fn set_memcpy(name: CUgraphNode, params: Ref<CUDA_MEMCPY3D>) -> Answer {
    change(name, memcpy_step(&params.read()?, CUcontext::NULL))
}

/// `cuGraphMemsetNodeSetParams`.
pub fn set_memset(name: CUgraphNode, params: Ref<CUDA_MEMSET_NODE_PARAMS>) -> Answer {
    change(name, memset_step(&params.read()?, CUcontext::NULL))
}

/// `cuGraphHostNodeSetParams`.
pub fn set_host(name: CUgraphNode, params: Ref<CUDA_HOST_NODE_PARAMS>) -> Answer {
    change(name, host_step(&params.read()?))
}

/// `cuGraphEventRecordNodeSetEvent`.
pub fn set_record(name: CUgraphNode, event: CUevent) -> Answer {
    change(name, record_step(event))
}

/// `cuGraphEventWaitNodeSetEvent`.
pub fn set_wait(name: CUgraphNode, event: CUevent) -> Answer {
    change(name, wait_step(event))
}

/// `cuGraphExternalSemaphoresSignalNodeSetParams`.
pub fn set_signal(name: CUgraphNode, params: Ref<CUDA_EXT_SEM_SIGNAL_NODE_PARAMS>) -> Answer {
    change(name, signal_step(&params.read()?))
}

/// `cuGraphExternalSemaphoresWaitNodeSetParams`.
pub fn set_await(name: CUgraphNode, params: Ref<CUDA_EXT_SEM_WAIT_NODE_PARAMS>) -> Answer {
    change(name, await_step(&params.read()?))
}

/// `cuGraphBatchMemOpNodeSetParams`.
pub fn set_values(name: CUgraphNode, params: Ref<CUDA_BATCH_MEM_OP_NODE_PARAMS>) -> Answer {
    change(name, values_step(&params.read()?))
}

/// `cuGraphNodeSetParams` and `_v2`.
pub fn set_any(name: CUgraphNode, params: Mut<CUgraphNodeParams>) -> Answer {
    change(name, any_step(params))
}

/// Pointers to the parameters in a kernel node's block; they last as long as the node says the same.
fn kernel_pointers(node: &mut Node) -> Answer<Mut<Address>> {
    let Step::Launch(launch) = &node.step else { return Err(CUresult::ERROR_INVALID_VALUE) };
    let base = launch.params.as_ptr().expose_provenance();
    let params = &launch.function.info()?.params.0;
    let pointers: Arc<[usize]> = params.iter().map(|param| base + param.offset as usize).collect();
    let at = Address(pointers.as_ptr().expose_provenance());
    node.pointers = Some(pointers);
    Ok(at.typed())
}

/// `cuGraphKernelNodeGetParams_v2`.
pub fn kernel(name: CUgraphNode, out: Mut<CUDA_KERNEL_NODE_PARAMS>) -> Answer {
    let found = node(name)?.with(|node| {
        let kernel_params = kernel_pointers(node)?;
        let (Step::Launch(launch), Params::Kernel(handle, ctx)) = (&node.step, &node.params) else {
            return Err(CUresult::ERROR_INVALID_VALUE);
        };
        let is_kernel = tables::KERNELS.is_of(handle.0);
        Ok(CUDA_KERNEL_NODE_PARAMS {
            func: if is_kernel { CUfunction::NULL } else { *handle },
            grid_dim_x: launch.grid[0],
            grid_dim_y: launch.grid[1],
            grid_dim_z: launch.grid[2],
            block_dim_x: launch.block[0],
            block_dim_y: launch.block[1],
            block_dim_z: launch.block[2],
            shared_mem_bytes: launch.shared_bytes,
            kernel_params,
            extra: Mut::NULL,
            kern: if is_kernel { CUkernel(handle.0) } else { CUkernel::NULL },
            ctx: *ctx,
        })
    })?;
    out.set(found)
}

/// `cuGraphKernelNodeGetParams`.
pub fn kernel_v1(name: CUgraphNode, out: Mut<CUDA_KERNEL_NODE_PARAMS_v1>) -> Answer {
    out.given()?;
    let mut whole: CUDA_KERNEL_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    kernel(name, Address(std::ptr::from_mut(&mut whole).expose_provenance()).typed())?;
    out.set(CUDA_KERNEL_NODE_PARAMS_v1 {
        func: whole.func,
        grid_dim_x: whole.grid_dim_x,
        grid_dim_y: whole.grid_dim_y,
        grid_dim_z: whole.grid_dim_z,
        block_dim_x: whole.block_dim_x,
        block_dim_y: whole.block_dim_y,
        block_dim_z: whole.block_dim_z,
        shared_mem_bytes: whole.shared_mem_bytes,
        kernel_params: whole.kernel_params,
        extra: whole.extra,
    })
}

/// What a node's parameters say, where they are of the right kind.
fn said<R: Copy>(name: CUgraphNode, out: Mut<R>, pick: impl FnOnce(&Params) -> Option<R>) -> Answer {
    let found = node(name)?.with(|node| pick(&node.params).ok_or(CUresult::ERROR_INVALID_VALUE))?;
    out.set(found)
}

/// `cuGraphMemcpyNodeGetParams`.
pub fn memcpy(name: CUgraphNode, out: Mut<CUDA_MEMCPY3D>) -> Answer {
    said(name, out, |params| if let Params::Memcpy(copy) = params { Some(**copy) } else { None })
}

/// `cuGraphMemsetNodeGetParams`.
pub fn memset(name: CUgraphNode, out: Mut<CUDA_MEMSET_NODE_PARAMS>) -> Answer {
    said(name, out, |params| match params {
        Params::Memset(CUDA_MEMSET_NODE_PARAMS_v2 {
            dst, pitch, value, element_size, width, height, ..
        }) => {
            let (dst, pitch, value) = (*dst, *pitch, *value);
            let (element_size, width, height) = (*element_size, *width, *height);
            Some(CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, element_size, width, height })
        }
        _ => None,
    })
}

/// `cuGraphHostNodeGetParams`.
pub fn host(name: CUgraphNode, out: Mut<CUDA_HOST_NODE_PARAMS>) -> Answer {
    said(name, out, |params| if let Params::Host(host) = params { Some(*host) } else { None })
}

/// `cuGraphChildGraphNodeGetGraph`.
pub fn child(name: CUgraphNode, out: Mut<CUgraph>) -> Answer {
    said(name, out, |params| if let Params::Child(graph) = params { Some(*graph) } else { None })
}

/// `cuGraphEventRecordNodeGetEvent`.
pub fn record(name: CUgraphNode, out: Mut<CUevent>) -> Answer {
    said(name, out, |params| if let Params::Record(event) = params { Some(*event) } else { None })
}

/// `cuGraphEventWaitNodeGetEvent`.
pub fn wait(name: CUgraphNode, out: Mut<CUevent>) -> Answer {
    said(name, out, |params| if let Params::Wait(event) = params { Some(*event) } else { None })
}

/// `cuGraphMemFreeNodeGetParams`.
pub fn free(name: CUgraphNode, out: Mut<CUdeviceptr>) -> Answer {
    said(
        name,
        out,
        |params| if let Params::Free(address) = params { Some(CUdeviceptr(*address)) } else { None },
    )
}

/// `cuGraphMemAllocNodeGetParams`.
pub fn alloc(name: CUgraphNode, out: Mut<CUDA_MEM_ALLOC_NODE_PARAMS>) -> Answer {
    said(name, out, |params| {
        let Params::Alloc(address, bytes) = params else { return None };
        let mut said: CUDA_MEM_ALLOC_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
        (said.dptr, said.bytesize) = (CUdeviceptr(*address), *bytes as usize);
        Some(said)
    })
}
