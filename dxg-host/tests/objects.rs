//! The object model through the rings: devices, memory, addresses, work, fences.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use dxg_ioctl::FenceValue;
use dxg_ioctl::GpuVa;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::AllocationResidencyStatus;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::DeviceExecutionState;
use dxg_ioctl::abi::DeviceStateType;
use dxg_ioctl::abi::QueryAdapterInfoType;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_ioctl::adapter_info::AdapterRegistryInfo;
use dxg_wire::messages::Channel;
use dxg_wire::messages::Command;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::Message;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::DestroyAllocationMessage;
use dxg_wire::messages::allocation::MakeResidentMessage;
use dxg_wire::messages::allocation::NewAllocation;
use dxg_wire::messages::allocation::PerAllocationAnswer;
use dxg_wire::messages::allocation::QueryAllocationResidencyMessage;
use dxg_wire::messages::allocation::SetExistingSysmemPagesMessage;
use dxg_wire::messages::context::CreateContextVirtualMessage;
use dxg_wire::messages::context::CreateHwQueueMessage;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::messages::info::QueryAdapterInfoAnswer;
use dxg_wire::messages::info::QueryAdapterInfoMessage;
use dxg_wire::messages::submit::SubmitCommandMessage;
use dxg_wire::messages::submit::SubmitCommandToHwQueueMessage;
use dxg_wire::messages::sync::FencePoint;
use dxg_wire::messages::sync::SignalSyncObjectMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromCpuMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromGpuMessage;
use dxg_wire::messages::*;
use dxg_wire::transfer::AllocationData;
use dxg_wire::transfer::Copy;
use dxg_wire::transfer::FenceWrite;
use dxg_wire::transfer::Fill;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use support::daemon::Daemon;
use support::session::Session;

const PAGE: u64 = 4096;
const COOKIE: u64 = 0xC00C1E;

/// A device with what work needs.
struct Rig {
    session: Session,
    device: RawHandle,
    context: RawHandle,
    paging: CreatePagingQueueReply,
}

/// An allocation, mapped for both sides.
struct Memory {
    handle: RawHandle,
    cpu: u64,
    gpu: u64,
}

struct Fence {
    handle: RawHandle,
    page: u64,
    gpu: u64,
}

impl Rig {
    fn new(daemon: &Daemon) -> Self {
        let mut session = Session::open(&daemon.socket());
        let mut create = CreateDeviceCommand::for_process(session.process);
        create.error_code = dxg_ioctl::UserPtr(COOKIE);
        let device = session.ask(&create).device;
        assert_ne!(device, RawHandle::NONE);
        let mut command = CreateContextVirtualCommand::for_process(session.process);
        command.device = device;
        let message = CreateContextVirtualMessage { command, private_data: Vec::new() };
        let answer = session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
        let context = CreateContextVirtualMessage::decode(&answer).unwrap().command.context;
        assert_ne!(context, RawHandle::NONE);
        let mut create = CreatePagingQueueCommand::for_process(session.process);
        create.args.device = device;
        let paging = session.ask(&create);
        assert_ne!(paging.paging_queue, RawHandle::NONE);
        Self { session, device, context, paging }
    }

    fn status(&mut self, message: &impl Message) -> NtStatus {
        let answer = self.session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
        codec::decode_fixed(&answer).unwrap()
    }

    fn allocate(&mut self, size_bytes: u64, flags: CreateAllocationFlags) -> Option<CreateAllocationAnswer> {
        let mut command = CreateAllocationCommand::for_process(self.session.process);
        command.device = self.device;
        command.flags = flags;
        let info = CreateAllocationInfo { flags: 0, priv_drv_data_size: 0, vidpn_source_id: 0 };
        let private_data = AllocationData::new(size_bytes).as_bytes().to_vec();
        let allocations = vec![NewAllocation { info, private_data }];
        let message =
            CreateAllocationMessage { command, runtime_data: vec![], resource_data: vec![], allocations };
        let answer = self.session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
        CreateAllocationAnswer::decode(&answer, 1).ok()
    }

    fn destroy(&mut self, allocation: RawHandle) -> NtStatus {
        let mut command = DestroyAllocationCommand::for_process(self.session.process);
        command.device = self.device;
        self.status(&DestroyAllocationMessage { command, allocations: vec![allocation] })
    }

