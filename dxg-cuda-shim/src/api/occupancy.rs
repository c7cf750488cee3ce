//! How many blocks run at once.

use crate::current;
use crate::ffi::callbacks::SizeFunction;
use crate::ffi::pointers::Address;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUdevice_attribute as A;
use crate::generated::enums::CUlaunchAttributeID as L;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUfunction;
use crate::generated::structs::CUlaunchConfig;
use crate::module::Function;
use crate::types::Answer;

/// Shared memory is given out in pieces of this size.
const SHARED_PIECE_BYTES: u64 = 256;

/// Blocks of a multiprocessor that run at once; 0 where not even one does.
fn active_blocks(function: &Function, block_size: i32, dynamic_bytes: usize) -> Answer<i32> {
    let info = function.info()?;
    let device = &function.module.context.device;
    let say = |attribute| u64::try_from(device.attribute(attribute)).unwrap_or(0);
    let threads =
        u64::try_from(block_size).ok().filter(|size| *size > 0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let most_threads = say(A::MAX_THREADS_PER_BLOCK).min(u64::from(info.max_threads));
    let shared = u64::from(info.shared_bytes).saturating_add(dynamic_bytes as u64);
    let warp = say(A::WARP_SIZE).max(1);
    let whole = threads.next_multiple_of(warp);
    let registers = u64::from(info.registers.max(1)).saturating_mul(whole);
    let most_shared = say(A::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR);
    if threads > most_threads || shared > say(A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN) {
        return Ok(0);
    }
    let by_shared = match shared {
        0 => u64::MAX,
        bytes => most_shared / bytes.next_multiple_of(SHARED_PIECE_BYTES),
    };
    let blocks = (say(A::MAX_THREADS_PER_MULTIPROCESSOR) / whole)
        .min(by_shared)
        .min(say(A::MAX_REGISTERS_PER_MULTIPROCESSOR) / registers)
        .min(say(A::MAX_BLOCKS_PER_MULTIPROCESSOR));
    Ok(i32::try_from(blocks).unwrap_or(i32::MAX))
}

/// `cuOccupancyMaxActiveBlocksPerMultiprocessor`.
pub fn max_active_blocks(count: Mut<i32>, function: CUfunction, block_size: i32, dynamic: usize) -> Answer {
    max_active_blocks_with_flags(count, function, block_size, dynamic, 0)
}

/// `cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags`.
pub fn max_active_blocks_with_flags(
    count: Mut<i32>,
    function: CUfunction,
    block_size: i32,
    dynamic: usize,
    flags: u32,
) -> Answer {
    let context = current::context()?;
    if flags > 1 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let function = super::launch::function(&context, function)?;
    count.given()?.set(active_blocks(&function, block_size, dynamic)?)
}

/// `cuOccupancyMaxPotentialBlockSize`.
pub fn max_block_size(
    min_grid: Mut<i32>,
    block: Mut<i32>,
    function: CUfunction,
    size_of_block: Address,
    dynamic: usize,
    limit: i32,
) -> Answer {
    max_block_size_with_flags(min_grid, block, function, size_of_block, dynamic, limit, 0)
}

/// `cuOccupancyMaxPotentialBlockSizeWithFlags`.
pub fn max_block_size_with_flags(
    min_grid: Mut<i32>,
    block: Mut<i32>,
    function: CUfunction,
    size_of_block: Address,
    dynamic: usize,
    limit: i32,
    flags: u32,
) -> Answer {
    let context = current::context()?;
    min_grid.given()?;
    block.given()?;
    if flags > 1 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let function = super::launch::function(&context, function)?;
    let device = &context.device;
    let most = device.attribute(A::MAX_THREADS_PER_BLOCK);
    let most = if limit > 0 { most.min(limit) } else { most };
    let warp = device.attribute(A::WARP_SIZE).max(1);
    let size_of_block = SizeFunction::at(size_of_block);
    let mut best = (0, 0, 0);
    let mut size = most;
    while size > 0 {
        let bytes = size_of_block.map_or(dynamic, |size_of_block| size_of_block.call(size));
        let blocks = active_blocks(&function, size, bytes)?;
        let threads = i64::from(blocks) * i64::from(size);
        if threads > best.0 {
            best = (threads, size, blocks);
        }
        // The largest that is allowed, then whole warps.
        size = if size % warp == 0 { size - warp } else { size - size % warp };
    }
    block.set(best.1)?;
    min_grid.set(best.2.saturating_mul(device.attribute(A::MULTIPROCESSOR_COUNT)))
}

/// `cuOccupancyAvailableDynamicSMemPerBlock`.
pub fn available_shared(bytes: Mut<usize>, function: CUfunction, blocks: i32, block_size: i32) -> Answer {
    let context = current::context()?;
    bytes.given()?;
    let function = super::launch::function(&context, function)?;
    let count = u64::try_from(blocks).ok().filter(|blocks| *blocks > 0 && block_size > 0);
    let count = count.ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let device = &context.device;
    let all = u64::try_from(device.attribute(A::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)).unwrap_or(0);
    let one = u64::try_from(device.attribute(A::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)).unwrap_or(0);
    let left = (all / count).min(one).saturating_sub(u64::from(function.info()?.shared_bytes));
    bytes.set((left / SHARED_PIECE_BYTES * SHARED_PIECE_BYTES) as usize)
}

/// `cuOccupancyMaxPotentialClusterSize`: clusters are of one block.
pub fn max_cluster_size(size: Mut<i32>, function: CUfunction, config: Ref<CUlaunchConfig>) -> Answer {
    let context = current::context()?;
    size.given()?;
    config.read()?;
    super::launch::function(&context, function)?;
    size.set(1)
}

/// `cuOccupancyMaxActiveClusters`: as many as blocks, for clusters of one.
pub fn max_active_clusters(count: Mut<i32>, function: CUfunction, config: Ref<CUlaunchConfig>) -> Answer {
    let context = current::context()?;
    count.given()?;
    let config = config.read()?;
    let function = super::launch::function(&context, function)?;
    for attribute in config.attrs.list(config.num_attrs as usize)? {
        if attribute.id == L::CLUSTER_DIMENSION {
            super::launch::check_cluster(attribute.value)?;
        }
    }
    let threads = [config.block_dim_x, config.block_dim_y, config.block_dim_z];
    let threads = threads.into_iter().try_fold(1_i32, |all, one| all.checked_mul(i32::try_from(one).ok()?));
    let threads = threads.ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let blocks = active_blocks(&function, threads, config.shared_mem_bytes as usize)?;
    count.set(blocks.saturating_mul(context.device.attribute(A::MULTIPROCESSOR_COUNT)))
}
