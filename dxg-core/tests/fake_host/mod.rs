//! A host of one session, in a thread of the test: it shakes hands, answers start-up, and does with every other
//! message what the test says.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use dxg_core::Node;
use dxg_core::RawHandle;
use dxg_core::UserPtr;
use dxg_core::abi::CreateAllocationFlags;
use dxg_core::abi::NtStatus;
use dxg_wire::doorbell;
use dxg_wire::messages::AllocationInfoReply;
use dxg_wire::messages::CreateAllocationReply;
use dxg_wire::messages::CreateProcessReply;
use dxg_wire::messages::ExtHeader;
use dxg_wire::messages::GetInternalAdapterInfoReply;
use dxg_wire::messages::HostToVmCommandId;
use dxg_wire::messages::HostToVmHeader;
use dxg_wire::messages::Message as _;
use dxg_wire::messages::OpenAdapterReply;
use dxg_wire::messages::SignalGuestEventCommand;
use dxg_wire::messages::allocation::CreateAllocationAnswer;
use dxg_wire::messages::allocation::CreateAllocationMessage;
use dxg_wire::messages::allocation::CreatedAllocation;
use dxg_wire::messages::incoming::GuestCommand;
use dxg_wire::messages::incoming::Incoming;
use dxg_wire::session::ARENA_BASE;
use dxg_wire::session::Body;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::Hello;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lost;
use dxg_wire::session::Reason;
use dxg_wire::session::Welcome;
use dxg_wire::session::text;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::ChannelSender;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketHeader;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::SharedRing;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use zerocopy::FromZeros;
use zerocopy::IntoBytes;

pub(crate) const RING_BYTES: u32 = 64 * 1024;
pub(crate) const ARENA_BYTES: u64 = 1 << 20;
/// A guard against hanging, far beyond anything that is waited for.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// The host's answer to one message.
pub(crate) enum Answer {
    /// A completion with this payload.
    Payload(Vec<u8>),
    /// A completion with this payload and a transaction id of its own.
    WrongTransaction(Vec<u8>),
    /// Nothing, ever.
    Nothing,
    /// What the fake host says by itself.
    Default,
}

/// The host's side of a session.
pub(crate) struct Session {
    pub(crate) socket: OwnedFd,
    pub(crate) vgpu: Channel,
    pub(crate) global: Channel,
    pub(crate) arena: SharedSlice,
    /// The memory of all rings: vgpu to host, vgpu to guest, global to host, global to guest.
    pub(crate) control: SharedSlice,
    /// What the client sleeps on for its virtual GPU.
    pub(crate) vgpu_bell: OwnedFd,
    pub(crate) hello: Hello,
    next_handle: u32,
}

