//! Devices and primary contexts.

use crate::current;
use crate::driver;
use crate::driver::device;
use crate::ffi::pointers::Mut;
use crate::ffi::pointers::Text;
use crate::generated::enums::CUatomicOperation;
use crate::generated::enums::CUdevice_P2PAttribute;
use crate::generated::enums::CUdevice_attribute as A;
use crate::generated::enums::CUexecAffinityType;
use crate::generated::enums::CUresult;
use crate::generated::handles::CUcontext;
use crate::generated::structs::CUdevprop;
use crate::generated::structs::CUuuid;
use crate::types::Answer;
use crate::types::CUdevice;

/// Flags that a context may have.
const CONTEXT_FLAGS: u32 = 0xff;

/// `cuDeviceGet`.
pub fn get(out: Mut<CUdevice>, ordinal: i32) -> Answer {
    let number = device(CUdevice(ordinal))?.number();
    out.set(number)
}

/// `cuDeviceGetCount`.
pub fn count(count: Mut<i32>) -> Answer {
    count.set(i32::try_from(driver::driver()?.devices().len()).unwrap_or(i32::MAX))
}

/// `cuDeviceGetName`.
pub fn name(name: Mut<u8>, len: i32, dev: CUdevice) -> Answer {
    let device = device(dev)?;
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    name.given()?.put_text(&device.description.name, len);
    Ok(())
}

/// `cuDeviceGetUuid` and `_v2`.
pub fn uuid(uuid: Mut<CUuuid>, dev: CUdevice) -> Answer {
    uuid.set(CUuuid { bytes: device(dev)?.uuid })
}

/// `cuDeviceGetLuid`.
pub fn luid(luid: Mut<u8>, node_mask: Mut<u32>, dev: CUdevice) -> Answer {
    let device = device(dev)?;
    luid.given()?;
    for (at, byte) in device.luid.into_iter().enumerate() {
        luid.set_at(at, byte)?;
    }
    node_mask.set(1)
}

/// `cuDeviceTotalMem_v2`.
pub fn total_memory(bytes: Mut<usize>, dev: CUdevice) -> Answer {
    bytes.set(usize::try_from(device(dev)?.memory_bytes).unwrap_or(usize::MAX))
}

/// `cuDeviceGetAttribute`.
pub fn attribute(value: Mut<i32>, attribute: A, dev: CUdevice) -> Answer {
    value.given()?;
    if attribute.0 <= 0 || attribute.0 >= A::MAX.0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    value.set(device(dev)?.attribute(attribute))
}

/// `cuDeviceComputeCapability`.
pub fn compute_capability(major: Mut<i32>, minor: Mut<i32>, dev: CUdevice) -> Answer {
    let both = device(dev)?.compute_capability();
    major.set(both.0)?;
    minor.set(both.1)
}

/// `cuDeviceGetProperties`.
pub fn properties(properties: Mut<CUdevprop>, dev: CUdevice) -> Answer {
    let device = device(dev)?;
    let say = |attribute| device.attribute(attribute);
    properties.set(CUdevprop {
        max_threads_per_block: say(A::MAX_THREADS_PER_BLOCK),
        max_threads_dim: [A::MAX_BLOCK_DIM_X, A::MAX_BLOCK_DIM_Y, A::MAX_BLOCK_DIM_Z].map(say),
        max_grid_size: [A::MAX_GRID_DIM_X, A::MAX_GRID_DIM_Y, A::MAX_GRID_DIM_Z].map(say),
        shared_mem_per_block: say(A::MAX_SHARED_MEMORY_PER_BLOCK),
        total_constant_memory: say(A::TOTAL_CONSTANT_MEMORY),
        simd_width: say(A::WARP_SIZE),
        mem_pitch: say(A::MAX_PITCH),
        regs_per_block: say(A::MAX_REGISTERS_PER_BLOCK),
        clock_rate: say(A::CLOCK_RATE),
        texture_align: say(A::TEXTURE_ALIGNMENT),
    })
}

/// `cuDeviceGetPCIBusId`.
pub fn pci_bus_id(text: Mut<u8>, len: i32, dev: CUdevice) -> Answer {
    let device = device(dev)?;
    let len = usize::try_from(len).ok().filter(|len| *len > 0).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    text.given()?.put_text(format!("0000:{:02X}:00.0", device.attribute(A::PCI_BUS_ID)).as_bytes(), len);
    Ok(())
}

/// `cuDeviceGetByPCIBusId`.
pub fn by_pci_bus_id(out: Mut<CUdevice>, text: Text) -> Answer {
    let text = String::from_utf8_lossy(&text.bytes()?).into_owned();
    let mut parts: Vec<&str> = text.split(':').collect();
    let last = parts.pop().ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let bus = parts.pop().and_then(|bus| i32::from_str_radix(bus, 16).ok());
    let bus = bus.filter(|_| last.trim_end_matches(".0") == "00").ok_or(CUresult::ERROR_INVALID_VALUE)?;
    let devices = driver::driver()?.devices();
    let found = devices.iter().find(|device| device.attribute(A::PCI_BUS_ID) == bus);
    out.set(found.ok_or(CUresult::ERROR_INVALID_DEVICE)?.number())
}

