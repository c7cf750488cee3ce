//! Messages with a tail: length rules, round trips, and every truncation.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails like a test")]

use dxg_ioctl::FenceValue;
use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::ReclaimResult;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperation;
use dxg_ioctl::abi::UpdateGpuVirtualAddressOperationType;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::CreatedAllocation;
use dxg_wire::messages::allocation::DestroyAllocationMessage;
use dxg_wire::messages::allocation::EvictMessage;
use dxg_wire::messages::allocation::GetAllocationPriorityMessage;
use dxg_wire::messages::allocation::MAX_PAGES_PER_MESSAGE;
use dxg_wire::messages::allocation::MakeResidentMessage;
use dxg_wire::messages::allocation::NewAllocation;
use dxg_wire::messages::allocation::OfferAllocationsMessage;
use dxg_wire::messages::allocation::PerAllocationAnswer;
use dxg_wire::messages::allocation::QueryAllocationResidencyMessage;
use dxg_wire::messages::allocation::ReclaimAllocationsAnswer;
use dxg_wire::messages::allocation::ReclaimAllocationsMessage;
use dxg_wire::messages::allocation::SetAllocationPriorityMessage;
use dxg_wire::messages::allocation::SetExistingSysmemPagesMessage;
use dxg_wire::messages::codec::MAX_COMMAND_BYTES;
use dxg_wire::messages::codec::MAX_MESSAGE_BYTES;
use dxg_wire::messages::context::CreateContextVirtualMessage;
use dxg_wire::messages::context::CreateHwQueueMessage;
use dxg_wire::messages::framing::Answer;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::messages::framing::InterfaceVersion;
use dxg_wire::messages::framing::frame;
use dxg_wire::messages::framing::unframe;
use dxg_wire::messages::gpu_va::UpdateGpuVirtualAddressMessage;
use dxg_wire::messages::incoming::GuestCommand;
use dxg_wire::messages::incoming::Incoming;
use dxg_wire::messages::info::EscapeMessage;
use dxg_wire::messages::info::OpenResourceAnswer;
use dxg_wire::messages::info::QueryAdapterInfoAnswer;
use dxg_wire::messages::info::QueryAdapterInfoMessage;
use dxg_wire::messages::info::StandardAllocationAnswer;
use dxg_wire::messages::info::StandardAllocationQuery;
use dxg_wire::messages::info::decode_escape_answer;
use dxg_wire::messages::submit::SubmitCommandMessage;
use dxg_wire::messages::submit::SubmitCommandToHwQueueMessage;
use dxg_wire::messages::sync::FencePoint;
use dxg_wire::messages::sync::SignalSyncObjectMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromCpuMessage;
use dxg_wire::messages::sync::WaitForSyncObjectFromGpuMessage;
use dxg_wire::messages::*;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

const PROCESS: RawHandle = RawHandle(0x4000_1000);

fn handles(count: usize) -> Vec<RawHandle> {
    (1..=count).map(|i| RawHandle(0x4000_0000 + 0x40 * i as u32)).collect()
}

fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i % 251) as u8).collect()
}

fn points(count: usize) -> Vec<FencePoint> {
    handles(count)
        .into_iter()
        .enumerate()
        .map(|(i, object)| FencePoint { object, value: FenceValue(0x1_0000_0000 + i as u64) })
        .collect()
}

