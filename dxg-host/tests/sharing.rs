//! Objects that cross from one client to another by descriptor.
#![allow(clippy::unwrap_used, reason = "a test fails where something is not there")]

mod support;

use std::os::fd::AsFd;
use std::os::fd::BorrowedFd;

use dxg_ioctl::FenceValue;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::CreateAllocationFlags;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_wire::messages::Channel;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateAllocationCommand;
use dxg_wire::messages::CreateAllocationInfo;
use dxg_wire::messages::CreateDeviceCommand;
use dxg_wire::messages::CreateNtSharedObjectCommand;
use dxg_wire::messages::CreateSyncObjectCommand;
use dxg_wire::messages::DestroySyncObjectCommand;
use dxg_wire::messages::Lock2Command;
use dxg_wire::messages::Message;
use dxg_wire::messages::OpenResourceCommand;
use dxg_wire::messages::OpenSyncObjectCommand;
use dxg_wire::messages::SignalSyncObjectCommand;
use dxg_wire::messages::WaitForSyncObjectFromCpuCommand;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::NewAllocation;
use dxg_wire::messages::codec::decode_fixed;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::messages::info::OpenResourceAnswer;
use dxg_wire::messages::sync::FencePoint;
use dxg_wire::messages::sync::SignalSyncObjectMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromCpuMessage;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Import;
use dxg_wire::session::Imported;
use dxg_wire::session::Reason;
use dxg_wire::session::SharedKind;
use dxg_wire::shared_object::SharedObject;
use dxg_wire::transfer::AllocationData;
use zerocopy::IntoBytes;

use support::daemon::Daemon;
use support::daemon::eventually;
use support::session::Session;

const PAGE: u64 = 4096;

fn device(session: &mut Session) -> RawHandle {
    let command = CreateDeviceCommand::for_process(session.process);
    session.ask(&command).device
}

/// Shares an object; answers its handle between sessions.
fn share(session: &mut Session, object: RawHandle) -> u32 {
    let mut command = CreateNtSharedObjectCommand::for_process(session.process);
    command.object = object;
    let shared = session.ask(&command).0;
    // The descriptor was sent before the answer was.
    while shared != 0 && !session.exported.contains_key(&shared) {
        session.take_message();
    }
    shared
}

fn import(session: &mut Session, fd: BorrowedFd<'_>) -> Result<(Imported, SharedObject), Reason> {
    session.client.send(ClientMessage::IMPORT_SHARED, &Import { request: 3, reserved: 0 }, &[fd]);
    let message = session.message(&[BrokerMessage::IMPORTED, BrokerMessage::IMPORT_REFUSED]);
    let imported: Imported = message.body();
    assert_eq!(imported.request, 3);
    let Some(private) = message.into_fd() else { return Err(imported.reason) };
    let size = rustix::fs::fstat(&private).unwrap().st_size;
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    rustix::io::pread(&private, &mut bytes, 0).unwrap();
    Ok((imported, SharedObject::decode(&bytes).unwrap()))
}

/// A resource of two allocations; answers resource and allocations.
fn resource(session: &mut Session, device: RawHandle) -> (RawHandle, Vec<RawHandle>) {
    let mut command = CreateAllocationCommand::for_process(session.process);
    command.device = device;
    command.flags = CreateAllocationFlags::CREATE_RESOURCE
        | CreateAllocationFlags::CREATE_SHARED
        | CreateAllocationFlags::NT_SECURITY_SHARING;
    let allocations = [PAGE, 2 * PAGE]
        .map(|size_bytes| NewAllocation {
            info: CreateAllocationInfo { flags: 0, priv_drv_data_size: 0, vidpn_source_id: 0 },
            private_data: AllocationData::new(size_bytes).as_bytes().to_vec(),
        })
        .to_vec();
    let message = CreateAllocationMessage {
        command,
        runtime_data: b"runtime".to_vec(),
        resource_data: b"driver".to_vec(),
        allocations,
    };
    let answer = session.ask_bytes(Channel::Vgpu, &message.encode().unwrap());
    let answer = CreateAllocationAnswer::decode(&answer, 2).unwrap();
    let handles = answer.allocations.iter().map(|it| it.info.allocation).collect();
    (answer.reply.resource, handles)
}

