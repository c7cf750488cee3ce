//! Contexts: made, current, their limits.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::context::Context;
use crate::current;
use crate::driver;
use crate::driver::device;
use crate::ffi::pointers::Mut;
use crate::generated::enums::CUexecAffinityType;
use crate::generated::enums::CUfunc_cache;
use crate::generated::enums::CUlimit;
use crate::generated::enums::CUresult;
use crate::generated::enums::CUsharedconfig;
use crate::generated::handles::CUcontext;
use crate::generated::handles::CUevent;
use crate::generated::structs::CUctxCreateParams;
use crate::generated::structs::CUexecAffinityParam;
use crate::tables;
use crate::types::Answer;
use crate::types::CUdevice;

/// Flags that a context may have.
const FLAGS: u32 = 0xff;
/// The version of the API that contexts have.
const API_VERSION: u32 = 3020;

fn name(context: &Context) -> CUcontext {
    context.name.get().copied().unwrap_or_default()
}

/// The named context, or the current one for null.
fn named(ctx: CUcontext) -> Answer<Arc<Context>> {
    driver::driver()?;
    if ctx == CUcontext::NULL { current::context() } else { tables::context(ctx) }
}

/// `cuCtxCreate_v2`.
pub fn create(out: Mut<CUcontext>, flags: u32, dev: CUdevice) -> Answer {
    let device = device(dev)?;
    out.given()?;
    if flags & !FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let context = device.make_context(flags)?;
    out.set(name(&context))?;
    current::push(context);
    Ok(())
}

/// `cuCtxCreate_v3`.
pub fn create_v3(
    out: Mut<CUcontext>,
    params: Mut<CUexecAffinityParam>,
    count: i32,
    flags: u32,
    dev: CUdevice,
) -> Answer {
    if count != 0 && !params.is_null() {
        return Err(CUresult::ERROR_UNSUPPORTED_EXEC_AFFINITY);
    }
    create(out, flags, dev)
}

/// `cuCtxCreate_v4`.
pub fn create_v4(out: Mut<CUcontext>, params: Mut<CUctxCreateParams>, flags: u32, dev: CUdevice) -> Answer {
    if let Some(params) = params.get()
        && (params.num_exec_affinity_params != 0 || !params.cig_params.is_null())
    {
        return Err(CUresult::ERROR_NOT_SUPPORTED);
    }
    create(out, flags, dev)
}

/// `cuCtxDestroy` and `_v2`.
pub fn destroy(ctx: CUcontext) -> Answer {
    driver::driver()?;
    let context = tables::context(ctx)?;
    if context.device.is_primary(ctx) {
        return Err(CUresult::ERROR_INVALID_CONTEXT);
    }
    if current::get()?.is_some_and(|current| current.id == context.id) {
        drop(current::pop());
    }
    tables::destroy_context(&context);
    Ok(())
}

/// `cuCtxAttach`: a context is counted once.
pub fn attach(out: Mut<CUcontext>, flags: u32) -> Answer {
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    out.set(name(&*current::context()?))
}

/// `cuCtxDetach`.
pub fn detach(ctx: CUcontext) -> Answer {
    destroy(ctx)
}

/// `cuCtxPushCurrent` and `_v2`.
pub fn push(ctx: CUcontext) -> Answer {
    driver::driver()?;
    current::push(tables::context(ctx)?);
    Ok(())
}

/// `cuCtxPopCurrent` and `_v2`.
pub fn pop(out: Mut<CUcontext>) -> Answer {
    let context = current::pop()?;
    out.put(name(&context));
    Ok(())
}

/// `cuCtxSetCurrent`.
pub fn set_current(ctx: CUcontext) -> Answer {
    driver::driver()?;
    let context = if ctx == CUcontext::NULL { None } else { Some(tables::context(ctx)?) };
    current::set(context);
    Ok(())
}

/// `cuCtxGetCurrent`.
pub fn current(out: Mut<CUcontext>) -> Answer {
    out.set(current::get()?.map_or(CUcontext::NULL, |context| name(&context)))
}

/// `cuCtxGetFlags`.
pub fn flags(flags: Mut<u32>) -> Answer {
    flags.set(current::context()?.flags.load(Ordering::Relaxed))
}

/// `cuCtxSetFlags`.
pub fn set_flags(flags: u32) -> Answer {
    if flags & !FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    current::context()?.flags.store(flags, Ordering::Relaxed);
    Ok(())
}

