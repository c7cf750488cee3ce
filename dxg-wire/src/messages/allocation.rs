//! Allocations: create, destroy, offer, reclaim, residency, priority, and the caller's own pages.

use std::mem::offset_of;

use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AllocationResidencyStatus;
use dxg_ioctl::abi::ReclaimResult;

use crate::messages::AllocationInfoReply;
use crate::messages::CreateAllocationCommand;
use crate::messages::CreateAllocationInfo;
use crate::messages::CreateAllocationReply;
use crate::messages::DestroyAllocationCommand;
use crate::messages::EvictCommand;
use crate::messages::GetAllocationPriorityCommand;
use crate::messages::MakeResidentCommand;
use crate::messages::OfferAllocationsCommand;
use crate::messages::QueryAllocationResidencyCommand;
use crate::messages::ReclaimAllocationsCommand;
use crate::messages::ReclaimAllocationsReply;
use crate::messages::SetAllocationPriorityCommand;
use crate::messages::SetExistingSysmemPagesCommand;
use crate::messages::codec::DecodeError;
use crate::messages::codec::EncodeError;
use crate::messages::codec::MAX_COMMAND_BYTES;
use crate::messages::codec::MAX_MESSAGE_BYTES;
use crate::messages::codec::Message;
use crate::messages::codec::Reader;
use crate::messages::codec::Writer;
use crate::messages::codec::count_of;
use crate::messages::codec::decode_fixed;
use crate::messages::codec::round_up_8;
use crate::messages::codec::tail_message;

/// One allocation of a CREATEALLOCATION command.
#[derive(Clone, Debug)]
pub struct NewAllocation {
    /// Its entry. `priv_drv_data_size` is set by `encode`.
    pub info: CreateAllocationInfo,
    /// The driver's private data for it.
    pub private_data: Vec<u8>,
}

/// CREATEALLOCATION.
#[derive(Clone, Debug)]
pub struct CreateAllocationMessage {
    /// The struct. Its counts and sizes are set by `encode`.
    pub command: CreateAllocationCommand,
    /// The runtime's private data.
    pub runtime_data: Vec<u8>,
    /// The driver's private data for the resource; for a standard allocation, its description.
    pub resource_data: Vec<u8>,
    /// The allocations.
    pub allocations: Vec<NewAllocation>,
}

impl Message for CreateAllocationMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut command = self.command;
        command.alloc_count = count_of(&self.allocations);
        command.private_runtime_data_size = count_of(&self.runtime_data);
        command.priv_drv_data_size = count_of(&self.resource_data);
        let mut writer = Writer::new(&command, size_of::<CreateAllocationCommand>(), MAX_COMMAND_BYTES);
        for allocation in &self.allocations {
            let mut info = allocation.info;
            info.priv_drv_data_size = count_of(&allocation.private_data);
            writer.list(&[info]);
        }
        writer.list(&self.runtime_data).list(&self.resource_data);
        for allocation in &self.allocations {
            writer.list(&allocation.private_data);
        }
        writer.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: CreateAllocationCommand = reader.head(size_of::<CreateAllocationCommand>())?;
        let infos: Vec<CreateAllocationInfo> = reader.list(command.alloc_count)?;
        let runtime_data = reader.list(command.private_runtime_data_size)?;
        let resource_data = reader.list(command.priv_drv_data_size)?;
        let allocations = infos
            .into_iter()
            .map(|info| Ok(NewAllocation { info, private_data: reader.list(info.priv_drv_data_size)? }))
            .collect::<Result<_, _>>()?;
        Ok(Self { command, runtime_data, resource_data, allocations })
    }
}

/// One allocation of the answer to CREATEALLOCATION.
#[derive(Clone, Debug)]
pub struct CreatedAllocation {
    /// Its entry. `priv_drv_data_size` is set by `encode`.
    pub info: AllocationInfoReply,
    /// The driver's private data for it.
    pub private_data: Vec<u8>,
}

/// The answer to CREATEALLOCATION. A failure is an answer that is too short.
#[derive(Clone, Debug)]
pub struct CreateAllocationAnswer {
    /// The struct; its first entry is in `allocations`, not here.
    pub reply: CreateAllocationReply,
    /// One for each allocation of the command.
    pub allocations: Vec<CreatedAllocation>,
}

const ENTRIES_AT: usize = offset_of!(CreateAllocationReply, allocation_info);