/// Encodes, checks the length against the rule, decodes to the same bytes, also as any command, and tries each
/// truncation: none may panic, and each must fail while bytes that the message needs are gone.
fn check<M: Message>(message: &M, rule: usize, needed: usize) -> M {
    let bytes = message.encode().unwrap();
    assert_eq!(bytes.len(), rule, "length rule");
    let back = M::decode(&bytes).unwrap();
    assert_eq!(back.encode().unwrap(), bytes, "round trip");
    let mut padded = bytes.clone();
    padded.resize(bytes.len().next_multiple_of(8), 0xcc);
    if padded.len() <= MAX_MESSAGE_BYTES {
        assert_eq!(M::decode(&padded).unwrap().encode().unwrap(), bytes, "padding of the ring");
    }
    Incoming::decode(&bytes).unwrap();
    // Truncations of a large message are all alike: its first and last bytes say as much as all of them.
    let ends = (0..needed).filter(|end| needed <= 4096 || *end < 100 || *end + 100 > needed);
    for end in ends {
        assert!(M::decode(&bytes[..end]).is_err(), "{end} of {needed} bytes were enough");
        assert!(Incoming::decode(&bytes[..end]).is_err());
    }
    back
}

/// A test of a message with one list of handles: with none, one and as many as fit.
macro_rules! handle_list {
    ($test:ident, $message:ident, $command:ident, $list:ident, $fixed:expr, $each:expr) => {
        #[test]
        fn $test() {
            let max = (MAX_COMMAND_BYTES - $fixed) / $each;
            for count in [0, 1, 3, max] {
                let command = $command::for_process(PROCESS);
                let message = $message { command, $list: handles(count) };
                let length = $fixed + $each * count;
                let back = check(&message, length, length);
                assert_eq!(back.$list, handles(count));
            }
            let over = $message { command: $command::new_zeroed(), $list: handles(max + 1) };
            assert!(matches!(over.encode(), Err(EncodeError::TooLong { .. })));
        }
    };
}

handle_list!(
    destroy_allocation_round_trips,
    DestroyAllocationMessage,
    DestroyAllocationCommand,
    allocations,
    48,
    4
);
handle_list!(make_resident_round_trips, MakeResidentMessage, MakeResidentCommand, allocations, 44, 4);
handle_list!(evict_round_trips, EvictMessage, EvictCommand, allocations, 36, 4);
handle_list!(offer_round_trips, OfferAllocationsMessage, OfferAllocationsCommand, allocations, 44, 4);
handle_list!(reclaim_round_trips, ReclaimAllocationsMessage, ReclaimAllocationsCommand, allocations, 44, 4);
handle_list!(
    residency_round_trips,
    QueryAllocationResidencyMessage,
    QueryAllocationResidencyCommand,
    allocations,
    56,
    4
);

/// A test of a message that ends in private data: with none, one byte and as many as fit.
macro_rules! private_data {
    ($test:ident, $message:ident, $command:ident, $fixed:expr, $empty:expr) => {
        #[test]
        fn $test() {
            for count in [0, 1, 8, 1001, MAX_COMMAND_BYTES - $fixed] {
                let command = $command::for_process(PROCESS);
                let message = $message { command, private_data: octets(count) };
                let length = if count == 0 { $empty } else { $fixed + count };
                let back = check(&message, length, length);
                assert_eq!(back.private_data, octets(count));
            }
            let over = $message {
                command: $command::new_zeroed(),
                private_data: octets(MAX_COMMAND_BYTES - $fixed + 1),
            };
            assert!(matches!(over.encode(), Err(EncodeError::TooLong { .. })));
        }
    };
}

private_data!(query_adapter_info_round_trips, QueryAdapterInfoMessage, QueryAdapterInfoCommand, 39, 39);
private_data!(escape_round_trips, EscapeMessage, EscapeCommand, 55, 55);
private_data!(create_context_round_trips, CreateContextVirtualMessage, CreateContextVirtualCommand, 55, 55);
private_data!(create_hw_queue_round_trips, CreateHwQueueMessage, CreateHwQueueCommand, 71, 72);

