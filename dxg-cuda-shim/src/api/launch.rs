//! Launches.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dxg_wire::cuda::launch_flags;

use crate::context::Context;
use crate::current;
use crate::ffi::memory;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUdevice_attribute as A;
use crate::generated::enums::CUlaunchAttributeID as L;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUfunction;
use crate::generated::handles::CUkernel;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUlaunchConfig;
use crate::graph;
use crate::graph::Params;
use crate::module::Function;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUlaunchAttributeValue;
use crate::work::Launch;

/// `CU_LAUNCH_PARAM_END`, `CU_LAUNCH_PARAM_BUFFER_POINTER`, `CU_LAUNCH_PARAM_BUFFER_SIZE`.
const EXTRA_END: usize = 0;
const EXTRA_POINTER: usize = 1;
const EXTRA_SIZE: usize = 2;
/// A kernel's parameters are no longer.
const MAX_PARAM_BYTES: usize = 32764;

/// The function that a handle names: a function's own, or a kernel's for a context.
///
/// # Errors
/// Invalid handle.
pub fn function(context: &Arc<Context>, handle: CUfunction) -> Answer<Arc<Function>> {
    if tables::KERNELS.is_of(handle.0) {
        let kernel = tables::KERNELS.get(CUkernel(handle.0))?;
        return tables::FUNCTIONS.get(kernel.function(context)?);
    }
    tables::FUNCTIONS.get(handle)
}

/// The parameter block of a launch, from pointers to values or from `extra`.
///
/// # Errors
/// Invalid value.
pub fn pack(function: &Function, params: Mut<Address>, extra: Mut<Address>) -> Answer<Vec<u8>> {
    let info = function.info()?;
    let mut block = vec![0; info.param_bytes as usize];
    if !params.is_null() {
        for (at, param) in info.params.0.iter().enumerate() {
            let value = params.at(at).ok_or(CUresult::ERROR_INVALID_VALUE)?.given()?;
            let (start, size) = (param.offset as usize, param.size as usize);
            let place = block.get_mut(start..).and_then(|rest| rest.get_mut(..size));
            let place = place.ok_or(CUresult::ERROR_INVALID_VALUE)?;
            memory::copy(Address(place.as_mut_ptr().expose_provenance()), value, size);
        }
        return Ok(block);
    }
    if extra.is_null() {
        return if info.params.0.is_empty() { Ok(block) } else { Err(CUresult::ERROR_INVALID_VALUE) };
    }
    let (mut buffer, mut size, mut at) = (Address::NULL, None, 0);
    loop {
        match extra.at(at).ok_or(CUresult::ERROR_INVALID_VALUE)?.0 {
            EXTRA_END => break,
            EXTRA_POINTER => buffer = extra.at(at + 1).unwrap_or_default(),
            EXTRA_SIZE => size = extra.at(at + 1).unwrap_or_default().typed::<usize>().get(),
            _ => return Err(CUresult::ERROR_INVALID_VALUE),
        }
        at += 2;
    }
    let size = size.filter(|size| *size <= MAX_PARAM_BYTES).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let given = memory::read(buffer.given()?, size);
    let used = given.len().min(block.len());
    // Programs may round the size up.
    if let (Some(to), Some(from)) = (block.get_mut(..used), given.get(..used)) {
        to.copy_from_slice(from);
    }
    Ok(block)
}

/// Checks the shape of a launch against function and device.
///
/// # Errors
/// Invalid value, launch out of resources.
pub fn check(function: &Function, grid: [u32; 3], block: [u32; 3], shared_bytes: u32) -> Answer {
    let device = &function.module.context.device;
    let most = |attribute| u32::try_from(device.attribute(attribute)).unwrap_or(0);
    let grid_most = [A::MAX_GRID_DIM_X, A::MAX_GRID_DIM_Y, A::MAX_GRID_DIM_Z].map(most);
    let block_most = [A::MAX_BLOCK_DIM_X, A::MAX_BLOCK_DIM_Y, A::MAX_BLOCK_DIM_Z].map(most);
    let fits =
        |one: [u32; 3], most: [u32; 3]| one.iter().zip(most).all(|(one, most)| (1..=most).contains(one));
    let threads: u64 = block.iter().map(|one| u64::from(*one)).product();
    if !fits(grid, grid_most)
        || !fits(block, block_most)
        || threads > u64::from(most(A::MAX_THREADS_PER_BLOCK))
    {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let info = function.info()?;
    if threads > u64::from(info.max_threads) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let allowed = function.max_dynamic_shared.load(Ordering::Relaxed);
    if i64::from(shared_bytes) > i64::from(allowed) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    Ok(())
}

/// Clusters are of one block.
///
/// # Errors
/// Invalid cluster size for more.
pub fn check_cluster(value: CUlaunchAttributeValue) -> Answer {
    let [xy, z, ..] = value;
    let is_one = [xy as u32, (xy >> 32) as u32, z as u32].iter().all(|one| *one <= 1);
    if is_one { Ok(()) } else { Err(CUresult::ERROR_INVALID_CLUSTER_SIZE) }
}

/// A launch before it has a stream.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// Of `launch_flags`.
    pub flags: u32,
}

fn run(
    handle: CUfunction,
    shape: Shape,
    stream: CUstream,
    params: Mut<Address>,
    extra: Mut<Address>,
) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let function = function(&context, handle)?;
    if function.module.context.id != context.id {
        return Err(CUresult::ERROR_INVALID_HANDLE);
    }
    check(&function, shape.grid, shape.block, shape.shared_bytes)?;
    let params = pack(&function, params, extra)?;
    let Shape { grid, block, shared_bytes, flags } = shape;
    let launch = Launch { function, grid, block, shared_bytes, flags, params };
    graph::enqueue(&context, &lane, Step::Launch(launch), || Params::Kernel(handle, CUcontext::NULL))
}