/// `cuCtxGetId`.
pub fn id(ctx: CUcontext, id: Mut<u64>) -> Answer {
    id.set(named(ctx)?.id)
}

/// `cuCtxSynchronize`.
pub fn synchronize() -> Answer {
    synchronize_v2(CUcontext::NULL)
}

/// `cuCtxSynchronize_v2`.
pub fn synchronize_v2(ctx: CUcontext) -> Answer {
    let context = named(ctx)?;
    context.check()?;
    crate::capture::check_context(&context)?;
    context.synchronize_all()?;
    crate::pool::settle(&context);
    Ok(())
}

/// `cuCtxSetLimit`.
pub fn set_limit(limit: CUlimit, value: usize) -> Answer {
    current::context()?.set_limit(limit, value as u64)
}

/// `cuCtxGetLimit`.
pub fn limit(value: Mut<usize>, limit: CUlimit) -> Answer {
    value.set(current::context()?.limit(limit)? as usize)
}

/// `cuCtxGetCacheConfig`.
pub fn cache_config(config: Mut<CUfunc_cache>) -> Answer {
    current::context()?;
    config.set(CUfunc_cache::NONE)
}

/// `cuCtxSetCacheConfig`: a wish.
pub fn set_cache_config(_config: CUfunc_cache) -> Answer {
    current::context().map(drop)
}

/// `cuCtxGetSharedMemConfig`.
pub fn shared_config(config: Mut<CUsharedconfig>) -> Answer {
    current::context()?;
    config.set(CUsharedconfig::FOUR_BYTE_BANK_SIZE)
}

/// `cuCtxSetSharedMemConfig`: a wish.
pub fn set_shared_config(_config: CUsharedconfig) -> Answer {
    current::context().map(drop)
}

/// `cuCtxGetApiVersion`.
pub fn api_version(ctx: CUcontext, version: Mut<u32>) -> Answer {
    named(ctx)?;
    version.set(API_VERSION)
}

/// `cuCtxGetStreamPriorityRange`.
pub fn priority_range(least: Mut<i32>, greatest: Mut<i32>) -> Answer {
    current::context()?;
    least.put(super::stream::LEAST_PRIORITY);
    greatest.put(super::stream::GREATEST_PRIORITY);
    Ok(())
}

/// `cuCtxResetPersistingL2Cache`.
pub fn reset_cache() -> Answer {
    current::context().map(drop)
}

/// `cuCtxGetExecAffinity`.
pub fn exec_affinity(_out: Mut<CUexecAffinityParam>, _kind: CUexecAffinityType) -> Answer {
    current::context()?;
    Err(CUresult::ERROR_UNSUPPORTED_EXEC_AFFINITY)
}

/// `cuCtxEnablePeerAccess`.
pub fn enable_peer(peer: CUcontext, flags: u32) -> Answer {
    let context = current::context()?;
    let peer = tables::context(peer)?;
    if flags != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    if context.device.ordinal == peer.device.ordinal {
        return Err(CUresult::ERROR_INVALID_DEVICE);
    }
    Err(CUresult::ERROR_PEER_ACCESS_UNSUPPORTED)
}

/// `cuCtxDisablePeerAccess`.
pub fn disable_peer(peer: CUcontext) -> Answer {
    current::context()?;
    tables::context(peer)?;
    Err(CUresult::ERROR_PEER_ACCESS_NOT_ENABLED)
}

/// `cuCtxRecordEvent`: after all work of the context.
pub fn record_event(ctx: CUcontext, event: CUevent) -> Answer {
    let context = named(ctx)?;
    let event = tables::EVENTS.get(event)?;
    wait_for_all(&context)?;
    event.record(&context.legacy)
}

/// `cuCtxWaitEvent`: all later work of the context comes after the event.
pub fn wait_event(ctx: CUcontext, event: CUevent) -> Answer {
    let context = named(ctx)?;
    let event = tables::EVENTS.get(event)?;
    for lane in context.lanes() {
        if let Some(wait) = event.waits(&context)? {
            context.submit(&lane, &[wait])?;
        }
    }
    Ok(())
}

/// The legacy stream waits for streams that do not wait for it by themselves.
fn wait_for_all(context: &Arc<Context>) -> Answer {
    for lane in context.lanes() {
        if lane.blocking == crate::lane::Blocking::No && !lane.is_idle() {
            let last = lane.last();
            context.submit(&context.legacy, &[crate::work::Work::Wait(lane, last)])?;
        }
    }
    Ok(())
}