impl CreateAllocationAnswer {
    /// The bytes to send.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new(&self.reply, ENTRIES_AT, MAX_MESSAGE_BYTES);
        for allocation in &self.allocations {
            let mut info = allocation.info;
            info.priv_drv_data_size = count_of(&allocation.private_data);
            writer.list(&[info]);
        }
        if self.allocations.is_empty() {
            writer.zeroes(size_of::<AllocationInfoReply>());
        }
        for allocation in &self.allocations {
            writer.list(&allocation.private_data);
        }
        writer.finish()
    }

    /// The answer to a command with `count` allocations.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than that takes.
    pub fn decode(bytes: &[u8], count: u32) -> Result<Self, DecodeError> {
        decode_fixed::<CreateAllocationReply>(bytes)?;
        let mut reader = Reader::new(bytes)?;
        let reply = reader.head(ENTRIES_AT)?;
        let infos: Vec<AllocationInfoReply> = reader.list(count)?;
        let allocations = infos
            .into_iter()
            .map(|info| Ok(CreatedAllocation { info, private_data: reader.list(info.priv_drv_data_size)? }))
            .collect::<Result<_, _>>()?;
        Ok(Self { reply, allocations })
    }
}

tail_message! {
    /// DESTROYALLOCATION. An empty list with a resource destroys the resource and all in it.
    DestroyAllocationMessage: DestroyAllocationCommand,
    tail at offset_of!(DestroyAllocationCommand, allocations), slack |_| 8;
    /// What to destroy.
    allocations: RawHandle, counted by alloc_count;
}

tail_message! {
    /// MAKERESIDENT.
    MakeResidentMessage: MakeResidentCommand,
    tail at offset_of!(MakeResidentCommand, allocations), slack |_| 4;
    /// What to make resident.
    allocations: RawHandle, counted by alloc_count;
}

tail_message! {
    /// EVICT.
    EvictMessage: EvictCommand,
    tail at offset_of!(EvictCommand, allocations), slack |_| 0;
    /// What to evict.
    allocations: RawHandle, counted by alloc_count;
}

tail_message! {
    /// OFFERALLOCATIONS.
    OfferAllocationsMessage: OfferAllocationsCommand,
    tail at offset_of!(OfferAllocationsCommand, allocations), slack |_| 0;
    /// What to offer: allocations, or resources when the struct says so.
    allocations: RawHandle, counted by allocation_count;
}

tail_message! {
    /// RECLAIMALLOCATIONS.
    ReclaimAllocationsMessage: ReclaimAllocationsCommand,
    tail at offset_of!(ReclaimAllocationsCommand, allocations), slack |_| 4;
    /// What to reclaim: allocations, or resources when the struct says so.
    allocations: RawHandle, counted by allocation_count;
}

tail_message! {
    /// QUERYALLOCATIONRESIDENCY.
    QueryAllocationResidencyMessage: QueryAllocationResidencyCommand,
    tail at size_of::<QueryAllocationResidencyCommand>(), slack |_| 0;
    /// What to ask about; empty when the argument names a resource.
    allocations: RawHandle, counted by args.allocation_count;
}

/// SETALLOCATIONPRIORITY.
#[derive(Clone, Debug)]
pub struct SetAllocationPriorityMessage {
    /// The struct. Its count is set by `encode`.
    pub command: SetAllocationPriorityCommand,
    /// Whose priority to set; empty when the struct names a resource.
    pub allocations: Vec<RawHandle>,
    /// One for each allocation, or one for the resource.
    pub priorities: Vec<u32>,
}

/// A list that has one entry for each allocation, or one for the resource when there are none.
fn per_allocation(count: u32) -> u32 {
    count.max(1)
}

impl Message for SetAllocationPriorityMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let expected = self.allocations.len().max(1);
        if self.priorities.len() != expected {
            return Err(EncodeError::Count { what: "priorities", actual: self.priorities.len(), expected });
        }
        let mut command = self.command;
        command.allocation_count = count_of(&self.allocations);
        Writer::new(&command, size_of::<SetAllocationPriorityCommand>(), MAX_COMMAND_BYTES)
            .list(&self.allocations)
            .list(&self.priorities)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: SetAllocationPriorityCommand = reader.head(size_of::<SetAllocationPriorityCommand>())?;
        let allocations = reader.list(command.allocation_count)?;
        let priorities = reader.list(per_allocation(command.allocation_count))?;
        Ok(Self { command, allocations, priorities })
    }
}

tail_message! {
    /// GETALLOCATIONPRIORITY. A Linux guest adds the length of the answer it wants to the length of the message.
    GetAllocationPriorityMessage: GetAllocationPriorityCommand,
    tail at size_of::<GetAllocationPriorityCommand>(), slack |command| priority_answer_bytes(command.allocation_count);
    /// Whose priority to get; empty when the struct names a resource.
    allocations: RawHandle, counted by allocation_count;
}