#[test]
fn create_allocation_round_trips() {
    for (count, each, runtime, resource) in [(0, 0, 0, 0), (1, 1, 0, 24), (3, 17, 5, 7), (1024, 100, 3, 0)] {
        let allocations = (0..count)
            .map(|i| {
                let mut info = CreateAllocationInfo::new_zeroed();
                info.vidpn_source_id = i;
                NewAllocation { info, private_data: octets(each) }
            })
            .collect();
        let message = CreateAllocationMessage {
            command: CreateAllocationCommand::for_process(PROCESS),
            runtime_data: octets(runtime),
            resource_data: octets(resource),
            allocations,
        };
        let length = 64 + count as usize * (12 + each) + runtime + resource;
        let back = check(&message, length, length);
        assert_eq!((back.runtime_data.len(), back.resource_data.len()), (runtime, resource));
        assert!(back.allocations.iter().all(|a| a.private_data == octets(each)));
    }
}

#[test]
fn create_allocation_answer_round_trips() {
    for (count, each) in [(0u32, 0), (1, 9), (5, 64)] {
        let allocations = (0..count)
            .map(|i| {
                let mut info = AllocationInfoReply::new_zeroed();
                info.allocation = RawHandle(i + 1);
                CreatedAllocation { info, private_data: octets(each) }
            })
            .collect();
        let answer = CreateAllocationAnswer { reply: CreateAllocationReply::new_zeroed(), allocations };
        let bytes = answer.encode().unwrap();
        assert_eq!(bytes.len(), 16 + 72 * count.max(1) as usize + each * count as usize);
        let back = CreateAllocationAnswer::decode(&bytes, count).unwrap();
        assert_eq!(back.encode().unwrap(), bytes);
        for end in 0..bytes.len() {
            assert!(CreateAllocationAnswer::decode(&bytes[..end], count).is_err(), "{end} bytes were enough");
        }
    }
}

#[test]
fn set_allocation_priority_round_trips() {
    for count in [0, 1, 2, 16_000] {
        let message = SetAllocationPriorityMessage {
            command: SetAllocationPriorityCommand::for_process(PROCESS),
            allocations: handles(count),
            priorities: vec![7; count.max(1)],
        };
        let length = 40 + 4 * count + 4 * count.max(1);
        assert_eq!(check(&message, length, length).priorities, message.priorities);
    }
}

#[test]
fn set_allocation_priority_with_lists_that_differ_is_refused() {
    let message = SetAllocationPriorityMessage {
        command: SetAllocationPriorityCommand::new_zeroed(),
        allocations: handles(2),
        priorities: vec![1],
    };
    let error = EncodeError::Count { what: "priorities", actual: 1, expected: 2 };
    assert_eq!(message.encode(), Err(error));
}

#[test]
fn get_allocation_priority_has_the_length_of_its_answer_added() {
    for (count, answer) in [(0, 8), (1, 8), (2, 16), (3, 16), (1000, 4008)] {
        let message = GetAllocationPriorityMessage {
            command: GetAllocationPriorityCommand::for_process(PROCESS),
            allocations: handles(count),
        };
        let length = 40 + 4 * count + answer;
        assert_eq!(check(&message, length, length).allocations, handles(count));
    }
}

#[test]
fn sysmem_pages_always_have_the_same_length() {
    assert_eq!(MAX_PAGES_PER_MESSAGE, 15_867);
    for count in [0, 1, MAX_PAGES_PER_MESSAGE] {
        let message = SetExistingSysmemPagesMessage {
            command: SetExistingSysmemPagesCommand::for_process(PROCESS),
            page_frames: (0..count as u64).collect(),
        };
        let back = check(&message, 126_976, 40 + 8 * count);
        assert_eq!(back.page_frames, message.page_frames);
    }
    let over = SetExistingSysmemPagesMessage {
        command: SetExistingSysmemPagesCommand::new_zeroed(),
        page_frames: vec![0; MAX_PAGES_PER_MESSAGE + 1],
    };
    assert!(matches!(over.encode(), Err(EncodeError::Count { what: "page_frames", .. })));
}

