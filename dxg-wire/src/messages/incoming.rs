//! The host's view of a command: any of them, decoded.

use dxg_ioctl::RawHandle;

use crate::messages::ChangeVideoMemoryReservationCommand;
use crate::messages::CloseAdapterCommand;
use crate::messages::CreateDeviceCommand;
use crate::messages::CreateNtSharedObjectCommand;
use crate::messages::CreatePagingQueueCommand;
use crate::messages::CreateProcessCommand;
use crate::messages::CreateSyncObjectCommand;
use crate::messages::DestroyContextCommand;
use crate::messages::DestroyDeviceCommand;
use crate::messages::DestroyHwQueueCommand;
use crate::messages::DestroyNtSharedObjectCommand;
use crate::messages::DestroyPagingQueueCommand;
use crate::messages::DestroyProcessCommand;
use crate::messages::DestroySyncObjectCommand;
use crate::messages::FlushDeviceCommand;
use crate::messages::FlushHeapTransitionsCommand;
use crate::messages::FreeGpuVirtualAddressCommand;
use crate::messages::GetContextSchedulingPriorityCommand;
use crate::messages::GetDeviceStateCommand;
use crate::messages::GetInternalAdapterInfoCommand;
use crate::messages::GetStandardAllocationDriverDataCommand;
use crate::messages::GlobalCommandId;
use crate::messages::InvalidateCacheCommand;
use crate::messages::IsFeatureEnabledCommand;
use crate::messages::IsFeatureEnabledGlobalCommand;
use crate::messages::Lock2Command;
use crate::messages::MapGpuVirtualAddressCommand;
use crate::messages::MarkDeviceAsErrorCommand;
use crate::messages::OpenAdapterCommand;
use crate::messages::OpenResourceCommand;
use crate::messages::OpenSyncObjectCommand;
use crate::messages::QueryClockCalibrationCommand;
use crate::messages::QueryStatisticsCommand;
use crate::messages::QueryVideoMemoryInfoCommand;
use crate::messages::ReserveGpuVirtualAddressCommand;
use crate::messages::SetContextSchedulingPriority2Command;
use crate::messages::SetExistingSysmemStoreCommand;
use crate::messages::SetIoSpaceRegionCommand;
use crate::messages::ShareObjectWithHostCommand;
use crate::messages::Unlock2Command;
use crate::messages::UpdateAllocationPropertyCommand;
use crate::messages::VgpuCommandId;
use crate::messages::allocation::CreateAllocationMessage;
use crate::messages::allocation::DestroyAllocationMessage;
use crate::messages::allocation::EvictMessage;
use crate::messages::allocation::GetAllocationPriorityMessage;
use crate::messages::allocation::MakeResidentMessage;
use crate::messages::allocation::OfferAllocationsMessage;
use crate::messages::allocation::QueryAllocationResidencyMessage;
use crate::messages::allocation::ReclaimAllocationsMessage;
use crate::messages::allocation::SetAllocationPriorityMessage;
use crate::messages::allocation::SetExistingSysmemPagesMessage;
use crate::messages::codec::DecodeError;
use crate::messages::codec::Message;
use crate::messages::codec::decode_fixed;
use crate::messages::context::CreateContextVirtualMessage;
use crate::messages::context::CreateHwQueueMessage;
use crate::messages::framing::Answer;
use crate::messages::framing::CommandHeader;
use crate::messages::gpu_va::UpdateGpuVirtualAddressMessage;
use crate::messages::info::EscapeMessage;
use crate::messages::info::QueryAdapterInfoMessage;
use crate::messages::submit::SubmitCommandMessage;
use crate::messages::submit::SubmitCommandToHwQueueMessage;
use crate::messages::sync::SignalSyncObjectMessage;
use crate::messages::sync::WaitForSyncObjectFromCpuMessage;
use crate::messages::sync::WaitForSyncObjectFromGpuMessage;

