//! What requests become on the wire, decoded by the host's own decoder.

mod fake_host;

use std::sync::mpsc;
use std::sync::mpsc::Receiver;

use dxg_core::FenceValue;
use dxg_core::GpuVa;
use dxg_core::Node;
use dxg_core::RawHandle;
use dxg_core::abi::EscapeFlags;
use dxg_core::abi::GpuVaReservationType;
use dxg_core::abi::MemorySegmentGroup;
use dxg_core::abi::SynchronizationObjectFlags;
use dxg_wire::messages::incoming::GuestCommand;
use fake_host::Answer;
use fake_host::FakeHost;

/// The host's handle of the adapter, which takes the place of ours in every message.
const HOST_ADAPTER: RawHandle = RawHandle(0x4000_1000);

/// A host that keeps every command it sees.
fn listening() -> (FakeHost, Node, Receiver<GuestCommand>) {
    let (tell, told) = mpsc::channel();
    let host = FakeHost::start(move |mut session| {
        session.serve(|_, command| {
            let _ = tell.send(command.clone());
            Answer::Default
        });
    });
    let node = host.connect();
    (host, node, told)
}

/// The last command of one kind.
macro_rules! last {
    ($told:expr, $kind:ident) => {
        $told
            .try_iter()
            .filter_map(|command| match command {
                GuestCommand::$kind(inner) => Some(inner),
                _ => None,
            })
            .last()
            .expect("the command was sent")
    };
}

#[test]
fn start_up_names_versions_process_and_io_space() {
    let (_host, node, told) = listening();
    drop(node.first_adapter().unwrap());
    let commands: Vec<GuestCommand> = told.try_iter().collect();
    let [
        GuestCommand::SetIoSpaceRegion(region),
        GuestCommand::OpenAdapter(open),
        _,
        GuestCommand::CreateProcess(process),
    ] = commands.as_slice()
    else {
        panic!("{commands:?}");
    };
    assert_eq!(region.start, dxg_wire::session::ARENA_BASE);
    assert_eq!((open.vmbus_interface_version, open.vmbus_last_compatible_interface_version), (40, 16));
    assert_eq!(process.process_id, u64::from(std::process::id()));
    assert_ne!(process.process_name[0], 0);
}

#[test]
fn video_memory_query_names_the_hosts_adapter() {
    let (_host, node, told) = listening();
    node.first_adapter().unwrap().video_memory(MemorySegmentGroup(1)).unwrap();
    let query = last!(told, QueryVideoMemoryInfo);
    assert_eq!((query.adapter, query.memory_segment_group), (HOST_ADAPTER, MemorySegmentGroup(1)));
}

#[test]
fn reserve_and_free_name_the_hosts_adapter_and_the_range() {
    let (_host, node, told) = listening();
    let adapter = node.first_adapter().unwrap();
    let range = adapter.reserve_va(0x1_0000, GpuVaReservationType(0)).unwrap();
    assert_eq!(range.base, GpuVa(0));
    let reserve = last!(told, ReserveGpuVirtualAddress);
    assert_eq!((reserve.args.adapter, reserve.args.size), (HOST_ADAPTER, 0x1_0000));
    adapter.free_va(range).unwrap();
    let free = last!(told, FreeGpuVirtualAddress);
    assert_eq!((free.args.adapter, free.args.size), (HOST_ADAPTER, 0x1_0000));
}

#[test]
fn escape_carries_the_callers_bytes() {
    let (_host, node, told) = listening();
    let mut data = [1, 2, 3, 4, 5];
    node.first_adapter().unwrap().escape(EscapeFlags::empty(), Default::default(), &mut data).unwrap();
    let escape = last!(told, Escape);
    assert_eq!(
        (escape.command.adapter, escape.private_data.as_slice()),
        (HOST_ADAPTER, [1, 2, 3, 4, 5].as_slice())
    );
    // The answer is as many bytes: the fake host's zeroes.
    assert_eq!(data, [0; 5]);
}

#[test]
fn shared_fence_is_made_with_both_flags_and_its_first_value() {
    let (_host, node, told) = listening();
    let device = node.first_adapter().unwrap().create_device().unwrap();
    let fence = device.create_shared_fence(FenceValue(11)).unwrap();
    let create = last!(told, CreateSyncObject);
    let both = SynchronizationObjectFlags::SHARED | SynchronizationObjectFlags::NT_SECURITY_SHARING;
    assert_eq!((create.args.device, create.args.info.flags), (device.handle(), both));
    assert_eq!(create.args.info.object.monitored_fence().initial_fence_value, FenceValue(11));
    assert_eq!(create.client_hint, 1);
    fence.signal(FenceValue(12)).unwrap();
    let signal = last!(told, SignalSyncObject);
    assert_eq!((signal.objects, signal.fence_values), (vec![fence.handle()], vec![FenceValue(12)]));
    assert_eq!((signal.contexts.len(), signal.command.target.device()), (0, device.handle()));
}
