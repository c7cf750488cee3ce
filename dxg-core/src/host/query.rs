//! Questions about the adapter, and escapes.

use std::process;

use dxg_ioctl::CallError;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AdapterType;
use dxg_ioctl::abi::ChangeVideoMemoryReservation;
use dxg_ioctl::abi::EnumProcesses;
use dxg_ioctl::abi::Escape;
use dxg_ioctl::abi::EscapeFlags;
use dxg_ioctl::abi::EscapeType;
use dxg_ioctl::abi::FlushHeapTransitions;
use dxg_ioctl::abi::IsFeatureEnabled;
use dxg_ioctl::abi::KnownEscapeType;
use dxg_ioctl::abi::QueryAdapterInfo;
use dxg_ioctl::abi::QueryAdapterInfoType;
use dxg_ioctl::abi::QueryClockCalibration;
use dxg_ioctl::abi::QueryStatistics;
use dxg_ioctl::abi::QueryVideoMemoryInfo;
use dxg_wire::messages::ChangeVideoMemoryReservationCommand;
use dxg_wire::messages::Command;
use dxg_wire::messages::EscapeCommand;
use dxg_wire::messages::FlushHeapTransitionsCommand;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::IsFeatureEnabledCommand;
use dxg_wire::messages::QueryAdapterInfoCommand;
use dxg_wire::messages::QueryClockCalibrationCommand;
use dxg_wire::messages::QueryStatisticsCommand;
use dxg_wire::messages::QueryVideoMemoryInfoCommand;
use dxg_wire::messages::info::EscapeMessage;
use dxg_wire::messages::info::QueryAdapterInfoAnswer;
use dxg_wire::messages::info::QueryAdapterInfoMessage;
use dxg_wire::messages::info::decode_escape_answer;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use super::HostNode;
use super::message;
use crate::caller::CallerMemory;
use crate::errno;

/// Most private data of any request.
pub(super) const MAX_PRIVATE_BYTES: u32 = 131_072;