/// `cuLaunchKernel`.
pub fn kernel(
    function: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: CUstream,
    params: Mut<Address>,
    extra: Mut<Address>,
) -> Answer {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    run(function, Shape { grid, block, shared_bytes, flags: 0 }, stream, params, extra)
}

/// `cuLaunchCooperativeKernel`.
pub fn cooperative(
    function: CUfunction,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    shared_bytes: u32,
    stream: CUstream,
    params: Mut<Address>,
) -> Answer {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let flags = launch_flags::COOPERATIVE;
    run(function, Shape { grid, block, shared_bytes, flags }, stream, params, Mut::NULL)
}

/// `cuLaunchKernelEx`.
pub fn kernel_ex(
    config: Ref<CUlaunchConfig>,
    function: CUfunction,
    params: Mut<Address>,
    extra: Mut<Address>,
) -> Answer {
    let config = config.read()?;
    let mut flags = 0;
    for attribute in config.attrs.list(config.num_attrs as usize)? {
        match attribute.id {
            L::COOPERATIVE if attribute.value[0] as u32 != 0 => flags |= launch_flags::COOPERATIVE,
            L::CLUSTER_DIMENSION => check_cluster(attribute.value)?,
            L::PROGRAMMATIC_EVENT | L::LAUNCH_COMPLETION_EVENT | L::DEVICE_UPDATABLE_KERNEL_NODE => {
                return Err(CUresult::ERROR_NOT_SUPPORTED);
            }
            // Wishes: priority, cache windows, overlap with the kernel before.
            _ => {}
        }
    }
    let shape = Shape {
        grid: [config.grid_dim_x, config.grid_dim_y, config.grid_dim_z],
        block: [config.block_dim_x, config.block_dim_y, config.block_dim_z],
        shared_bytes: config.shared_mem_bytes,
        flags,
    };
    run(function, shape, config.h_stream, params, extra)
}

/// `cuFuncSetBlockShape`.
pub fn set_block_shape(function: CUfunction, x: i32, y: i32, z: i32) -> Answer {
    crate::driver::driver()?;
    let block = [x, y, z].map(|one| u32::try_from(one).unwrap_or(0));
    if block.contains(&0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    tables::FUNCTIONS.get(function)?.legacy.lock().block = block;
    Ok(())
}

/// `cuFuncSetSharedSize`.
pub fn set_shared_size(function: CUfunction, bytes: u32) -> Answer {
    crate::driver::driver()?;
    tables::FUNCTIONS.get(function)?.legacy.lock().shared_bytes = bytes;
    Ok(())
}

/// `cuParamSetSize`.
pub fn param_size(function: CUfunction, bytes: u32) -> Answer {
    crate::driver::driver()?;
    if bytes as usize > MAX_PARAM_BYTES {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    tables::FUNCTIONS.get(function)?.legacy.lock().params.resize(bytes as usize, 0);
    Ok(())
}

fn param(function: CUfunction, offset: i32, bytes: &[u8]) -> Answer {
    crate::driver::driver()?;
    let start = usize::try_from(offset).map_err(|_| CUresult::ERROR_INVALID_VALUE)?;
    let end = start.checked_add(bytes.len()).filter(|end| *end <= MAX_PARAM_BYTES);
    let end = end.ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let function = tables::FUNCTIONS.get(function)?;
    let params = &mut function.legacy.lock().params;
    params.resize(params.len().max(end), 0);
    if let Some(place) = params.get_mut(start..end) {
        place.copy_from_slice(bytes);
    }
    Ok(())
}

/// `cuParamSeti`.
pub fn param_int(function: CUfunction, offset: i32, value: u32) -> Answer {
    param(function, offset, &value.to_ne_bytes())
}

/// `cuParamSetf`.
pub fn param_float(function: CUfunction, offset: i32, value: f32) -> Answer {
    param(function, offset, &value.to_ne_bytes())
}

/// `cuParamSetv`.
pub fn param_bytes(function: CUfunction, offset: i32, ptr: Address, bytes: u32) -> Answer {
    if bytes as usize > MAX_PARAM_BYTES {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    param(function, offset, &memory::read(ptr.given()?, bytes as usize))
}

/// `cuLaunch`.
pub fn legacy(function: CUfunction) -> Answer {
    legacy_grid(function, 1, 1)
}

/// `cuLaunchGrid`.
pub fn legacy_grid(function: CUfunction, width: i32, height: i32) -> Answer {
    legacy_grid_async(function, width, height, CUstream::NULL)
}

/// `cuLaunchGridAsync`.
pub fn legacy_grid_async(handle: CUfunction, width: i32, height: i32, stream: CUstream) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let function = tables::FUNCTIONS.get(handle)?;
    let set = function.legacy.lock().clone();
    let grid = [width, height, 1].map(|one| u32::try_from(one).unwrap_or(0));
    check(&function, grid, set.block, set.shared_bytes)?;
    let mut params = set.params;
    params.resize(function.info()?.param_bytes as usize, 0);
    let launch =
        Launch { function, grid, block: set.block, shared_bytes: set.shared_bytes, flags: 0, params };
    graph::enqueue(&context, &lane, Step::Launch(launch), || Params::Kernel(handle, CUcontext::NULL))
}
