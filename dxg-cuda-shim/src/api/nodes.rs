//! Nodes of graphs: what a program says of one, as a step.

use std::sync::Arc;

use crate::arena::Kind;
use crate::arena::Residence;
use crate::condition::Conditional;
use crate::context::Context;
use crate::current;
use crate::exec::Prepared;
use crate::external::Semaphore;
use crate::ffi::callbacks::HostFunction;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUgraphConditionalNodeType;
use crate::generated::enums::CUmemLocationType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::handles::CUexternalSemaphore;
use crate::generated::handles::CUfunction;
use crate::generated::handles::CUgraph;
use crate::generated::structs::CUDA_BATCH_MEM_OP_NODE_PARAMS;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;
use crate::generated::structs::CUDA_HOST_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS;
use crate::generated::structs::CUDA_KERNEL_NODE_PARAMS_v1;
use crate::generated::structs::CUDA_MEM_ALLOC_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMCPY3D;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS;
use crate::generated::structs::CUDA_MEMSET_NODE_PARAMS_v2;
use crate::graph::Child;
use crate::graph::GraphMemory;
use crate::graph::Params;
use crate::graph::Semaphores;
use crate::places::Place;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;
use crate::types::CUdeviceptr;
use crate::work::Fill;
use crate::work::HostCall;
use crate::work::Launch;

use super::copy_box;
use super::fill;
use super::launch;
use super::stream;

/// A node before it is in a graph.
#[derive(Debug)]
pub struct Made {
    /// What it does.
    pub step: Step,
    /// What the program said.
    pub params: Params,
    /// Memory that goes with it.
    pub memory: Option<Arc<GraphMemory>>,
}

fn made(step: Step, params: Params) -> Made {
    Made { step, params, memory: None }
}

/// The context that a program names, or the current one.
///
/// # Errors
/// Invalid context.
pub(super) fn context(name: CUcontext) -> Answer<Arc<Context>> {
    if name == CUcontext::NULL { current::context() } else { tables::context(name) }
}

/// The newer form of a kernel's parameters.
#[must_use]
pub fn widen(params: CUDA_KERNEL_NODE_PARAMS_v1) -> CUDA_KERNEL_NODE_PARAMS {
    let mut wide: CUDA_KERNEL_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    wide.func = params.func;
    (wide.grid_dim_x, wide.grid_dim_y, wide.grid_dim_z) =
        (params.grid_dim_x, params.grid_dim_y, params.grid_dim_z);
    (wide.block_dim_x, wide.block_dim_y, wide.block_dim_z) =
        (params.block_dim_x, params.block_dim_y, params.block_dim_z);
    wide.shared_mem_bytes = params.shared_mem_bytes;
    (wide.kernel_params, wide.extra) = (params.kernel_params, params.extra);
    wide
}

/// A launch.
///
/// # Errors
/// As of a launch.
pub fn kernel(params: &CUDA_KERNEL_NODE_PARAMS) -> Answer<Made> {
    let handle = if params.func == CUfunction::NULL { CUfunction(params.kern.0) } else { params.func };
    let context = if params.ctx == CUcontext::NULL && !tables::KERNELS.is_of(handle.0) {
        Arc::clone(&tables::FUNCTIONS.get(handle)?.module.context)
    } else {
        context(params.ctx)?
    };
    context.check()?;
    let function = launch::function(&context, handle)?;
    let grid = [params.grid_dim_x, params.grid_dim_y, params.grid_dim_z];
    let block = [params.block_dim_x, params.block_dim_y, params.block_dim_z];
    let shared_bytes = params.shared_mem_bytes;
    launch::check(&function, grid, block, shared_bytes)?;
    let values = launch::pack(&function, params.kernel_params, params.extra)?;
    let launch = Launch { function, grid, block, shared_bytes, flags: 0, params: values };
    Ok(made(Step::Launch(launch), Params::Kernel(handle, params.ctx)))
}