impl HostNode {
    pub(super) fn query_adapter_info(
        &self,
        args: &mut QueryAdapterInfo,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let size_bytes = args.private_data_size;
        if size_bytes == 0 || size_bytes > MAX_PRIVATE_BYTES {
            return Err(errno::INVALID);
        }
        let private_data = memory.bytes(args.private_data, size_bytes as usize)?;
        let mut command: QueryAdapterInfoCommand = self.command();
        command.query_type = args.r#type;
        let payload = self.ask_long(&QueryAdapterInfoMessage { command, private_data })?;
        let answer = QueryAdapterInfoAnswer::decode(&payload, InterfaceVersion::CURRENT, size_bytes);
        let mut answer = answer.map_err(message::too_short)?;
        let status = errno::of_status(answer.status)?;
        if matches!(args.r#type, QueryAdapterInfoType::ADAPTERTYPE | QueryAdapterInfoType::ADAPTERTYPE_RENDER)
        {
            self.edit_adapter_type(&mut answer.private_data);
        }
        memory.write(args.private_data, &answer.private_data)?;
        Ok(status)
    }

    /// What the driver changes in the adapter's type: it has no displays, and is a part of another machine's.
    fn edit_adapter_type(&self, data: &mut [u8]) {
        let Ok((mut kind, _)) = AdapterType::read_from_prefix(data) else { return };
        kind.insert(AdapterType::PARAVIRTUALIZED);
        kind.remove(
            AdapterType::DISPLAY_SUPPORTED
                | AdapterType::POST_DEVICE
                | AdapterType::INDIRECT_DISPLAY_DEVICE
                | AdapterType::ACG_SUPPORTED
                | AdapterType::SUPPORT_SET_TIMINGS_FROM_VIDPN,
        );
        kind.set(AdapterType::COMPUTE_ONLY, self.compute_only);
        // It was read from there, so it fits.
        let _ = kind.write_to_prefix(data);
    }

    pub(super) fn query_video_memory_info(
        &self,
        args: &mut QueryVideoMemoryInfo,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        if args.process != 0 {
            return Err(errno::INVALID);
        }
        let mut command: QueryVideoMemoryInfoCommand = self.command();
        command.adapter = self.host_adapter;
        command.memory_segment_group = args.memory_segment_group;
        command.physical_adapter_index = args.physical_adapter_index;
        let reply = self.ask(&command)?;
        args.budget = reply.budget;
        args.current_usage = reply.current_usage;
        args.current_reservation = reply.current_reservation;
        args.available_for_reservation = reply.available_for_reservation;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn change_video_memory_reservation(
        &self,
        args: &mut ChangeVideoMemoryReservation,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        if args.process != 0 {
            return Err(errno::INVALID);
        }
        let mut command: ChangeVideoMemoryReservationCommand = self.command();
        command.args = *args;
        command.args.adapter = RawHandle::NONE;
        self.ask_status(&command)
    }

    pub(super) fn query_statistics(
        &self,
        args: &mut QueryStatistics,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.adapter_luid != self.info.adapter_luid {
            return Ok(NtStatus::SUCCESS);
        }
        let queried = match args.process {
            0 => RawHandle::NONE,
            pid if pid == u64::from(process::id()) => self.process,
            // Of other processes a session knows nothing.
            _ => return Err(errno::INVALID),
        };
        let mut command = QueryStatisticsCommand::for_process(queried);
        command.args = *args;
        command.args.process = 0;
        command.args.adapter_luid = self.host_adapter_luid;
        let reply = self.ask(&command)?;
        let status = errno::of_status(reply.status)?;
        args.result = reply.result;
        Ok(status)
    }

    pub(super) fn query_clock_calibration(
        &self,
        args: &mut QueryClockCalibration,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let mut command: QueryClockCalibrationCommand = self.command();
        command.args = *args;
        command.args.adapter = self.host_adapter;
        let reply = self.ask(&command)?;
        // Written back even on failure.
        args.clock_data = reply.clock_data;
        errno::of_status(reply.status)
    }

    pub(super) fn flush_heap_transitions(
        &self,
        args: &mut FlushHeapTransitions,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        // As in the kernel: the caller gets the host's handle back.
        args.adapter = self.host_adapter;
        self.ask_status(&self.command::<FlushHeapTransitionsCommand>())
    }

    pub(super) fn escape(
        &self,
        args: &mut Escape,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let size_bytes = args.priv_drv_data_size;
        if size_bytes > MAX_PRIVATE_BYTES {
            return Err(errno::INVALID);
        }
        let private_data = memory.bytes(args.priv_drv_data, size_bytes as usize)?;
        let known = args.r#type == EscapeType(0) && args.flags.contains(EscapeFlags::DRIVER_KNOWN_ESCAPE);
        if known {
            let Ok((code, _)) = KnownEscapeType::read_from_prefix(&private_data) else {
                return Err(errno::INVALID);
            };
            match code.0 {
                // Handles are the same on both sides, so translating them changes nothing.
                0 | 1 => return Ok(NtStatus::SUCCESS),
                // Building a test command buffer carries addresses, which no host of ours takes.
                3 => return Err(errno::UNSUPPORTED),
                _ => {}
            }
        }
        let mut command: EscapeCommand = self.command();
        command.adapter = self.host_adapter;
        command.device = args.device;
        command.r#type = args.r#type;
        command.flags = args.flags;
        command.context = args.context;
        let payload = self.ask_long(&EscapeMessage { command, private_data })?;
        let answer = decode_escape_answer(&payload, size_bytes).map_err(message::too_short)?;
        memory.write_array(args.priv_drv_data, &answer)?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn enum_processes(
        &self,
        args: &mut EnumProcesses,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.adapter_luid != self.info.adapter_luid {
            return Err(errno::INVALID);
        }
        // A session has one process.
        let room = args.buffer_count;
        args.buffer_count = 1;
        if args.buffer.is_null() || room == 0 {
            return Err(errno::OVERFLOW);
        }
        memory.write_array(args.buffer, &[process::id()])?;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn is_feature_enabled(
        &self,
        args: &mut IsFeatureEnabled,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.check_adapter(args.adapter)?;
        let mut command = IsFeatureEnabledCommand::for_process(RawHandle::NONE);
        command.feature_id = args.feature_id;
        let reply = self.ask(&command)?;
        let status = errno::of_status(reply.status)?;
        args.result = reply.result;
        Ok(status)
    }
}