#[test]
fn update_gpu_va_round_trips() {
    for count in [0, 1, 2, 2046] {
        let mut operation = UpdateGpuVirtualAddressOperation::new_zeroed();
        operation.operation = UpdateGpuVirtualAddressOperationType::COPY;
        let message = UpdateGpuVirtualAddressMessage {
            command: UpdateGpuVirtualAddressCommand::for_process(PROCESS),
            operations: vec![operation; count],
        };
        let length = 56 + 64 * count;
        assert_eq!(check(&message, length, length).operations.len(), count);
    }
}

#[test]
fn submit_command_round_trips() {
    for (history, data) in [(0, 0), (1, 1), (1024, 100_000)] {
        let message = SubmitCommandMessage {
            command: SubmitCommandCommand::for_process(PROCESS),
            history_buffers: handles(history),
            private_data: octets(data),
        };
        let length = 408 + 4 * history + data;
        let back = check(&message, length, length);
        assert_eq!((back.history_buffers, back.private_data), (handles(history), octets(data)));
    }
}

#[test]
fn submit_to_hw_queue_round_trips() {
    for (primaries, data) in [(0, 0), (1, 1), (16, 130_000)] {
        let message = SubmitCommandToHwQueueMessage {
            command: SubmitCommandToHwQueueCommand::for_process(PROCESS),
            written_primaries: handles(primaries),
            private_data: octets(data),
        };
        let length = 80 + 4 * primaries + data;
        let back = check(&message, length, length);
        assert_eq!((back.written_primaries, back.private_data), (handles(primaries), octets(data)));
    }
}

#[test]
fn cpu_wait_has_handles_then_values() {
    for count in [0, 1, 2, 3, 10_900] {
        let message = WaitForSyncObjectFromCpuMessage {
            command: WaitForSyncObjectFromCpuCommand::for_process(PROCESS),
            points: points(count),
        };
        let length = 56 + 12 * count;
        assert_eq!(check(&message, length, length).points, points(count));
        if count == 3 {
            assert_eq!(message.encode().unwrap()[56..60], 0x4000_0040u32.to_le_bytes());
        }
    }
}

#[test]
fn gpu_wait_has_values_then_handles() {
    for count in [0, 1, 2, 3, 10_900] {
        let message = WaitForSyncObjectFromGpuMessage {
            command: WaitForSyncObjectFromGpuCommand::for_process(PROCESS),
            points: points(count),
        };
        let length = 40 + 12 * count;
        assert_eq!(check(&message, length, length).points, points(count));
        if count == 3 {
            assert_eq!(message.encode().unwrap()[40..48], 0x1_0000_0000u64.to_le_bytes());
        }
    }
}

fn signal(objects: usize, contexts: usize, values: usize) -> SignalSyncObjectMessage {
    SignalSyncObjectMessage {
        command: SignalSyncObjectCommand::for_process(PROCESS),
        objects: handles(objects),
        contexts: handles(contexts),
        fence_values: (0..values as u64).map(FenceValue).collect(),
    }
}

#[test]
fn signal_round_trips_with_values() {
    for (objects, contexts) in [(0, 0), (1, 0), (2, 1), (32, 64), (10_000, 1)] {
        let length = 56 + 12 * objects + 4 * contexts;
        let message = signal(objects, contexts, objects);
        let bytes = message.encode().unwrap();
        assert_eq!(bytes.len(), length);
        let back = SignalSyncObjectMessage::decode(&bytes).unwrap();
        assert_eq!((back.objects.len(), back.contexts.len()), (objects, contexts));
        assert_eq!(back.fence_values, message.fence_values);
        for end in 0..(56 + 4 * (objects + contexts)).min(2000) {
            assert!(SignalSyncObjectMessage::decode(&bytes[..end]).is_err(), "{end} bytes were enough");
        }
    }
}

#[test]
fn signal_without_values_is_told_by_its_length() {
    for (objects, contexts) in [(0, 1), (1, 1), (2, 1), (3, 4)] {
        let length = 56 + 4 * (objects + contexts);
        let back = check(&signal(objects, contexts, 0), length, length);
        assert_eq!((back.objects.len(), back.fence_values.len()), (objects, 0));
    }
}

