//! Memory and semaphores of other APIs and processes, by descriptor.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::arena::Kind;
use crate::current;
use crate::driver;
use crate::external::Memory;
use crate::external::Semaphore;
use crate::ffi::descriptors;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Ref;
use crate::generated::enums::CUexternalMemoryHandleType;
use crate::generated::enums::CUexternalSemaphoreHandleType as S;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUexternalMemory;
use crate::generated::handles::CUexternalSemaphore;
use crate::generated::handles::CUstream;
use crate::generated::structs::CUDA_EXTERNAL_MEMORY_BUFFER_DESC;
use crate::generated::structs::CUDA_EXTERNAL_MEMORY_HANDLE_DESC;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS;
use crate::generated::structs::CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS;
use crate::graph;
use crate::graph::Params;
use crate::graph::Semaphores;
use crate::step::Step;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdeviceptr;

/// The semaphore with a name.
///
/// # Errors
/// Invalid handle.
pub fn semaphore(name: CUexternalSemaphore) -> Answer<Arc<Semaphore>> {
    tables::SEMAPHORES.get(name)
}

/// The descriptor in the first word of a union. An import owns it once it has succeeded, so a failed one leaves it open.
fn copy_of(word: u64) -> Answer<(i32, OwnedFd)> {
    let number = word as u32 as i32;
    Ok((number, descriptors::duplicate(number)?))
}

/// `cuImportExternalMemory`.
pub fn import_memory(out: Mut<CUexternalMemory>, desc: Ref<CUDA_EXTERNAL_MEMORY_HANDLE_DESC>) -> Answer {
    let context = current::context()?;
    out.given()?;
    let desc = desc.read()?;
    if desc.kind != CUexternalMemoryHandleType::OPAQUE_FD {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    if desc.size == 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let (number, descriptor) = copy_of(desc.handle[0])?;
    let memory = Memory::open(&context.device, descriptor, desc.size)?;
    out.set(tables::EXTERNAL_MEMORY.insert(Arc::new(memory))?)?;
    descriptors::close(number);
    Ok(())
}

/// `cuExternalMemoryGetMappedBuffer`.
pub fn mapped_buffer(
    out: Mut<CUdeviceptr>,
    name: CUexternalMemory,
    desc: Ref<CUDA_EXTERNAL_MEMORY_BUFFER_DESC>,
) -> Answer {
    let context = current::context()?;
    out.given()?;
    let memory = tables::EXTERNAL_MEMORY.get(name)?;
    let desc = desc.read()?;
    let end = desc.offset.checked_add(desc.size).filter(|end| *end <= memory.bytes && desc.size != 0);
    if end.is_none() || desc.flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    // Only whole pages can be mapped.
    let first = desc.offset / 4096 * 4096;
    let skipped = desc.offset - first;
    let part = (first, skipped + desc.size);
    let at = context.arena.map_window(&context.ring, memory.window.clone(), part, None, Kind::External)?;
    context.arena.begin_at(at, skipped);
    out.set(CUdeviceptr(at + skipped))
}

/// `cuDestroyExternalMemory`. What is mapped of it stays until it is freed.
pub fn destroy_memory(name: CUexternalMemory) -> Answer {
    driver::driver()?;
    tables::EXTERNAL_MEMORY.remove(name).map(drop)
}

/// `cuImportExternalSemaphore`.
pub fn import_semaphore(
    out: Mut<CUexternalSemaphore>,
    desc: Ref<CUDA_EXTERNAL_SEMAPHORE_HANDLE_DESC>,
) -> Answer {
    let context = current::context()?;
    out.given()?;
    let desc = desc.read()?;
    let is_timeline = match desc.kind {
        S::OPAQUE_FD => false,
        S::TIMELINE_SEMAPHORE_FD => true,
        _ => return Err(CUresult::ERROR_NOT_SUPPORTED),
    };
    let (number, descriptor) = copy_of(desc.handle[0])?;
    let semaphore = Semaphore::open(&context.device, &descriptor, is_timeline)?;
    out.set(tables::SEMAPHORES.insert(Arc::new(semaphore))?)?;
    descriptors::close(number);
    Ok(())
}

/// `cuDestroyExternalSemaphore`. Work that names it must have passed.
pub fn destroy_semaphore(name: CUexternalSemaphore) -> Answer {
    driver::driver()?;
    let semaphore = tables::SEMAPHORES.remove(name)?;
    for context in tables::contexts() {
        // Its own errors are not this call's.
        let _ = context.synchronize_all();
    }
    drop(semaphore);
    Ok(())
}

/// `cuSignalExternalSemaphoresAsync`.
pub fn signal(
    names: Ref<CUexternalSemaphore>,
    params: Ref<CUDA_EXTERNAL_SEMAPHORE_SIGNAL_PARAMS>,
    count: u32,
    stream: CUstream,
) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let params = params.list(count as usize)?;
    let names = names.list(count as usize)?;
    let pairs = names.iter().zip(&params).map(|(name, params)| Ok((semaphore(*name)?, params.params[0])));
    let pairs = pairs.collect::<Answer<Vec<_>>>()?;
    let said = || Params::Signal(Arc::new(Semaphores { names, params }));
    graph::enqueue(&context, &lane, Step::Signal(pairs), said)
}

/// `cuWaitExternalSemaphoresAsync`.
pub fn wait(
    names: Ref<CUexternalSemaphore>,
    params: Ref<CUDA_EXTERNAL_SEMAPHORE_WAIT_PARAMS>,
    count: u32,
    stream: CUstream,
) -> Answer {
    let (context, lane) = current::stream(stream)?;
    let params = params.list(count as usize)?;
    let names = names.list(count as usize)?;
    let pairs = names.iter().zip(&params).map(|(name, params)| Ok((semaphore(*name)?, params.params[0])));
    let pairs = pairs.collect::<Answer<Vec<_>>>()?;
    let said = || Params::Await(Arc::new(Semaphores { names, params }));
    graph::enqueue(&context, &lane, Step::Await(pairs), said)
}