fn lock(session: &mut Session, device: RawHandle, allocation: RawHandle) -> u64 {
    let mut command = Lock2Command::for_process(session.process);
    command.args.device = device;
    command.args.allocation = allocation;
    let answer = session.ask(&command);
    assert_eq!(answer.status, NtStatus::SUCCESS);
    answer.cpu_visible_buffer_offset.0
}

fn shared_fence(session: &mut Session, device: RawHandle) -> (RawHandle, u64) {
    let mut command = CreateSyncObjectCommand::for_process(session.process);
    command.args.device = device;
    command.args.info.r#type = SynchronizationObjectType::MONITORED_FENCE;
    command.args.info.flags =
        SynchronizationObjectFlags::SHARED | SynchronizationObjectFlags::NT_SECURITY_SHARING;
    let made = session.ask(&command);
    assert_ne!(made.sync_object, RawHandle::NONE);
    (made.sync_object, made.fence_storage_address)
}

#[test]
fn shared_resource_is_the_same_memory_in_both_clients() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let mut user = Session::open(&daemon.socket());
    let of_maker = device(&mut maker);
    let (made, allocations) = resource(&mut maker, of_maker);
    let shared = share(&mut maker, made);
    assert_ne!(shared, 0);
    let fd = maker.exported.remove(&shared).unwrap();
    let (imported, described) = import(&mut user, fd.as_fd()).unwrap();
    assert_eq!(imported.kind, SharedKind::RESOURCE);
    let SharedObject::Resource(described) = described else { panic!("a resource") };
    assert_eq!(described.runtime_data, b"runtime");
    assert_eq!(described.resource_data, b"driver");
    assert_eq!(described.allocations[1].size_bytes, 2 * PAGE);
    let of_user = device(&mut user);
    let mut command = OpenResourceCommand::for_process(user.process);
    command.device = of_user;
    command.nt_security_sharing = 1;
    command.global_share = RawHandle(imported.global_share);
    command.allocation_count = 2;
    let answer = user.ask_bytes(Channel::Vgpu, command.as_bytes());
    let opened = OpenResourceAnswer::decode(&answer, 2).unwrap();
    assert_eq!(opened.reply.status, NtStatus::SUCCESS);
    let there = lock(&mut maker, of_maker, allocations[1]);
    let here = lock(&mut user, of_user, opened.allocations[1]);
    maker.memory(there + PAGE, 8).write(0, &0xABCD_u64).unwrap();
    assert_eq!(user.word(here + PAGE), 0xABCD);
}

#[test]
fn shared_fence_wakes_a_waiter_in_another_client() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let mut user = Session::open(&daemon.socket());
    let of_maker = device(&mut maker);
    let (fence, page) = shared_fence(&mut maker, of_maker);
    let shared = share(&mut maker, fence);
    let fd = maker.exported.remove(&shared).unwrap();
    let (imported, _) = import(&mut user, fd.as_fd()).unwrap();
    assert_eq!(imported.kind, SharedKind::SYNC_OBJECT);
    let of_user = device(&mut user);
    let mut command = OpenSyncObjectCommand::for_process(user.process);
    command.device = of_user;
    command.global_sync_object = RawHandle(imported.global_share);
    let opened = user.ask(&command);
    assert_eq!(opened.status, NtStatus::SUCCESS);
    let mut command = WaitForSyncObjectFromCpuCommand::for_process(user.process);
    command.device = of_user;
    command.guest_event_pointer = 6;
    let points = vec![FencePoint { object: opened.sync_object, value: FenceValue(2) }];
    let wait = WaitForSyncObjectFromCpuMessage { command, points };
    let answer = user.ask_bytes(Channel::Vgpu, &wait.encode().unwrap());
    assert_eq!(decode_fixed::<NtStatus>(&answer).unwrap(), NtStatus::SUCCESS);
    let mut command = SignalSyncObjectCommand::for_process(maker.process);
    command.target.set_device(of_maker);
    let signal = SignalSyncObjectMessage {
        command,
        objects: vec![fence],
        contexts: vec![],
        fence_values: vec![FenceValue(2)],
    };
    maker.ask_bytes(Channel::Vgpu, &signal.encode().unwrap());
    let HostPacket::SignalGuestEvent(event) = user.packet() else { panic!("the wait is over") };
    assert_eq!(event.event, 6);
    assert_eq!(maker.word(page), 2);
    assert_eq!(user.word(opened.guest_cpu_physical_address), 2);
}