/// The length of the answer to GETALLOCATIONPRIORITY: a status and a number for each, in whole words of 8.
fn priority_answer_bytes(count: u32) -> usize {
    let entries = usize::try_from(per_allocation(count)).ok();
    let length = entries.and_then(|n| n.checked_mul(4)).and_then(|n| n.checked_add(size_of::<NtStatus>()));
    length.and_then(round_up_8).unwrap_or(usize::MAX)
}

/// An answer of a status and one number for each allocation, or one for the resource: of GETALLOCATIONPRIORITY
/// (priorities) and QUERYALLOCATIONRESIDENCY (residency statuses).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerAllocationAnswer {
    /// How it went.
    pub status: NtStatus,
    /// The numbers.
    pub values: Vec<u32>,
}

impl PerAllocationAnswer {
    /// The bytes to send.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::new(&self.status, size_of::<NtStatus>(), MAX_MESSAGE_BYTES);
        writer.list(&self.values).pad_to_8().finish()
    }

    /// The answer to a command with `count` allocations, 0 for a resource.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than that takes.
    pub fn decode(bytes: &[u8], count: u32) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let status = reader.head(size_of::<NtStatus>())?;
        let values = reader.list(per_allocation(count))?;
        Ok(Self { status, values })
    }

    /// The numbers as residency statuses.
    pub fn residency(&self) -> impl Iterator<Item = AllocationResidencyStatus> {
        self.values.iter().map(|value| AllocationResidencyStatus(*value))
    }
}

/// The answer to RECLAIMALLOCATIONS.
#[derive(Clone, Debug)]
pub struct ReclaimAllocationsAnswer {
    /// The struct; its first result is in `results`, not here.
    pub reply: ReclaimAllocationsReply,
    /// One for each allocation when the command asked for results, else none.
    pub results: Vec<ReclaimResult>,
}

impl ReclaimAllocationsAnswer {
    /// The bytes to send: at least the struct.
    ///
    /// # Errors
    ///
    /// [`EncodeError::TooLong`] over the limit.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer =
            Writer::new(&self.reply, offset_of!(ReclaimAllocationsReply, discarded), MAX_MESSAGE_BYTES);
        writer.list(&self.results).pad_to_8().finish()
    }

    /// The answer to a command that asked for `count` results, 0 where it asked for none.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Short`] when there are fewer bytes than that takes.
    pub fn decode(bytes: &[u8], count: u32) -> Result<Self, DecodeError> {
        decode_fixed::<ReclaimAllocationsReply>(bytes)?;
        let mut reader = Reader::new(bytes)?;
        let reply = reader.head(offset_of!(ReclaimAllocationsReply, discarded))?;
        Ok(Self { reply, results: reader.list(count)? })
    }
}

/// How many page frame numbers one SETEXISTINGSYSMEMPAGES holds: the limit less a page.
pub const MAX_PAGES_PER_MESSAGE: usize =
    (MAX_MESSAGE_BYTES - size_of::<SetExistingSysmemPagesCommand>() - 4096) / size_of::<u64>();

/// SETEXISTINGSYSMEMPAGES. The message always has room for [`MAX_PAGES_PER_MESSAGE`] numbers; larger buffers take
/// several messages.
#[derive(Clone, Debug)]
pub struct SetExistingSysmemPagesMessage {
    /// The struct. Its count is set by `encode`.
    pub command: SetExistingSysmemPagesCommand,
    /// Guest page frame numbers, of pages of 4 KiB.
    pub page_frames: Vec<u64>,
}

impl Message for SetExistingSysmemPagesMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let room = MAX_PAGES_PER_MESSAGE.checked_sub(self.page_frames.len());
        let actual = self.page_frames.len();
        let unused =
            room.ok_or(EncodeError::Count { what: "page_frames", actual, expected: MAX_PAGES_PER_MESSAGE })?;
        let mut command = self.command;
        command.num_pages = count_of(&self.page_frames);
        Writer::new(&command, size_of::<SetExistingSysmemPagesCommand>(), MAX_COMMAND_BYTES)
            .list(&self.page_frames)
            .zeroes(unused * size_of::<u64>())
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: SetExistingSysmemPagesCommand =
            reader.head(size_of::<SetExistingSysmemPagesCommand>())?;
        if usize::try_from(command.num_pages).is_ok_and(|pages| pages > MAX_PAGES_PER_MESSAGE) {
            return Err(DecodeError::Field { field: "num_pages", value: command.num_pages.into() });
        }
        // The room behind the numbers in use says nothing, so it need not be there.
        Ok(Self { command, page_frames: reader.list(command.num_pages)? })
    }
}