/// `cuDeviceCanAccessPeer`: a device needs no peer access to itself, and virtual GPUs have none.
pub fn can_access_peer(can: Mut<i32>, dev: CUdevice, peer: CUdevice) -> Answer {
    device(dev)?;
    device(peer)?;
    can.set(0)
}

/// `cuDeviceGetP2PAttribute`.
pub fn p2p_attribute(
    value: Mut<i32>,
    attribute: CUdevice_P2PAttribute,
    from: CUdevice,
    to: CUdevice,
) -> Answer {
    value.given()?;
    peers(from, to)?;
    if !(1..=5).contains(&attribute.0) {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    value.set(0)
}

/// Two devices, which have nothing to do with each other.
fn peers(from: CUdevice, to: CUdevice) -> Answer {
    device(from)?;
    device(to)?;
    if from == to { Err(CUresult::ERROR_INVALID_DEVICE) } else { Ok(()) }
}

/// `cuDeviceGetP2PAtomicCapabilities`: none.
pub fn p2p_atomics(
    capabilities: Mut<u32>,
    operations: crate::ffi::pointers::Ref<CUatomicOperation>,
    count: u32,
    from: CUdevice,
    to: CUdevice,
) -> Answer {
    peers(from, to)?;
    let operations = operations.list(count as usize)?;
    (0..operations.len()).try_for_each(|at| capabilities.set_at(at, 0))
}

/// `cuDeviceGetExecAffinitySupport`.
pub fn exec_affinity(value: Mut<i32>, _kind: CUexecAffinityType, dev: CUdevice) -> Answer {
    device(dev)?;
    value.set(0)
}

/// `cuDeviceGetHostAtomicCapabilities`: all of them, on the same memory.
pub fn host_atomics(
    capabilities: Mut<u32>,
    operations: crate::ffi::pointers::Ref<CUatomicOperation>,
    count: u32,
    dev: CUdevice,
) -> Answer {
    device(dev)?;
    let operations = operations.list(count as usize)?;
    (0..operations.len()).try_for_each(|at| capabilities.set_at(at, 0))
}

/// `cuDevicePrimaryCtxRetain`.
pub fn primary_retain(out: Mut<CUcontext>, dev: CUdevice) -> Answer {
    out.given()?;
    let device = device(dev)?;
    let mut primary = device.primary.lock();
    let context = device.primary_context(&mut primary)?;
    primary.retained = primary.retained.checked_add(1).ok_or(CUresult::ERROR_INVALID_VALUE)?;
    out.set(context.name.get().copied().unwrap_or_default())
}

/// `cuDevicePrimaryCtxRelease` and `_v2`.
pub fn primary_release(dev: CUdevice) -> Answer {
    let device = device(dev)?;
    let mut primary = device.primary.lock();
    if primary.retained == 0 {
        return Err(CUresult::ERROR_INVALID_CONTEXT);
    }
    primary.retained -= 1;
    let is_last = primary.retained == 0;
    drop(primary);
    if is_last {
        device.reset_primary();
    }
    Ok(())
}

/// `cuDevicePrimaryCtxReset` and `_v2`.
pub fn primary_reset(dev: CUdevice) -> Answer {
    device(dev)?.reset_primary();
    Ok(())
}

/// `cuDevicePrimaryCtxSetFlags` and `_v2`.
pub fn primary_set_flags(dev: CUdevice, flags: u32) -> Answer {
    let device = device(dev)?;
    if flags & !CONTEXT_FLAGS != 0 {
        return Err(CUresult::ERROR_INVALID_VALUE);
    }
    let mut primary = device.primary.lock();
    primary.flags = flags;
    if let Some(context) = &primary.context {
        context.flags.store(flags, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

/// `cuDevicePrimaryCtxGetState`.
pub fn primary_state(dev: CUdevice, flags: Mut<u32>, active: Mut<i32>) -> Answer {
    let device = device(dev)?;
    let primary = device.primary.lock();
    flags.put(primary.flags);
    let is_active = primary.context.as_ref().is_some_and(|context| !context.is_destroyed());
    active.put(i32::from(is_active));
    Ok(())
}

/// `cuCtxGetDevice`.
pub fn current(out: Mut<CUdevice>) -> Answer {
    let context = current::get()?.ok_or(CUresult::ERROR_INVALID_CONTEXT)?;
    out.set(context.device.number())
}

/// `cuCtxGetDevice_v2`.
pub fn of_context(out: Mut<CUdevice>, ctx: CUcontext) -> Answer {
    driver::driver()?;
    if ctx == CUcontext::NULL {
        return current(out);
    }
    out.set(crate::tables::context(ctx)?.device.number())
}