    fn lock(&mut self, allocation: RawHandle) -> Lock2Reply {
        let mut lock = Lock2Command::for_process(self.session.process);
        lock.args.device = self.device;
        lock.args.allocation = allocation;
        self.session.ask(&lock)
    }

    fn map(&mut self, allocation: RawHandle, size_bytes: u64) -> MapGpuVirtualAddressReply {
        let mut map = MapGpuVirtualAddressCommand::for_process(self.session.process);
        map.args.paging_queue = self.paging.paging_queue;
        map.args.allocation = allocation;
        map.args.size_in_pages = size_bytes / PAGE;
        self.session.ask(&map)
    }

    fn memory(&mut self, size_bytes: u64) -> Memory {
        let answer = self.allocate(size_bytes, CreateAllocationFlags::empty()).unwrap();
        let handle = answer.allocations[0].info.allocation;
        let lock = self.lock(handle);
        assert_eq!(lock.status, NtStatus::SUCCESS);
        let mapped = self.map(handle, size_bytes);
        assert_eq!(mapped.status, NtStatus::PENDING);
        Memory { handle, cpu: lock.cpu_visible_buffer_offset.0, gpu: mapped.virtual_address.0 }
    }

    fn fence(&mut self) -> Fence {
        let mut create = CreateSyncObjectCommand::for_process(self.session.process);
        create.args.device = self.device;
        create.args.info.r#type = SynchronizationObjectType::MONITORED_FENCE;
        let made = self.session.ask(&create);
        assert_ne!(made.sync_object, RawHandle::NONE);
        Fence { handle: made.sync_object, page: made.fence_storage_address, gpu: made.fence_gpu_va.0 }
    }

    fn wait_for(&mut self, fence: &Fence, value: u64, event: u64) {
        let mut command = WaitForSyncObjectFromCpuCommand::for_process(self.session.process);
        command.device = self.device;
        command.guest_event_pointer = event;
        let points = vec![FencePoint { object: fence.handle, value: FenceValue(value) }];
        let message = WaitForSyncObjectFromCpuMessage { command, points };
        assert_eq!(self.status(&message), NtStatus::SUCCESS);
    }

    fn signal(&mut self, contexts: Vec<RawHandle>, fence: &Fence, value: u64) {
        let mut command = SignalSyncObjectCommand::for_process(self.session.process);
        command.target.set_device(self.device);
        let message = SignalSyncObjectMessage {
            command,
            objects: vec![fence.handle],
            contexts,
            fence_values: vec![FenceValue(value)],
        };
        assert_eq!(self.status(&message), NtStatus::SUCCESS);
    }

    fn gpu_wait(&mut self, fence: &Fence, value: u64) {
        let mut command = WaitForSyncObjectFromGpuCommand::for_process(self.session.process);
        command.context = self.context;
        let points = vec![FencePoint { object: fence.handle, value: FenceValue(value) }];
        assert_eq!(self.status(&WaitForSyncObjectFromGpuMessage { command, points }), NtStatus::SUCCESS);
    }

    fn event(&mut self) -> u64 {
        match self.session.packet() {
            HostPacket::SignalGuestEvent(event) => event.event,
            other => panic!("{other:?}"),
        }
    }

    /// Puts commands into memory and submits them to the context.
    fn submit(&mut self, at: &Memory, commands: &[u8]) -> NtStatus {
        self.session.memory(at.cpu, commands.len()).copy_in(0, commands).unwrap();
        let mut command = SubmitCommandCommand::for_process(self.session.process);
        command.args.command_buffer = GpuVa(at.gpu);
        command.args.command_length = u32::try_from(commands.len()).unwrap();
        command.args.broadcast_context_count = 1;
        command.args.broadcast_context[0] = self.context;
        self.status(&SubmitCommandMessage { command, history_buffers: vec![], private_data: vec![] })
    }

    fn execution_state(&mut self) -> DeviceExecutionState {
        let mut ask = GetDeviceStateCommand::for_process(self.session.process);
        ask.args.device = self.device;
        ask.args.state_type = DeviceStateType::EXECUTION;
        let answer = self.session.ask(&ask);
        assert_eq!(answer.status, NtStatus::SUCCESS);
        answer.args.state.execution_state()
    }
}