/// Opens a fence that was imported and waits for its next value; the event has the number of the fence's place.
fn open_and_wait(user: &mut Session, device: RawHandle, global_share: u32, event: u64) {
    let mut command = OpenSyncObjectCommand::for_process(user.process);
    command.device = device;
    command.global_sync_object = RawHandle(global_share);
    let opened = user.ask(&command);
    assert_eq!(opened.status, NtStatus::SUCCESS);
    let mut command = WaitForSyncObjectFromCpuCommand::for_process(user.process);
    command.device = device;
    command.guest_event_pointer = event;
    let points = vec![FencePoint { object: opened.sync_object, value: FenceValue(1) }];
    let wait = WaitForSyncObjectFromCpuMessage { command, points };
    let answer = user.ask_bytes(Channel::Vgpu, &wait.encode().unwrap());
    assert_eq!(decode_fixed::<NtStatus>(&answer).unwrap(), NtStatus::SUCCESS);
}

#[test]
fn a_hundred_shared_fences_are_waited_for_with_a_bounded_number_of_threads() {
    let daemon = Daemon::start();
    let mut user = Session::open(&daemon.socket());
    let worker = daemon.bound_workers()[0];
    let mut maker = Session::open(&daemon.socket());
    let of_maker = device(&mut maker);
    let of_user = device(&mut user);
    let mut fences = Vec::new();
    for event in 0..100 {
        let (fence, _) = shared_fence(&mut maker, of_maker);
        let shared = share(&mut maker, fence);
        let fd = maker.exported.remove(&shared).unwrap();
        let (imported, _) = import(&mut user, fd.as_fd()).unwrap();
        open_and_wait(&mut user, of_user, imported.global_share, event);
        fences.push(fence);
    }
    let threads = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap().count();
    assert!(threads < 80, "{threads} threads");
    let mut command = SignalSyncObjectCommand::for_process(maker.process);
    command.target.set_device(of_maker);
    let fence_values = vec![FenceValue(1); fences.len()];
    let signal = SignalSyncObjectMessage { command, objects: fences, contexts: vec![], fence_values };
    maker.ask_bytes(Channel::Vgpu, &signal.encode().unwrap());
    let mut events: Vec<u64> = (0..100)
        .map(|_| {
            let HostPacket::SignalGuestEvent(event) = user.packet() else { panic!("a wait is over") };
            event.event
        })
        .collect();
    events.sort_unstable();
    assert!(events.into_iter().eq(0..100));
}

#[test]
fn descriptor_that_is_no_shared_object_is_refused() {
    let daemon = Daemon::start();
    let mut session = Session::open(&daemon.socket());
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(import(&mut session, file.as_fd()).unwrap_err(), Reason::NOT_SHARED);
    let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert_eq!(import(&mut session, one.as_fd()).unwrap_err(), Reason::NOT_SHARED);
    session.lease(PAGE).unwrap();
}

#[test]
fn handle_of_an_object_that_was_not_imported_opens_nothing() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let of_maker = device(&mut maker);
    let (fence, _) = shared_fence(&mut maker, of_maker);
    let shared = share(&mut maker, fence);
    let mut thief = Session::open(&daemon.socket());
    let mut command = OpenSyncObjectCommand::for_process(thief.process);
    command.global_sync_object = RawHandle(shared);
    assert_ne!(thief.ask(&command).status, NtStatus::SUCCESS);
}

#[test]
fn object_that_is_not_shareable_is_not_shared() {
    let daemon = Daemon::start();
    let mut session = Session::open(&daemon.socket());
    let device = device(&mut session);
    assert_eq!(share(&mut session, device), 0);
    assert_eq!(share(&mut session, RawHandle(7)), 0);
}

