//! Sequences of dxgvmbus requests against the object model of a worker.

use dxg_host::fuzzing::SessionStage;
use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateAllocationCommand;
use dxg_wire::messages::CreateAllocationInfo;
use dxg_wire::messages::CreateContextVirtualCommand;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::CreatePagingQueueCommand;
use dxg_wire::messages::CreateProcessCommand;
use dxg_wire::messages::CreateProcessReply;
use dxg_wire::messages::CreateSyncObjectCommand;
use dxg_wire::messages::DestroyProcessCommand;
use dxg_wire::messages::GlobalCommandId;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::Message;
use dxg_wire::messages::VgpuCommandId;
use dxg_wire::messages::VgpuToHostHeader;
use dxg_wire::messages::VmToHostHeader;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::NewAllocation;
use dxg_wire::messages::codec::decode_fixed;
use dxg_wire::messages::context::CreateContextVirtualMessage;
use dxg_wire::messages::framing::frame;
use dxg_wire::session::ARENA_BASE;
use dxg_wire::transfer::ALLOCATION_MAGIC;
use dxg_wire::transfer::AllocationData;
use zerocopy::IntoBytes;

use crate::input::Input;
use crate::input::Known;

const FOREIGN: u64 = SessionStage::FOREIGN as u64;
/// Most requests of one run.
const REQUESTS: usize = 64;
/// Handles that a client's process can have: more are not looked for when the run ends.
const PROCESSES: u32 = 16;

/// Asks what the bytes say, then ends its processes: nothing is held any more.
pub fn dxg_session(data: &[u8]) {
    let mut input = Input::new(data);
    let foreign = usize::from(input.u8());
    let foreign = input.bytes(foreign).to_vec();
    let mut stage = SessionStage::new(foreign).expect("a stage");
    let mut known =
        Known::new(&[4, ARENA_BASE, SessionStage::BLOCK, FOREIGN, FOREIGN + 1, ALLOCATION_MAGIC.into()]);
    let Some(process) = furnish(&mut stage, &mut known) else { panic!("no process") };
    let mut processes = vec![process];
    for _ in 0..REQUESTS {
        if input.is_empty() {
            break;
        }
        let id = input.u8();
        let by = if id & 0x80 == 0 { process } else { RawHandle(input.u32()) };
        let id = u32::from(id & 0x7F);
        let command = if id < 0x60 {
            VgpuToHostHeader::new(VgpuCommandId(id), by).as_bytes().to_vec()
        } else {
            VmToHostHeader::new(GlobalCommandId(1000 + id - 0x60), by).as_bytes().to_vec()
        };
        let words = usize::from(input.u8());
        let body = input.words(words, &known);
        match ask(&mut stage, &[command, body].concat()) {
            Some(answer) => {
                if id == 0x60 + GlobalCommandId::CREATEPROCESS.0 - 1000
                    && let Ok(created) = decode_fixed::<CreateProcessReply>(&answer)
                {
                    processes.push(created.hprocess);
                }
                known.learn(&answer);
            }
            None => break,
        }
    }
    for process in processes.into_iter().take(PROCESSES as usize) {
        ask(&mut stage, DestroyProcessCommand::for_process(process).as_bytes());
    }
    assert_eq!(stage.used_bytes(), 0, "windows without an owner");
}

/// The answer; nothing where the session would end.
fn ask(stage: &mut SessionStage, command: &[u8]) -> Option<Vec<u8>> {
    let message = frame(InterfaceVersion::CURRENT, Luid { a: 1, b: 2 }, command).ok()?;
    stage.ask(&message).ok().flatten()
}

/// A process with a device, a paging queue, a fence, a context and a resource that may be shared.
fn furnish(stage: &mut SessionStage, known: &mut Known) -> Option<RawHandle> {
    let created = ask(stage, CreateProcessCommand::for_process(RawHandle::NONE).as_bytes())?;
    let process = decode_fixed::<CreateProcessReply>(&created).ok()?.hprocess;
    known.learn(&created);
    let device = ask(stage, CreateDeviceCommand::for_process(process).as_bytes())?;
    let handle = RawHandle(u32::from_le_bytes(*device.first_chunk()?));
    let mut queue = CreatePagingQueueCommand::for_process(process);
    queue.args.device = handle;
    known.learn(&ask(stage, queue.as_bytes())?);
    let mut fence = CreateSyncObjectCommand::for_process(process);
    fence.args.device = handle;
    fence.args.info.r#type = SynchronizationObjectType::MONITORED_FENCE;
    known.learn(&ask(stage, fence.as_bytes())?);
    let mut context = CreateContextVirtualCommand::for_process(process);
    context.device = handle;
    let context = CreateContextVirtualMessage { command: context, private_data: Vec::new() };
    known.learn(&ask(stage, &context.encode().ok()?)?);
    let mut resource = CreateAllocationCommand::for_process(process);
    resource.device = handle;
    resource.flags = CreateAllocationFlags::CREATE_RESOURCE
        | CreateAllocationFlags::CREATE_SHARED
        | CreateAllocationFlags::NT_SECURITY_SHARING;
    let allocation = NewAllocation {
        info: CreateAllocationInfo { flags: 0, priv_drv_data_size: 0, vidpn_source_id: 0 },
        private_data: AllocationData::new(0x2000).as_bytes().to_vec(),
    };
    let resource = CreateAllocationMessage {
        command: resource,
        runtime_data: b"runtime".to_vec(),
        resource_data: b"driver".to_vec(),
        allocations: vec![allocation],
    };
    known.learn(&ask(stage, &resource.encode().ok()?)?);
    known.learn(&device);
    Some(process)
}