#[test]
fn adapter_says_who_it_is() {
    let daemon = Daemon::start();
    let mut session = Session::open(&daemon.socket());
    let opened = session.ask(&OpenAdapterCommand::for_process(RawHandle::NONE));
    assert_eq!(opened.status, NtStatus::SUCCESS);
    let command = {
        let mut command = QueryAdapterInfoCommand::for_process(session.process);
        command.query_type = QueryAdapterInfoType::ADAPTERREGISTRYINFO;
        command
    };
    let private_data = vec![0; size_of::<AdapterRegistryInfo>()];
    let message = QueryAdapterInfoMessage { command, private_data };
    let answer = session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
    let size = u32::try_from(size_of::<AdapterRegistryInfo>()).unwrap();
    let answer = QueryAdapterInfoAnswer::decode(&answer, InterfaceVersion::CURRENT, size).unwrap();
    assert_eq!(answer.status, NtStatus::SUCCESS);
    let info = AdapterRegistryInfo::read_from_bytes(&answer.private_data).unwrap();
    let name = String::from_utf16_lossy(&info.adapter_string);
    assert_eq!(name.trim_end_matches('\0'), "dxg memory adapter");
}

#[test]
fn adapter_info_into_a_short_buffer_is_refused_and_leaves_it_as_it_was() {
    let daemon = Daemon::start();
    let mut session = Session::open(&daemon.socket());
    let mut command = QueryAdapterInfoCommand::for_process(session.process);
    command.query_type = QueryAdapterInfoType::ADAPTERREGISTRYINFO;
    let message = QueryAdapterInfoMessage { command, private_data: vec![0xEE; 16] };
    let answer = session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
    let answer = QueryAdapterInfoAnswer::decode(&answer, InterfaceVersion::CURRENT, 16).unwrap();
    assert_eq!(answer.status, NtStatus::INVALID_PARAMETER);
    assert_eq!(answer.private_data, [0xEE; 16]);
}

#[test]
fn submitted_work_fills_copies_and_writes_its_fence() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let commands = rig.memory(PAGE);
    let source = rig.memory(2 * PAGE);
    let target = rig.memory(2 * PAGE);
    let fence = rig.fence();
    rig.wait_for(&fence, 5, 42);
    let buffer = [
        Fill::new(source.gpu, 2 * PAGE, 0x1234_5678).as_bytes(),
        Copy::new(target.gpu + 8, source.gpu, PAGE + 16).as_bytes(),
        FenceWrite::new(fence.gpu, 5).as_bytes(),
    ]
    .concat();
    assert_eq!(rig.submit(&commands, &buffer), NtStatus::SUCCESS);
    assert_eq!(rig.event(), 42);
    assert_eq!(rig.session.word(fence.page), 5);
    assert_eq!(rig.session.word(source.cpu + 2 * PAGE - 8), 0x1234_5678_1234_5678);
    assert_eq!(rig.session.word(target.cpu), 0, "before the copy");
    assert_eq!(rig.session.word(target.cpu + 8), 0x1234_5678_1234_5678);
    assert_eq!(rig.session.word(target.cpu + PAGE + 16), 0x1234_5678_1234_5678);
    assert_eq!(rig.session.word(target.cpu + PAGE + 24), 0, "behind the copy");
}

#[test]
fn queue_waits_for_the_cpu_and_signals_behind_its_work() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let commands = rig.memory(PAGE);
    let target = rig.memory(PAGE);
    let go = rig.fence();
    let done = rig.fence();
    rig.gpu_wait(&go, 1);
    assert_eq!(rig.submit(&commands, Fill::new(target.gpu, PAGE, 7).as_bytes()), NtStatus::SUCCESS);
    let context = rig.context;
    rig.signal(vec![context], &done, 3);
    rig.wait_for(&done, 3, 9);
    assert_eq!(rig.session.word(target.cpu), 0, "the queue is parked");
    rig.signal(vec![], &go, 1);
    assert_eq!(rig.event(), 9);
    assert_eq!(rig.session.word(target.cpu), 0x0000_0007_0000_0007);
    assert_eq!(rig.session.word(done.page), 3);
}

#[test]
fn wait_that_is_over_already_sets_its_event_at_once() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let fence = rig.fence();
    rig.signal(vec![], &fence, 10);
    rig.wait_for(&fence, 4, 77);
    assert_eq!(rig.event(), 77);
}