macro_rules! guest_commands {
    (
        global { $($gid:ident => $gname:ident: $gkind:ident $gtype:ident,)* }
        vgpu { $($vid:ident => $vname:ident: $vkind:ident $vtype:ident,)* }
    ) => {
        /// What a guest asks, without prefix and checked for length; not checked for sense.
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        pub enum GuestCommand {
            $(#[doc = concat!("`", stringify!($gid), "` of the global channel.")] $gname(Box<$gtype>),)*
            $(#[doc = concat!("`", stringify!($vid), "` of a virtual GPU.")] $vname(Box<$vtype>),)*
        }

        impl GuestCommand {
            fn decode_global(id: GlobalCommandId, bytes: &[u8]) -> Result<Self, DecodeError> {
                match id {
                    $(GlobalCommandId::$gid => Ok(Self::$gname(Box::new(decode!($gkind, bytes)?))),)*
                    _ => Err(DecodeError::UnknownCommand { id: id.0, channel: "global" }),
                }
            }

            fn decode_vgpu(id: VgpuCommandId, bytes: &[u8]) -> Result<Self, DecodeError> {
                match id {
                    $(VgpuCommandId::$vid => Ok(Self::$vname(Box::new(decode!($vkind, bytes)?))),)*
                    _ => Err(DecodeError::UnknownCommand { id: id.0, channel: "vgpu" }),
                }
            }

            /// The name of the command's id.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$gname(_) => stringify!($gid),)*
                    $(Self::$vname(_) => stringify!($vid),)*
                }
            }
        }
    };
}

macro_rules! decode {
    (fixed, $bytes:ident) => {
        decode_fixed($bytes)
    };
    (tail, $bytes:ident) => {
        Message::decode($bytes)
    };
}