#[test]
fn signal_with_a_part_of_its_values_is_refused() {
    let bytes = signal(3, 0, 3).encode().unwrap();
    assert!(matches!(
        SignalSyncObjectMessage::decode(&bytes[..bytes.len() - 8]),
        Err(DecodeError::Short { .. })
    ));
    assert!(matches!(signal(3, 0, 2).encode(), Err(EncodeError::Count { what: "fence_values", .. })));
}

#[test]
fn count_that_overflows_any_length_is_short_and_takes_no_memory() {
    let mut command = MakeResidentCommand::for_process(PROCESS);
    command.alloc_count = u32::MAX;
    let bytes = command.as_bytes();
    assert!(matches!(MakeResidentMessage::decode(bytes), Err(DecodeError::Short { .. })));
    let mut command = UpdateGpuVirtualAddressCommand::for_process(PROCESS);
    command.num_operations = u32::MAX;
    assert!(matches!(
        UpdateGpuVirtualAddressMessage::decode(command.as_bytes()),
        Err(DecodeError::Short { .. })
    ));
    let mut command = GetAllocationPriorityCommand::for_process(PROCESS);
    command.allocation_count = u32::MAX;
    assert!(matches!(
        GetAllocationPriorityMessage::decode(command.as_bytes()),
        Err(DecodeError::Short { .. })
    ));
}

#[test]
fn message_over_the_limit_is_refused_whatever_it_says() {
    let bytes = vec![0; MAX_MESSAGE_BYTES + 1];
    assert_eq!(EvictMessage::decode(&bytes).unwrap_err(), DecodeError::TooLong(MAX_MESSAGE_BYTES + 1));
}

#[test]
fn answers_round_trip_and_refuse_truncation() {
    for count in [0u32, 1, 2, 5] {
        let entries = count.max(1) as usize;
        let answer = PerAllocationAnswer { status: NtStatus::SUCCESS, values: (0..entries as u32).collect() };
        let bytes = answer.encode().unwrap();
        assert_eq!(bytes.len(), (4 + 4 * entries).next_multiple_of(8));
        assert_eq!(PerAllocationAnswer::decode(&bytes, count), Ok(answer));
        for end in 0..4 + 4 * entries {
            assert!(PerAllocationAnswer::decode(&bytes[..end], count).is_err());
        }

        let answer = OpenResourceAnswer {
            reply: OpenResourceReply::new_zeroed(),
            allocations: handles(count as usize),
        };
        let bytes = answer.encode().unwrap();
        assert_eq!(bytes.len(), (8 + 4 * count as usize).next_multiple_of(8));
        assert_eq!(OpenResourceAnswer::decode(&bytes, count).unwrap().allocations, answer.allocations);
        for end in 0..8 + 4 * count as usize {
            assert!(OpenResourceAnswer::decode(&bytes[..end], count).is_err());
        }

        let mut reply = ReclaimAllocationsReply::new_zeroed();
        reply.status = NtStatus::PENDING;
        let results = vec![ReclaimResult::DISCARDED; count as usize];
        let bytes = ReclaimAllocationsAnswer { reply, results: results.clone() }.encode().unwrap();
        assert_eq!(bytes.len(), (12 + 4 * entries).next_multiple_of(8));
        let back = ReclaimAllocationsAnswer::decode(&bytes, count).unwrap();
        assert_eq!((back.results, back.reply.status), (results, NtStatus::PENDING));
        for end in 0..12 + 4 * entries {
            assert!(ReclaimAllocationsAnswer::decode(&bytes[..end], count).is_err());
        }
    }
}

