//! Allocations and resources in plain memory.

use std::sync::Arc;

use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::AllocationInfo2;
use dxg_ioctl::abi::CreateAllocation;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::CreateStandardAllocation;
use dxg_wire::transfer::ALLOCATION_MAGIC;
use dxg_wire::transfer::AllocationData;
use zerocopy::FromBytes;

use crate::memory;
use crate::memory::DeviceMemory;
use crate::memory::Fail;

/// An allocation's contents, which outlive the handle when shared.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) memory: Backing,
    pub(crate) private_data: Vec<u8>,
}

/// Where an allocation's bytes are.
#[derive(Debug)]
pub(crate) enum Backing {
    Device(DeviceMemory),
    Caller(UserPtr),
}

impl Backing {
    pub(crate) fn address(&self) -> UserPtr {
        match self {
            Self::Device(memory) => memory.address(),
            Self::Caller(address) => *address,
        }
    }
}

/// A resource's contents, for those who open it.
#[derive(Debug)]
pub(crate) struct SharedContents {
    pub(crate) runtime_data: Vec<u8>,
    pub(crate) private_data: Vec<u8>,
    pub(crate) allocations: Vec<Arc<Contents>>,
}

/// Makes the contents that a request asks for.
pub(crate) fn make(args: &CreateAllocation) -> Result<SharedContents, Fail> {
    let count = args.alloc_count as usize;
    if count == 0 || count > 1024 {
        return Err(libc::EINVAL);
    }
    let infos: Vec<AllocationInfo2> = memory::read(args.allocation_info, count)?;
    let standard = args.flags.contains(CreateAllocationFlags::STANDARD_ALLOCATION);
    let allocations = infos
        .iter()
        .map(|info| {
            let private_data: Vec<u8> = memory::read(info.priv_drv_data, info.priv_drv_data_size as usize)?;
            let size_bytes = if standard { standard_size(args)? } else { described_size(&private_data)? };
            if !info.sysmem.0.is_multiple_of(4096) {
                return Err(libc::EINVAL);
            }
            let memory = if info.sysmem.is_null() {
                Backing::Device(DeviceMemory::new(size_bytes)?)
            } else {
                Backing::Caller(info.sysmem)
            };
            Ok(Arc::new(Contents { memory, private_data }))
        })
        .collect::<Result<_, Fail>>()?;
    let private_data = if standard {
        Vec::new()
    } else {
        memory::read(args.data.priv_drv_data(), args.priv_drv_data_size as usize)?
    };
    let runtime_data = memory::read(args.private_runtime_data, args.private_runtime_data_size as usize)?;
    Ok(SharedContents { runtime_data, private_data, allocations })
}

fn standard_size(args: &CreateAllocation) -> Result<u64, Fail> {
    let described: Vec<CreateStandardAllocation> = memory::read(args.data.standard_allocation(), 1)?;
    let size = described.first().map_or(0, |one| one.existing_heap_data.size);
    if size == 0 || !size.is_multiple_of(4096) { Err(libc::EINVAL) } else { Ok(size) }
}

fn described_size(private_data: &[u8]) -> Result<u64, Fail> {
    let (data, _) = AllocationData::read_from_prefix(private_data).map_err(|_| libc::EINVAL)?;
    if data.magic != ALLOCATION_MAGIC || data.size_bytes == 0 {
        return Err(libc::EINVAL);
    }
    data.size_bytes.checked_next_multiple_of(4096).ok_or(libc::EINVAL)
}

/// Writes the handles of new allocations to where the request wants them.
pub(crate) fn answer(args: &CreateAllocation, handles: &[RawHandle]) -> Result<(), Fail> {
    for (at, handle) in handles.iter().enumerate() {
        let entry = args.allocation_info.0 + (at * size_of::<AllocationInfo2>()) as u64;
        memory::write(UserPtr(entry), &[*handle])?;
    }
    Ok(())
}