/// A copy.
///
/// # Errors
/// Invalid value.
pub fn copy(params: &CUDA_MEMCPY3D, name: CUcontext) -> Answer<Made> {
    let context = context(name)?;
    let step = match copy_box::of_node(&context, params)? {
        None => Step::Empty,
        Some((to, from, mut shape)) => {
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
    Ok(made(step, Params::Memcpy(Box::new(*params))))
}

/// A fill.
///
/// # Errors
/// Invalid value.
pub fn fill(params: &CUDA_MEMSET_NODE_PARAMS_v2) -> Answer<Made> {
    let context = context(params.ctx)?;
    if !matches!(params.element_size, 1 | 2 | 4) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let wanted = Fill {
        to: params.dst.0,
        pitch: params.pitch as u64,
        value_bytes: params.element_size,
        value: params.value,
        width: params.width as u64,
        height: params.height as u64,
    };
    let is_empty = wanted.width == 0 || wanted.height == 0;
    let step = if is_empty { Step::Empty } else { Step::Fill(fill::checked(&context, wanted)?) };
    Ok(made(step, Params::Memset(*params)))
}

/// The newer form of a fill's parameters.
#[must_use]
pub fn fill_in(params: CUDA_MEMSET_NODE_PARAMS, ctx: CUcontext) -> CUDA_MEMSET_NODE_PARAMS_v2 {
    let CUDA_MEMSET_NODE_PARAMS { dst, pitch, value, element_size, width, height } = params;
    CUDA_MEMSET_NODE_PARAMS_v2 { dst, pitch, value, element_size, width, height, ctx }
}

/// A function of the program.
///
/// # Errors
/// Invalid value for null.
pub fn host(params: CUDA_HOST_NODE_PARAMS) -> Answer<Made> {
    let call = HostCall::Function(HostFunction::at(params.function)?, params.user_data);
    Ok(made(Step::Host(call), Params::Host(params)))
}

/// A graph.
///
/// # Errors
/// Invalid handle, out of memory.
pub fn child(graph: CUgraph) -> Answer<Made> {
    let child = Child::of(&*tables::GRAPHS.get(graph)?)?;
    let step = Step::Graph(Arc::new(Prepared::of(&child.graph)?));
    Ok(made(step, Params::Child(child)))
}

/// Graphs that run by a value.
///
/// # Errors
/// Invalid value.
pub fn conditional(handle: u64, kind: CUgraphConditionalNodeType, size: u32) -> Answer<Made> {
    Ok(made(Step::Empty, Params::Conditional(Conditional::new(handle, kind, size)?)))
}

/// Nothing.
#[must_use]
pub fn empty() -> Made {
    made(Step::Empty, Params::Empty)
}

/// Records an event.
///
/// # Errors
/// Invalid handle.
pub fn record(event: CUevent) -> Answer<Made> {
    Ok(made(Step::Record(tables::EVENTS.get(event)?), Params::Record(event)))
}

/// Waits for an event.
///
/// # Errors
/// Invalid handle.
pub fn wait(event: CUevent) -> Answer<Made> {
    Ok(made(Step::Wait(tables::EVENTS.get(event)?), Params::Wait(event)))
}

/// Values in memory.
///
/// # Errors
/// Invalid value, not supported.
pub fn values(params: &CUDA_BATCH_MEM_OP_NODE_PARAMS) -> Answer<Made> {
    let context = context(params.ctx)?;
    if params.count > 256 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let list = params.param_array.list(params.count as usize)?;
    let works = stream::values(&context, &list)?;
    Ok(made(Step::Values(works), Params::Values(params.ctx, Arc::from(list))))
}

/// The semaphores that are named, each with its value.
fn with_values(
    names: &[CUexternalSemaphore],
    values: impl Iterator<Item = u64>,
) -> Answer<Vec<(Arc<Semaphore>, u64)>> {
    names.iter().zip(values).map(|(name, value)| Ok((tables::SEMAPHORES.get(*name)?, value))).collect()
}

/// How many semaphores one call may name.
const MOST_SEMAPHORES: u32 = 4096;

fn names(list: Mut<CUexternalSemaphore>, count: u32) -> Answer<Vec<CUexternalSemaphore>> {
    if count > MOST_SEMAPHORES {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    list.list(count as usize)
}

/// Raises semaphores.
///
/// # Errors
/// Invalid handle, invalid value.
pub fn signal(
    list: Mut<CUexternalSemaphore>,
    params: Ref<CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS>,
    count: u32,
) -> Answer<Made> {
    let (names, params) = (names(list, count)?, params.list(count as usize)?);
    let values = with_values(&names, params.iter().map(|one| one.params[0]))?;
    Ok(made(Step::Signal(values), Params::Signal(Arc::new(Semaphores { names, params }))))
}

/// Waits for semaphores.
///
/// # Errors
/// Invalid handle, invalid value.
pub fn wait_for(
    list: Mut<CUexternalSemaphore>,
    params: Ref<CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS>,
    count: u32,
) -> Answer<Made> {
    let (names, params) = (names(list, count)?, params.list(count as usize)?);
    let values = with_values(&names, params.iter().map(|one| one.params[0]))?;
    Ok(made(Step::Await(values), Params::Await(Arc::new(Semaphores { names, params }))))
}

/// Allocates: the memory is there from now on, for as long as the graph is.
///
/// # Errors
/// Invalid value, out of memory.
pub fn alloc(params: &CUDA_MEM_ALLOC_NODE_PARAMS) -> Answer<Made> {
    let context = current::context()?;
    let location = params.pool_props.location;
    if location.kind != CUmemLocationType::DEVICE || params.bytesize == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if crate::driver::device(CUdevice(location.id))?.ordinal != context.device.ordinal {
        return Err(CUresult::ERROR_INVALID_DEVICE);
    }
    let bytes = params.bytesize as u64;
    let address = context.arena.allocate(&context.ring, bytes, Kind::Graph, 0)?;
    let memory = Some(Arc::new(GraphMemory { context, address }));
    Ok(Made { step: Step::Allocated(address), params: Params::Alloc(address, bytes), memory })
}

/// Frees what a graph has allocated.
///
/// # Errors
/// Invalid value for an address of none.
pub fn free(address: CUdeviceptr) -> Answer<Made> {
    let (_, found) = crate::places::find(address.0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    if found.kind != Kind::Graph || found.start != address.0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    Ok(made(Step::Freed(address.0), Params::Free(address.0)))
}

/// The parameters of a kernel's node: with pointers into the node itself, which hold until it is changed.
pub fn kernel_params(node: &mut crate::graph::Node) -> Answer<CUDA_KERNEL_NODE_PARAMS> {
    let (Params::Kernel(func, ctx), Step::Launch(launch)) = (&node.params, &node.step) else {
        return Err(CUresult::ERROR_INVALID_VALUE);
    };
    let base = launch.params.as_ptr().expose_provenance();
    let list = launch.function.info()?.params.0.iter().map(|param| base + param.offset as usize);
    let pointers: Arc<[usize]> = list.collect();
    let mut params: CUDA_KERNEL_NODE_PARAMS = zerocopy::FromZeros::new_zeroed();
    if tables::KERNELS.is_of(func.0) {
        params.kern.0 = func.0
    } else {
        params.func = *func
    }
    [params.grid_dim_x, params.grid_dim_y, params.grid_dim_z] = launch.grid;
    [params.block_dim_x, params.block_dim_y, params.block_dim_z] = launch.block;
    params.shared_mem_bytes = launch.shared_bytes;
    if !pointers.is_empty() {
        params.kernel_params = crate::ffi::pointers::Address(pointers.as_ptr().expose_provenance()).typed();
    }
    params.ctx = *ctx;
    node.pointers = Some(pointers);
    Ok(params)
}

/// The older form of a kernel's parameters.
#[must_use]
pub fn narrow(params: &CUDA_KERNEL_NODE_PARAMS) -> CUDA_KERNEL_NODE_PARAMS_v1 {
    let func = if params.func == CUfunction::NULL { CUfunction(params.kern.0) } else { params.func };
    CUDA_KERNEL_NODE_PARAMS_v1 {
        func,
        grid_dim_x: params.grid_dim_x,
        grid_dim_y: params.grid_dim_y,
        grid_dim_z: params.grid_dim_z,
        block_dim_x: params.block_dim_x,
        block_dim_y: params.block_dim_y,
        block_dim_z: params.block_dim_z,
        shared_mem_bytes: params.shared_mem_bytes,
        kernel_params: params.kernel_params,
        extra: params.extra,
    }
}

/// Bytes of memory that graphs have on a device.
#[must_use]
pub fn graph_memory_bytes(ordinal: usize) -> u64 {
    let is_its = |context: &&Arc<Context>| context.device.ordinal == ordinal;
    tables::contexts().iter().filter(is_its).map(|context| context.arena.kind_bytes(Kind::Graph)).sum()
}