#[test]
fn adapter_info_answer_has_a_status_from_version_40_on() {
    let answer = QueryAdapterInfoAnswer { status: NtStatus::SUCCESS, private_data: octets(9) };
    for (version, length) in [(InterfaceVersion::CURRENT, 13), (InterfaceVersion::OLD, 9)] {
        let bytes = answer.encode(version).unwrap();
        assert_eq!(bytes.len(), length);
        assert_eq!(QueryAdapterInfoAnswer::decode(&bytes, version, 9), Ok(answer.clone()));
        for end in 0..length {
            assert!(QueryAdapterInfoAnswer::decode(&bytes[..end], version, 9).is_err());
        }
    }
}

#[test]
fn internal_adapter_info_is_8_bytes_shorter_before_version_40() {
    let mut reply = GetInternalAdapterInfoReply::new_zeroed();
    reply.host_vgpu_luid = Luid { a: 5, b: 6 };
    let new = reply.encode(InterfaceVersion::CURRENT);
    let old = reply.encode(InterfaceVersion::OLD);
    assert_eq!((new.len(), old.len()), (712, 704));
    let decode = GetInternalAdapterInfoReply::decode;
    assert_eq!(decode(&new, InterfaceVersion::CURRENT).unwrap().vgpu_luid(), Some(Luid { a: 5, b: 6 }));
    assert_eq!(decode(&old, InterfaceVersion::OLD).unwrap().vgpu_luid(), None);
    assert!(decode(&old, InterfaceVersion::CURRENT).is_err());
}

#[test]
fn standard_allocation_answers_both_questions() {
    let mut reply = GetStandardAllocationDriverDataReply::new_zeroed();
    reply.priv_driver_data_size = 10;
    reply.priv_driver_resource_size = 3;
    let sizes = StandardAllocationAnswer { reply, allocation_data: vec![], resource_data: vec![] };
    let bytes = sizes.encode().unwrap();
    let back = StandardAllocationAnswer::decode(&bytes, StandardAllocationQuery::Sizes).unwrap();
    assert_eq!((bytes.len(), back.reply.priv_driver_data_size), (40, 10));
    let data = StandardAllocationAnswer { reply, allocation_data: octets(10), resource_data: octets(3) };
    let bytes = data.encode().unwrap();
    let back = StandardAllocationAnswer::decode(&bytes, StandardAllocationQuery::Data).unwrap();
    assert_eq!((back.allocation_data, back.resource_data), (octets(10), octets(3)));
    for end in 0..49 {
        assert!(StandardAllocationAnswer::decode(&bytes[..end], StandardAllocationQuery::Data).is_err());
    }
}

#[test]
fn escape_answer_must_be_whole() {
    assert_eq!(decode_escape_answer(&octets(16), 12), Ok(octets(12)));
    assert!(decode_escape_answer(&octets(11), 12).is_err());
}

#[test]
fn frame_and_unframe_are_inverse_and_checked() {
    let luid = Luid { a: 1, b: 2 };
    let command = CreateDeviceCommand::for_process(PROCESS);
    let framed = frame(InterfaceVersion::CURRENT, luid, command.as_bytes()).unwrap();
    assert_eq!(framed.len(), 16 + size_of::<CreateDeviceCommand>());
    assert_eq!(unframe(InterfaceVersion::CURRENT, &framed), Ok((luid, command.as_bytes())));
    assert_eq!(unframe(InterfaceVersion::OLD, command.as_bytes()), Ok((Luid::default(), command.as_bytes())));
    for end in 0..16 {
        assert!(unframe(InterfaceVersion::CURRENT, &framed[..end]).is_err());
    }
    let mut bad = framed.clone();
    bad[0] = 17;
    assert_eq!(
        unframe(InterfaceVersion::CURRENT, &bad),
        Err(DecodeError::Field { field: "command_offset", value: 17 })
    );
    let most = vec![0; MAX_COMMAND_BYTES];
    assert_eq!(frame(InterfaceVersion::CURRENT, luid, &most).unwrap().len(), MAX_MESSAGE_BYTES);
    assert!(frame(InterfaceVersion::CURRENT, luid, &vec![0; MAX_COMMAND_BYTES + 1]).is_err());
}

