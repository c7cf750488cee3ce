//! Start-up, and the adapter: listing, opening, closing.
//!
//! A session has one adapter. Every listing and opening takes one more reference with a handle of its own; when the last is closed
//! the devices of the process on the adapter go.

use std::process;

use dxg_ioctl::CallError;
use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::ADAPTERS_MAX;
use dxg_ioctl::abi::AdapterInfo;
use dxg_ioctl::abi::CloseAdapter;
use dxg_ioctl::abi::EnumAdapters2;
use dxg_ioctl::abi::EnumAdapters3;
use dxg_ioctl::abi::EnumAdaptersFilter;
use dxg_ioctl::abi::OpenAdapterFromLuid;
use dxg_wire::messages::CreateProcessCommand;
use dxg_wire::messages::CreateProcessCommandFlags;
use dxg_wire::messages::FlushDeviceCommand;
use dxg_wire::messages::FlushReason;
use dxg_wire::messages::GetInternalAdapterInfoCommand;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::OpenAdapterCommand;
use dxg_wire::messages::SetIoSpaceRegionCommand;
use dxg_wire::session::IoAddress;

use super::HostNode;
use crate::caller::CallerMemory;
use crate::errno;

impl HostNode {
    /// The messages that come before any request: IO space, adapter, process.
    pub(super) fn start(&mut self, io_base: IoAddress, io_bytes: u64) -> Result<(), CallError> {
        let mut region: SetIoSpaceRegionCommand = self.command();
        region.start = io_base.0;
        region.length = io_bytes;
        self.ask_status(&region)?;
        let mut open: OpenAdapterCommand = self.command();
        open.vmbus_interface_version = InterfaceVersion::CURRENT.0;
        open.vmbus_last_compatible_interface_version = InterfaceVersion::LAST_COMPATIBLE.0;
        let opened = self.ask(&open)?;
        errno::of_status(opened.status)?;
        self.host_adapter = opened.host_adapter_handle;
        let info = self.ask(&self.command::<GetInternalAdapterInfoCommand>())?;
        self.host_adapter_luid = info.host_adapter_luid;
        let mut process: CreateProcessCommand = self.command();
        // Any number will do for the cookie; the process id is one that people can find in logs.
        process.process = UserPtr(u64::from(process::id()));
        process.process_id = u64::from(process::id());
        process.flags = CreateProcessCommandFlags::LINUX_PROCESS;
        let name = super::connect::task_name();
        for (unit, byte) in process.process_name.iter_mut().zip(name.bytes().take(15)) {
            *unit = u16::from(byte);
        }
        self.process = self.ask(&process)?.hprocess;
        if self.process.is_none() { Err(errno::BAD_DESCRIPTOR) } else { Ok(()) }
    }

    /// EINVAL unless `handle` is a reference to the adapter.
    pub(super) fn check_adapter(&self, handle: RawHandle) -> Result<(), CallError> {
        self.adapters.lock().get(handle).copied()
    }

    fn new_reference(&self) -> Result<RawHandle, CallError> {
        self.adapters.lock().insert(())
    }

    pub(super) fn open_adapter_from_luid(
        &self,
        args: &mut OpenAdapterFromLuid,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.adapter_luid == self.info.adapter_luid {
            args.adapter_handle = self.new_reference()?;
        } else if args.adapter_handle.is_none() {
            return Err(errno::INVALID);
        }
        // As in the kernel: an unknown LUID with a handle in place is success, and nothing changes.
        Ok(NtStatus::SUCCESS)
    }

    fn list(&self, at: UserPtr, room: usize, memory: &mut dyn CallerMemory) -> Result<(), CallError> {
        if room < 1 {
            return Err(errno::OVERFLOW);
        }
        let handle = self.new_reference()?;
        let luid: Luid = self.info.adapter_luid;
        let entry = AdapterInfo {
            adapter_handle: handle,
            adapter_luid: luid,
            num_sources: 0,
            present_move_regions_preferred: 0,
        };
        memory.write_array(at, &[entry]).inspect_err(|_| {
            let _ = self.adapters.lock().remove(handle);
        })
    }

    pub(super) fn enum_adapters_2(
        &self,
        args: &mut EnumAdapters2,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.adapters.is_null() {
            // The count has compute-only adapters in it, although the list leaves them out.
            args.num_adapters = 1;
            return Ok(NtStatus::SUCCESS);
        }
        let room = args.num_adapters as usize;
        if room > ADAPTERS_MAX {
            return Err(errno::INVALID);
        }
        let listed = u32::from(!self.compute_only);
        if listed != 0 {
            self.list(args.adapters, room, memory)?;
        }
        args.num_adapters = listed;
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn enum_adapters_3(
        &self,
        args: &mut EnumAdapters3,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if args.adapters.is_null() || args.adapter_count == 0 {
            args.adapter_count = 1;
            return Ok(NtStatus::SUCCESS);
        }
        let included = !self.compute_only || args.filter.contains(EnumAdaptersFilter::INCLUDE_COMPUTE_ONLY);
        if included {
            self.list(args.adapters, args.adapter_count as usize, memory)?;
        }
        args.adapter_count = u32::from(included);
        Ok(NtStatus::SUCCESS)
    }

    pub(super) fn close_adapter(
        &self,
        args: &mut CloseAdapter,
        _memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        let last = {
            let mut adapters = self.adapters.lock();
            adapters.remove(args.adapter_handle)?;
            adapters.len() == 0
        };
        if last && !self.link.lost.is_set() {
            for device in self.objects.devices() {
                let mut flush: FlushDeviceCommand = self.command();
                flush.device = device.handle;
                flush.reason = FlushReason::DEVICE_TERMINATE;
                // The device goes in any case.
                let _ = self.ask_status(&flush);
                let _ = self.drop_device(device.handle);
            }
        }
        Ok(NtStatus::SUCCESS)
    }
}