#[test]
fn shared_memory_is_accounted_until_its_last_descriptor_is_closed() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let device = device(&mut maker);
    let (made, _) = resource(&mut maker, device);
    let shared = share(&mut maker, made);
    let fd = maker.exported.remove(&shared).unwrap();
    drop(maker);
    eventually("its maker is gone", || daemon.state().vgpus[0].clients.is_empty());
    assert_eq!(daemon.state().vgpus[0].used_bytes, 3 * PAGE);
    let mut user = Session::open(&daemon.socket());
    import(&mut user, fd.as_fd()).unwrap();
    drop(fd);
    drop(user);
    eventually("nothing is left", || daemon.state().vgpus[0].used_bytes == 0);
}

#[test]
fn memory_that_was_shared_twice_is_accounted_until_both_descriptors_are_closed() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let device = device(&mut maker);
    let (fence, _) = shared_fence(&mut maker, device);
    let first = share(&mut maker, fence);
    let second = share(&mut maker, fence);
    let first = maker.exported.remove(&first).unwrap();
    drop(maker.exported.remove(&second).unwrap());
    let mut command = DestroySyncObjectCommand::for_process(maker.process);
    command.sync_object = fence;
    assert_eq!(maker.ask(&command), NtStatus::SUCCESS);
    let mut user = Session::open(&daemon.socket());
    // The answer comes after the daemon has seen the end of the second.
    import(&mut user, first.as_fd()).unwrap();
    drop(user);
    eventually("one client is left", || daemon.state().vgpus[0].clients.len() == 1);
    assert_eq!(daemon.state().vgpus[0].used_bytes, PAGE);
    drop(first);
    eventually("nothing is left", || daemon.state().vgpus[0].used_bytes == 0);
}

#[test]
fn object_that_is_imported_twice_at_once_is_imported_twice() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let mut user = Session::open(&daemon.socket());
    let device = device(&mut maker);
    let (fence, _) = shared_fence(&mut maker, device);
    let shared = share(&mut maker, fence);
    let fd = maker.exported.remove(&shared).unwrap();
    for request in [1, 2] {
        let import = Import { request, reserved: 0 };
        user.client.send(ClientMessage::IMPORT_SHARED, &import, &[fd.as_fd()]);
    }
    for request in [1, 2] {
        let message = user.message(&[BrokerMessage::IMPORTED, BrokerMessage::IMPORT_REFUSED]);
        let imported: Imported = message.body();
        assert_eq!((imported.request, imported.reason), (request, Reason::NONE));
    }
}

#[test]
fn destroyed_fence_is_given_back_once_its_descriptor_is_closed() {
    let daemon = Daemon::start();
    let mut maker = Session::open(&daemon.socket());
    let device = device(&mut maker);
    let (fence, _) = shared_fence(&mut maker, device);
    let shared = share(&mut maker, fence);
    let fd = maker.exported.remove(&shared).unwrap();
    let mut command = DestroySyncObjectCommand::for_process(maker.process);
    command.sync_object = fence;
    assert_eq!(maker.ask(&command), NtStatus::SUCCESS);
    assert_eq!(daemon.state().vgpus[0].used_bytes, PAGE);
    drop(fd);
    eventually("nothing is left", || daemon.state().vgpus[0].used_bytes == 0);
}

#[test]
fn session_that_shares_without_end_is_refused_and_others_still_connect() {
    // Files are few here: the table of the daemon has room for 256.
    let daemon = Daemon::with_files(256);
    let mut greedy = Session::open(&daemon.socket());
    let device = device(&mut greedy);
    let (fence, _) = shared_fence(&mut greedy, device);
    let shares = std::iter::from_fn(|| Some(share(&mut greedy, fence)).filter(|share| *share != 0));
    let count = shares.take(256).count();
    assert!((1..=64).contains(&count), "{count} objects of three descriptors each");
    let mut other = Session::open(&daemon.socket());
    other.lease(PAGE).unwrap();
    greedy.exported.clear();
    drop(greedy);
    eventually("the lease of the other is left", || daemon.state().vgpus[0].used_bytes == PAGE);
    let of_other = self::device(&mut other);
    let (fence, _) = shared_fence(&mut other, of_other);
    assert_ne!(share(&mut other, fence), 0);
}