#[test]
fn incoming_command_has_process_and_wish_for_an_answer() {
    let mut command = SubmitCommandCommand::for_process(PROCESS);
    let decoded = Incoming::decode(command.as_bytes()).unwrap();
    assert_eq!((decoded.process, decoded.answer), (PROCESS, Answer::Wanted));
    assert!(matches!(decoded.command, GuestCommand::SubmitCommand(_)));
    command.hdr = command.hdr.asynchronous();
    assert_eq!(Incoming::decode(command.as_bytes()).unwrap().answer, Answer::NotWanted);
}

#[test]
fn incoming_command_that_no_guest_sends_is_refused() {
    let unknown = VgpuToHostHeader::new(VgpuCommandId::BLT, PROCESS);
    let error = DecodeError::UnknownCommand { id: 38, channel: "vgpu" };
    assert_eq!(Incoming::decode(unknown.as_bytes()).unwrap_err(), error);
    let mut host = VgpuToHostHeader::new(VgpuCommandId::CREATEDEVICE, PROCESS);
    host.channel.0 = 2;
    let error = DecodeError::Field { field: "channel_type", value: 2 };
    assert_eq!(Incoming::decode(host.as_bytes()).unwrap_err(), error);
    assert!(matches!(Incoming::decode(&[0; 23]), Err(DecodeError::Short { .. })));
}

#[test]
fn host_packets_are_told_apart() {
    let mut signal = SignalGuestEventCommand::new_zeroed();
    signal.event = 77;
    for id in [HostToVmCommandId::SIGNALGUESTEVENT, HostToVmCommandId::SIGNALGUESTEVENTPASSIVE] {
        signal.hdr = HostToVmHeader::new(id);
        let packet = HostPacket::decode(signal.as_bytes()).unwrap();
        assert!(matches!(packet, HostPacket::SignalGuestEvent(s) if s.event == 77));
        for end in 0..48 {
            assert!(HostPacket::decode(&signal.as_bytes()[..end]).is_err());
        }
    }
    let mut data = SetGuestDataCommand::new_zeroed();
    data.hdr = HostToVmHeader::new(HostToVmCommandId::SETGUESTDATA);
    data.data.set_data32(9);
    let packet = HostPacket::decode(data.as_bytes()).unwrap();
    assert!(matches!(packet, HostPacket::SetGuestData(s) if s.data.data64() == 9));
    let other = HostToVmHeader::new(HostToVmCommandId::SENDWNFNOTIFICATION);
    let packet = HostPacket::decode(other.as_bytes()).unwrap();
    assert!(matches!(packet, HostPacket::Other(HostToVmCommandId::SENDWNFNOTIFICATION)));
}

/// Numbers without a pattern that a decoder could rely on (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

#[test]
fn incoming_bytes_without_sense_are_decoded_or_refused() {
    let mut numbers = Numbers(1);
    let (mut decoded, mut refused) = (0, 0);
    for id in (0..=70).chain(998..=1023) {
        for round in 0..200 {
            let mut bytes = if id < 900 {
                VgpuToHostHeader::new(VgpuCommandId(id), PROCESS).as_bytes().to_vec()
            } else {
                VmToHostHeader::new(GlobalCommandId(id), PROCESS).as_bytes().to_vec()
            };
            let length = numbers.next() % 700;
            // Small numbers make counts that a message can hold; large ones those that it cannot.
            let small = round % 2 == 0;
            bytes.extend((0..length).map(|at| {
                let number = numbers.next() as u8;
                if small && at % 4 != 0 {
                    0
                } else if small {
                    number % 16
                } else {
                    number
                }
            }));
            match Incoming::decode(&bytes) {
                Ok(_) => decoded += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert_eq!(decoded + refused, 97 * 200);
    assert!(decoded > 3000 && refused > 3000, "{decoded} decoded, {refused} refused");
}