/// A socket in a directory of its own.
pub(crate) struct FakeHost {
    directory: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl FakeHost {
    /// Serves one client: `script` gets the session after the handshake.
    pub(crate) fn start(script: impl FnOnce(Session) + Send + 'static) -> Self {
        Self::listen(move |socket| script(Session::welcome(socket)))
    }

    /// Accepts one client and hands its socket over.
    pub(crate) fn listen(script: impl FnOnce(OwnedFd) + Send + 'static) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("dxg-core-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("host.sock");
        let _ = std::fs::remove_file(&path);
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .expect("a socket");
        let address = SocketAddrUnix::new(&path).expect("an address");
        rustix::net::bind(&listener, &address).expect("bind");
        rustix::net::listen(&listener, 4).expect("listen");
        let thread = std::thread::spawn(move || {
            let socket = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC).expect("a client");
            script(socket);
        });
        Self { directory, thread: Some(thread) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("host.sock")
    }

    pub(crate) fn connect(&self) -> Node {
        Node::connect(&self.path()).expect("a session")
    }

    /// Waits for the script to end; its panics become the test's.
    pub(crate) fn join(mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn ring(memory: &SharedSlice, at: u32) -> SharedRing {
    let ring =
        memory.sub((at * RING_BYTES) as usize, RING_BYTES as usize).expect("within the control memory");
    SharedRing::new(&ring).expect("a ring")
}

fn map(memory: &OwnedFd, size_bytes: u64) -> SharedSlice {
    let len = usize::try_from(size_bytes).expect("fits");
    let mapping = Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).expect("a mapping");
    SharedSlice::whole(&mapping)
}

impl Session {
    /// Answers the hello of a client.
    pub(crate) fn welcome(socket: OwnedFd) -> Self {
        let hello = recv(&socket).expect("a hello");
        assert_eq!(hello.kind, ClientMessage::HELLO.0);
        let control = create_sealed("control", u64::from(RING_BYTES) * 4).expect("a memfd");
        let arena = create_sealed("arena", ARENA_BYTES).expect("a memfd");
        let bells: Vec<OwnedFd> = (0..4).map(|_| doorbell::create().expect("an eventfd")).collect();
        let copy = |at: usize| bells[at].try_clone().expect("a descriptor");
        let memory = map(&control, u64::from(RING_BYTES) * 4);
        let channel = |out, into, theirs, ours| {
            Channel::new(ring(&memory, out), ring(&memory, into), theirs, ours).expect("a channel")
        };
        let vgpu = channel(1, 0, copy(1), copy(0));
        let global = channel(3, 2, copy(3), copy(2));
        let body = Welcome {
            version: 1,
            interface_version: 40,
            features: Features::ALL,
            vgpu_uuid: [7; 16],
            adapter_luid: [0x1234, 0x5678],
            vgpu_ring_bytes: RING_BYTES,
            global_ring_bytes: RING_BYTES,
            arena_base: IoAddress(ARENA_BASE),
            arena_bytes: ARENA_BYTES,
            quota_bytes: 1 << 30,
            session: 1,
        };
        let fds = [
            control.as_fd(),
            arena.as_fd(),
            bells[0].as_fd(),
            bells[1].as_fd(),
            bells[2].as_fd(),
            bells[3].as_fd(),
        ];
        session_io::send_message(&socket, BrokerMessage::WELCOME.0, &body, &fds).expect("sent");
        let arena = map(&arena, ARENA_BYTES);
        let vgpu_bell = copy(1);
        Self {
            socket,
            vgpu,
            global,
            arena,
            control: memory,
            vgpu_bell,
            hello: hello.body(),
            next_handle: 0x4000_0000,
        }
    }

    /// A handle that was not given before.
    pub(crate) fn handle(&mut self) -> RawHandle {
        self.next_handle += 0x40;
        RawHandle(self.next_handle)
    }

    /// Sends a session message.
    pub(crate) fn tell<B: Body>(&self, kind: BrokerMessage, body: &B, fds: &[std::os::fd::BorrowedFd<'_>]) {
        session_io::send_message(&self.socket, kind.0, body, fds).expect("sent");
    }

    /// Says that the session is over.
    pub(crate) fn lose(&self, reason: Reason) {
        self.tell(BrokerMessage::LOST, &Lost { reason, reserved: 0, text: text("the test says so") }, &[]);
    }

    /// Signals an event of the guest.
    pub(crate) fn signal(&mut self, event: u64) {
        let mut packet = SignalGuestEventCommand::new_zeroed();
        packet.hdr = HostToVmHeader::new(HostToVmCommandId::SIGNALGUESTEVENT);
        packet.event = event;
        self.push(packet.as_bytes());
    }

    /// Sends a packet of the host on the global channel.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let sender = &mut self.global.sender;
        assert!(sender.try_send(PacketType::DATA_IN_BAND, PacketFlags::NONE, 0, &[bytes]).expect("a ring"));
    }

    /// Serves until the client hangs up. `answer` sees every message on both channels.
    pub(crate) fn serve(&mut self, mut answer: impl FnMut(&mut Self, &GuestCommand) -> Answer) {
        while let Some((from_global, header, command)) = self.next() {
            let reply = answer(self, &command);
            self.reply(from_global, &header, &command, reply);
        }
    }

    /// Answers one message as an honest host does.
    pub(crate) fn serve_one(&mut self) {
        if let Some((from_global, header, command)) = self.next() {
            self.reply(from_global, &header, &command, Answer::Default);
        }
    }

    /// Serves until a message fits.
    pub(crate) fn serve_until(
        &mut self,
        fits: impl Fn(&GuestCommand) -> bool,
    ) -> Option<(PacketHeader, GuestCommand)> {
        while let Some((from_global, header, command)) = self.next() {
            if fits(&command) {
                return Some((header, command));
            }
            self.reply(from_global, &header, &command, Answer::Default);
        }
        None
    }

    fn reply(&mut self, from_global: bool, header: &PacketHeader, command: &GuestCommand, answer: Answer) {
        let (transaction, payload) = match answer {
            Answer::Nothing => return,
            Answer::Payload(payload) => (header.transaction_id, payload),
            Answer::WrongTransaction(payload) => (header.transaction_id + 1_000_000, payload),
            Answer::Default => (header.transaction_id, self.default_reply(command)),
        };
        let channel = if from_global { &mut self.global } else { &mut self.vgpu };
        complete(&mut channel.sender, transaction, &payload);
    }

    /// The next message of either channel; none when the client is gone.
    pub(crate) fn next(&mut self) -> Option<(bool, PacketHeader, GuestCommand)> {
        let mut payload = Vec::new();
        loop {
            for from_global in [false, true] {
                let channel = if from_global { &mut self.global } else { &mut self.vgpu };
                if let Some(header) = channel.receiver.try_receive(&mut payload).expect("a ring") {
                    let command = payload.get(size_of::<ExtHeader>()..).expect("a prefix");
                    let incoming = Incoming::decode(command).expect("a command");
                    return Some((from_global, header, incoming.command));
                }
            }
            let (vgpu, global) = (self.vgpu.receiver.doorbell(), self.global.receiver.doorbell());
            let empty =
                self.vgpu.receiver.arm().expect("a ring") & self.global.receiver.arm().expect("a ring");
            let fds = [vgpu.as_fd(), global.as_fd(), self.socket.as_fd()];
            let ready = if empty { doorbell::wait(&fds, Some(HANG)).expect("poll") } else { 0 };
            self.vgpu.receiver.disarm();
            self.global.receiver.disarm();
            if ready & 4 != 0 && recv(&self.socket).is_none() {
                return None;
            }
        }
    }

    /// What an honest host with empty pockets says.
    pub(crate) fn default_reply(&mut self, command: &GuestCommand) -> Vec<u8> {
        match command {
            GuestCommand::OpenAdapter(_) => OpenAdapterReply {
                host_adapter_handle: RawHandle(0x4000_1000),
                status: NtStatus::SUCCESS,
                vmbus_interface_version: 40,
                vmbus_last_compatible_interface_version: 16,
            }
            .as_bytes()
            .to_vec(),
            GuestCommand::GetInternalAdapterInfo(_) => {
                GetInternalAdapterInfoReply::new_zeroed().as_bytes().to_vec()
            }
            GuestCommand::CreateProcess(_) => {
                CreateProcessReply { hprocess: RawHandle(0x4000_2000) }.as_bytes().to_vec()
            }
            GuestCommand::CreateDevice(_) => self.handle().as_bytes().to_vec(),
            GuestCommand::CreateSyncObject(_) => {
                let mut reply = dxg_wire::messages::CreateSyncObjectReply::new_zeroed();
                reply.sync_object = self.handle();
                reply.fence_storage_address = ARENA_BASE;
                reply.as_bytes().to_vec()
            }
            GuestCommand::CreateContextVirtual(asked) => {
                let mut answer = asked.clone();
                answer.command.context = self.handle();
                answer.encode().expect("a message")
            }
            GuestCommand::CreateHwQueue(asked) => {
                let mut answer = asked.clone();
                answer.command.hwqueue = self.handle();
                answer.command.hwqueue_progress_fence = self.handle();
                answer.command.hwqueue_progress_fence_cpuva = UserPtr(ARENA_BASE);
                answer.encode().expect("a message")
            }
            GuestCommand::CreatePagingQueue(_) => {
                let mut reply = dxg_wire::messages::CreatePagingQueueReply::new_zeroed();
                reply.paging_queue = self.handle();
                reply.sync_object = self.handle();
                reply.fence_storage_physical_address = ARENA_BASE;
                reply.as_bytes().to_vec()
            }
            GuestCommand::CreateAllocation(asked) => self.create_allocation(asked),
            // A status of success, and zero for whatever else is asked.
            _ => vec![0; 64],
        }
    }
}

impl Session {
    /// Allocations of a page each, in a resource where one is asked for.
    fn create_allocation(&mut self, asked: &CreateAllocationMessage) -> Vec<u8> {
        let mut reply = CreateAllocationReply::new_zeroed();
        if asked.command.flags.contains(CreateAllocationFlags::CREATE_RESOURCE) {
            reply.resource = self.handle();
        }
        let allocations = asked
            .allocations
            .iter()
            .map(|one| {
                let mut info = AllocationInfoReply::new_zeroed();
                info.allocation = self.handle();
                info.allocation_size = 4096;
                CreatedAllocation { info, private_data: one.private_data.clone() }
            })
            .collect();
        CreateAllocationAnswer { reply, allocations }.encode().expect("a message")
    }
}

/// Sends a completion, waiting for room.
pub(crate) fn complete(sender: &mut ChannelSender, transaction: u64, payload: &[u8]) {
    let until = Some(std::time::Instant::now() + HANG);
    let sent =
        sender.send(PacketType::COMPLETION, PacketFlags::NONE, transaction, &[payload], until, &|| false);
    sent.expect("room in the ring");
}

/// A message of the client; none when it is gone.
pub(crate) fn recv(socket: &OwnedFd) -> Option<Message> {
    session_io::recv_message(socket, |kind| ClientMessage(kind).descriptors()).ok()
}