#[test]
fn hardware_queue_shows_its_progress() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let mut command = CreateHwQueueCommand::for_process(rig.session.process);
    command.context = rig.context;
    let message = CreateHwQueueMessage { command, private_data: vec![] };
    let answer = rig.session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
    let queue = CreateHwQueueMessage::decode(&answer).unwrap().command;
    assert_eq!(queue.status, NtStatus::SUCCESS);
    let commands = rig.memory(PAGE);
    let fill = Fill::new(commands.gpu + 2048, 8, 1);
    rig.session.memory(commands.cpu, 32).copy_in(0, fill.as_bytes()).unwrap();
    let mut command = SubmitCommandToHwQueueCommand::for_process(rig.session.process);
    command.args.hwqueue = queue.hwqueue;
    command.args.hwqueue_progress_fence_id = FenceValue(11);
    command.args.command_buffer = GpuVa(commands.gpu);
    command.args.command_length = 32;
    let message = SubmitCommandToHwQueueMessage { command, written_primaries: vec![], private_data: vec![] };
    assert_eq!(rig.status(&message), NtStatus::SUCCESS);
    let progress =
        Fence { handle: queue.hwqueue_progress_fence, page: queue.hwqueue_progress_fence_cpuva.0, gpu: 0 };
    rig.wait_for(&progress, 11, 5);
    assert_eq!(rig.event(), 5);
    assert_eq!(rig.session.word(progress.page), 11);
    assert_eq!(rig.session.word(commands.cpu + 2048), 0x0000_0001_0000_0001);
}

#[test]
fn bad_address_loses_the_device_and_ends_its_waits() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let commands = rig.memory(PAGE);
    let fence = rig.fence();
    rig.wait_for(&fence, 1, 8);
    let wild = Fill::new(0xDEAD_0000_0000, 8, 0);
    assert_eq!(rig.submit(&commands, wild.as_bytes()), NtStatus::SUCCESS);
    let HostPacket::SetGuestData(changed) = rig.session.packet() else { panic!("the device has changed") };
    assert_eq!(changed.guest_pointer.0, COOKIE);
    assert_ne!(changed.data.data32(), 0);
    assert_eq!(rig.event(), 8);
    assert_eq!(rig.session.word(fence.page), u64::MAX);
    assert_eq!(rig.execution_state(), DeviceExecutionState::ERROR_DMAPAGEFAULT);
    assert_eq!(rig.submit(&commands, wild.as_bytes()), NtStatus::DEVICE_REMOVED);
}

#[test]
fn destroyed_allocation_is_unmapped_and_its_charge_is_back() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let before = daemon.state().vgpus[0].used_bytes;
    let memory = rig.memory(3 * PAGE);
    assert_eq!(daemon.state().vgpus[0].used_bytes, before + 3 * PAGE);
    assert_eq!(rig.destroy(memory.handle), NtStatus::SUCCESS);
    assert_eq!(rig.destroy(memory.handle), NtStatus::INVALID_HANDLE);
    assert_eq!(rig.lock(memory.handle).status, NtStatus::INVALID_HANDLE);
    support::daemon::eventually("the charge is back", || daemon.state().vgpus[0].used_bytes == before);
}

#[test]
fn allocation_over_the_quota_is_a_short_answer_and_leaves_no_trace() {
    let daemon = Daemon::with_config("[[vgpu]]\nadapter = 0\nquota_bytes = 65536\n");
    let mut rig = Rig::new(&daemon);
    assert!(rig.allocate(65537, CreateAllocationFlags::empty()).is_none());
    assert_eq!(daemon.state().vgpus[0].used_bytes, 0);
    assert!(rig.allocate(65536, CreateAllocationFlags::empty()).is_some());
    assert!(rig.allocate(1, CreateAllocationFlags::empty()).is_none());
}

#[test]
fn residency_is_what_was_asked_for() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let memory = rig.memory(PAGE);
    let ask = |rig: &mut Rig| {
        let mut command = QueryAllocationResidencyCommand::for_process(rig.session.process);
        command.args.device = rig.device;
        let message = QueryAllocationResidencyMessage { command, allocations: vec![memory.handle] };
        let answer = rig.session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
        let answer = PerAllocationAnswer::decode(&answer, 1).unwrap();
        assert_eq!(answer.status, NtStatus::SUCCESS);
        AllocationResidencyStatus(answer.values[0])
    };
    assert_eq!(ask(&mut rig), AllocationResidencyStatus::NOTRESIDENT);
    let mut command = MakeResidentCommand::for_process(rig.session.process);
    command.paging_queue = rig.paging.paging_queue;
    let message = MakeResidentMessage { command, allocations: vec![memory.handle] };
    let answer = rig.session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
    let answer: MakeResidentReply = codec::decode_fixed(&answer).unwrap();
    assert_eq!(answer.status, NtStatus::PENDING);
    assert_eq!(rig.session.word(rig.paging.fence_storage_physical_address), answer.paging_fence_value.0);
    assert_eq!(ask(&mut rig), AllocationResidencyStatus::RESIDENTINGPUMEMORY);
}