guest_commands! {
    global {
        CREATEPROCESS => CreateProcess: fixed CreateProcessCommand,
        DESTROYPROCESS => DestroyProcess: fixed DestroyProcessCommand,
        OPENSYNCOBJECT => OpenSyncObject: fixed OpenSyncObjectCommand,
        DESTROYSYNCOBJECT => DestroySyncObject: fixed DestroySyncObjectCommand,
        CREATENTSHAREDOBJECT => CreateNtSharedObject: fixed CreateNtSharedObjectCommand,
        DESTROYNTSHAREDOBJECT => DestroyNtSharedObject: fixed DestroyNtSharedObjectCommand,
        SETIOSPACEREGION => SetIoSpaceRegion: fixed SetIoSpaceRegionCommand,
        SHAREOBJECTWITHHOST => ShareObjectWithHost: fixed ShareObjectWithHostCommand,
        ISFEATUREENABLED_GLOBAL => IsFeatureEnabledGlobal: fixed IsFeatureEnabledGlobalCommand,
    }
    vgpu {
        CREATEDEVICE => CreateDevice: fixed CreateDeviceCommand,
        DESTROYDEVICE => DestroyDevice: fixed DestroyDeviceCommand,
        QUERYADAPTERINFO => QueryAdapterInfo: tail QueryAdapterInfoMessage,
        CREATEALLOCATION => CreateAllocation: tail CreateAllocationMessage,
        DESTROYALLOCATION => DestroyAllocation: tail DestroyAllocationMessage,
        CREATECONTEXTVIRTUAL => CreateContextVirtual: tail CreateContextVirtualMessage,
        DESTROYCONTEXT => DestroyContext: fixed DestroyContextCommand,
        CREATESYNCOBJECT => CreateSyncObject: fixed CreateSyncObjectCommand,
        CREATEPAGINGQUEUE => CreatePagingQueue: fixed CreatePagingQueueCommand,
        DESTROYPAGINGQUEUE => DestroyPagingQueue: fixed DestroyPagingQueueCommand,
        MAKERESIDENT => MakeResident: tail MakeResidentMessage,
        EVICT => Evict: tail EvictMessage,
        ESCAPE => Escape: tail EscapeMessage,
        OPENADAPTER => OpenAdapter: fixed OpenAdapterCommand,
        CLOSEADAPTER => CloseAdapter: fixed CloseAdapterCommand,
        FREEGPUVIRTUALADDRESS => FreeGpuVirtualAddress: fixed FreeGpuVirtualAddressCommand,
        MAPGPUVIRTUALADDRESS => MapGpuVirtualAddress: fixed MapGpuVirtualAddressCommand,
        RESERVEGPUVIRTUALADDRESS => ReserveGpuVirtualAddress: fixed ReserveGpuVirtualAddressCommand,
        UPDATEGPUVIRTUALADDRESS => UpdateGpuVirtualAddress: tail UpdateGpuVirtualAddressMessage,
        SUBMITCOMMAND => SubmitCommand: tail SubmitCommandMessage,
        QUERYVIDEOMEMORYINFO => QueryVideoMemoryInfo: fixed QueryVideoMemoryInfoCommand,
        WAITFORSYNCOBJECTFROMCPU => WaitForSyncObjectFromCpu: tail WaitForSyncObjectFromCpuMessage,
        LOCK2 => Lock2: fixed Lock2Command,
        UNLOCK2 => Unlock2: fixed Unlock2Command,
        WAITFORSYNCOBJECTFROMGPU => WaitForSyncObjectFromGpu: tail WaitForSyncObjectFromGpuMessage,
        SIGNALSYNCOBJECT => SignalSyncObject: tail SignalSyncObjectMessage,
        GETDEVICESTATE => GetDeviceState: fixed GetDeviceStateCommand,
        MARKDEVICEASERROR => MarkDeviceAsError: fixed MarkDeviceAsErrorCommand,
        OPENRESOURCE => OpenResource: fixed OpenResourceCommand,
        SETCONTEXTSCHEDULINGPRIORITY => SetContextSchedulingPriority2: fixed SetContextSchedulingPriority2Command,
        GETINTERNALADAPTERINFO => GetInternalAdapterInfo: fixed GetInternalAdapterInfoCommand,
        FLUSHHEAPTRANSITIONS => FlushHeapTransitions: fixed FlushHeapTransitionsCommand,
        DDIGETSTANDARDALLOCATIONDRIVERDATA => GetStandardAllocationDriverData: fixed GetStandardAllocationDriverDataCommand,
        QUERYALLOCATIONRESIDENCY => QueryAllocationResidency: tail QueryAllocationResidencyMessage,
        FLUSHDEVICE => FlushDevice: fixed FlushDeviceCommand,
        SETEXISTINGSYSMEMSTORE => SetExistingSysmemStore: fixed SetExistingSysmemStoreCommand,
        QUERYSTATISTICS => QueryStatistics: fixed QueryStatisticsCommand,
        CHANGEVIDEOMEMORYRESERVATION => ChangeVideoMemoryReservation: fixed ChangeVideoMemoryReservationCommand,
        CREATEHWQUEUE => CreateHwQueue: tail CreateHwQueueMessage,
        DESTROYHWQUEUE => DestroyHwQueue: fixed DestroyHwQueueCommand,
        SUBMITCOMMANDTOHWQUEUE => SubmitCommandToHwQueue: tail SubmitCommandToHwQueueMessage,
        UPDATEALLOCATIONPROPERTY => UpdateAllocationProperty: fixed UpdateAllocationPropertyCommand,
        OFFERALLOCATIONS => OfferAllocations: tail OfferAllocationsMessage,
        RECLAIMALLOCATIONS => ReclaimAllocations: tail ReclaimAllocationsMessage,
        SETALLOCATIONPRIORITY => SetAllocationPriority: tail SetAllocationPriorityMessage,
        GETALLOCATIONPRIORITY => GetAllocationPriority: tail GetAllocationPriorityMessage,
        GETCONTEXTSCHEDULINGPRIORITY => GetContextSchedulingPriority: fixed GetContextSchedulingPriorityCommand,
        QUERYCLOCKCALIBRATION => QueryClockCalibration: fixed QueryClockCalibrationCommand,
        SETEXISTINGSYSMEMPAGES => SetExistingSysmemPages: tail SetExistingSysmemPagesMessage,
        INVALIDATECACHE => InvalidateCache: fixed InvalidateCacheCommand,
        ISFEATUREENABLED => IsFeatureEnabled: fixed IsFeatureEnabledCommand,
    }
}

/// A command and what its header says about it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The host's handle of the process that asks, or none.
    pub process: RawHandle,
    /// Whether the sender waits for an answer.
    pub answer: Answer,
    /// What it asks.
    pub command: GuestCommand,
}

impl Incoming {
    /// Decodes a command without its prefix.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes; see [`DecodeError`]. An honest guest causes none of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match CommandHeader::read(bytes)? {
            CommandHeader::Global { id, process } => {
                Ok(Self { process, answer: Answer::Wanted, command: GuestCommand::decode_global(id, bytes)? })
            }
            CommandHeader::Vgpu { id, process, answer } => {
                Ok(Self { process, answer, command: GuestCommand::decode_vgpu(id, bytes)? })
            }
        }
    }
}