#[test]
fn existing_pages_of_the_guest_are_what_the_gpu_writes() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let block = rig.session.lease(4 * PAGE).unwrap();
    let commands = rig.memory(PAGE);
    let answer = rig.allocate(2 * PAGE, CreateAllocationFlags::EXISTING_SYSMEM).unwrap();
    let allocation = answer.allocations[0].info.allocation;
    let mut command = SetExistingSysmemPagesCommand::for_process(rig.session.process);
    command.device = rig.device;
    command.allocation = allocation;
    let first = block.0 / PAGE;
    // Out of order, so that the pages and not the range are what counts.
    let message = SetExistingSysmemPagesMessage { command, page_frames: vec![first + 3, first + 1] };
    assert_eq!(rig.status(&message), NtStatus::SUCCESS);
    let mapped = rig.map(allocation, 2 * PAGE);
    let fence = rig.fence();
    rig.wait_for(&fence, 1, 2);
    let gpu = mapped.virtual_address.0;
    let buffer =
        [Fill::new(gpu + PAGE - 8, 16, 3).as_bytes(), FenceWrite::new(fence.gpu, 1).as_bytes()].concat();
    assert_eq!(rig.submit(&commands, &buffer), NtStatus::SUCCESS);
    assert_eq!(rig.event(), 2);
    assert_eq!(rig.session.word(block.0 + 4 * PAGE - 8), 0x0000_0003_0000_0003);
    assert_eq!(rig.session.word(block.0 + PAGE), 0x0000_0003_0000_0003);
    assert_eq!(rig.session.word(block.0 + 2 * PAGE), 0);
}

#[test]
fn pages_that_are_not_the_guests_are_refused() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let answer = rig.allocate(PAGE, CreateAllocationFlags::EXISTING_SYSMEM).unwrap();
    let mut command = SetExistingSysmemPagesCommand::for_process(rig.session.process);
    command.device = rig.device;
    command.allocation = answer.allocations[0].info.allocation;
    let message = SetExistingSysmemPagesMessage { command, page_frames: vec![7] };
    assert_eq!(rig.status(&message), NtStatus::NO_MEMORY);
    let message = SetExistingSysmemPagesMessage { command, page_frames: vec![u64::MAX] };
    assert_eq!(rig.status(&message), NtStatus::INVALID_PARAMETER);
}

#[test]
fn handles_of_another_kind_and_forged_ones_are_refused() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let process = rig.session.process;
    let mut destroy = |device| {
        let mut command = DestroyDeviceCommand::for_process(process);
        command.device = device;
        rig.session.ask(&command)
    };
    assert_eq!(destroy(rig.context), NtStatus::OBJECT_TYPE_MISMATCH);
    for forged in [0, 1, 0x4000_0000 | 77 << 6, u32::MAX] {
        assert_eq!(destroy(RawHandle(forged)), NtStatus::INVALID_HANDLE);
    }
}

#[test]
fn unknown_command_is_not_supported_and_the_session_lives() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    let header = VgpuToHostHeader::new(VgpuCommandId(4000), rig.session.process);
    let answer = rig.session.ask_bytes(Channel::Vgpu, header.as_bytes());
    assert_eq!(codec::decode_fixed::<NtStatus>(&answer).unwrap(), NtStatus::NOT_SUPPORTED);
    assert_eq!(rig.execution_state(), DeviceExecutionState::ACTIVE);
}

#[test]
fn destroyed_process_gives_everything_back() {
    let daemon = Daemon::start();
    let mut rig = Rig::new(&daemon);
    rig.memory(8 * PAGE);
    rig.fence();
    let process = rig.session.process;
    let status = rig.session.ask(&DestroyProcessCommand::for_process(process));
    assert_eq!(status, NtStatus::SUCCESS);
    support::daemon::eventually("the charge is back", || daemon.state().vgpus[0].used_bytes == 0);
    let answer = rig.session.ask(&CreateDeviceCommand::for_process(process));
    assert_eq!(answer.device, RawHandle::NONE);
}
