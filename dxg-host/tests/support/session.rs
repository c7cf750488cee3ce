//! A whole client: rings, windows, requests.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use dxg_ioctl::Luid;
use dxg_ioctl::RawHandle;
use dxg_wire::messages::Channel as Plane;
use dxg_wire::messages::Command;
use dxg_wire::messages::CreateProcessCommand;
use dxg_wire::messages::InterfaceVersion;
use dxg_wire::messages::codec::decode_fixed;
use dxg_wire::messages::framing::HostPacket;
use dxg_wire::messages::framing::frame;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Exported;
use dxg_wire::session::Hello;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lease;
use dxg_wire::session::Leased;
use dxg_wire::session::Reason;
use dxg_wire::session::Welcome;
use dxg_wire::session::Window;
use dxg_wire::session::WindowRef;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::session_io::Message;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::SharedRing;
use zerocopy::FromBytes;

use super::client::Client;
use super::client::hello;
use super::daemon::GUARD;

pub struct Session {
    pub client: Client,
    pub welcome: Welcome,
    pub vgpu: Channel,
    pub global: Channel,
    pub windows: HashMap<u64, Arc<Mapping>>,
    pub exported: HashMap<u32, OwnedFd>,
    /// Messages of the socket that nobody has asked for yet.
    pub messages: Vec<Message>,
    pub packets: Vec<HostPacket>,
    pub process: RawHandle,
    transaction: u64,
}

pub fn map(memory: &OwnedFd, size_bytes: u64) -> Arc<Mapping> {
    let len = usize::try_from(size_bytes).unwrap();
    Mapping::map(memory.as_fd(), 0, len, Access::ReadWrite, Populate::Lazy).unwrap()
}

impl Session {
    /// Connects and creates a process.
    pub fn open(path: &Path) -> Self {
        let mut session = Self::greet(path, &hello());
        let created = session.ask(&CreateProcessCommand::for_process(RawHandle::NONE));
        assert_ne!(created.hprocess, RawHandle::NONE);
        session.process = created.hprocess;
        session
    }

    /// Connects.
    pub fn greet(path: &Path, hello: &Hello) -> Self {
        let client = Client::connect(path);
        client.send(ClientMessage::HELLO, hello, &[]);
        let (welcome, fds) = client.expect::<Welcome>(BrokerMessage::WELCOME);
        let [control, arena, vgpu_to_host, vgpu_to_guest, global_to_host, global_to_guest] =
            <[OwnedFd; 6]>::try_from(fds).unwrap();
        let vgpu = welcome.vgpu_ring_bytes as usize;
        let global = welcome.global_ring_bytes as usize;
        let control = SharedSlice::whole(&map(&control, 2 * (vgpu + global) as u64));
        let ring = |at, len| SharedRing::new(&control.sub(at, len).unwrap()).unwrap();
        let channels = (
            Channel::new(ring(0, vgpu), ring(vgpu, vgpu), vgpu_to_host, vgpu_to_guest).unwrap(),
            Channel::new(
                ring(2 * vgpu, global),
                ring(2 * vgpu + global, global),
                global_to_host,
                global_to_guest,
            )
            .unwrap(),
        );
        let windows = HashMap::from([(welcome.arena_base.0, map(&arena, welcome.arena_bytes))]);
        Self {
            client,
            welcome,
            vgpu: channels.0,
            global: channels.1,
            windows,
            exported: HashMap::new(),
            messages: Vec::new(),
            packets: Vec::new(),
            process: RawHandle::NONE,
            transaction: 0,
        }
    }

    /// Sends a command and waits for its answer's struct.
    pub fn ask<C: Command>(&mut self, command: &C) -> C::Reply
    where
        C::Reply: FromBytes,
    {
        decode_fixed(&self.ask_bytes(C::CHANNEL, command.as_bytes())).unwrap()
    }

    /// Sends a command and waits for the payload of its answer.
    pub fn ask_bytes(&mut self, plane: Plane, command: &[u8]) -> Vec<u8> {
        let [low, high] = self.welcome.adapter_luid;
        let luid = Luid { a: low, b: high };
        let message = frame(InterfaceVersion::CURRENT, luid, command).unwrap();
        self.ask_framed(plane, &message)
    }

    /// Sends bytes as they are and waits for the payload of the answer.
    pub fn ask_framed(&mut self, plane: Plane, message: &[u8]) -> Vec<u8> {
        self.transaction += 1;
        let transaction = self.transaction;
        self.post(plane, message, transaction);
        let until = Instant::now() + GUARD;
        loop {
            assert!(Instant::now() < until, "no answer");
            let channel = match plane {
                Plane::Global => &mut self.global,
                Plane::Vgpu => &mut self.vgpu,
            };
            let mut payload = Vec::new();
            let incoming = channel
                .receiver
                .receive(&mut payload, Duration::ZERO, &[self.client.socket.as_fd()], Some(until))
                .unwrap();
            match incoming {
                Incoming::Packet(packet) if packet.packet_type == PacketType::COMPLETION => {
                    assert_eq!(packet.transaction_id, transaction);
                    return payload;
                }
                Incoming::Packet(_) => self.packets.push(HostPacket::decode(&payload).unwrap()),
                Incoming::Other(_) => self.take_message(),
                Incoming::TimedOut => {}
            }
        }
    }

    /// Sends bytes as they are.
    pub fn post(&mut self, plane: Plane, message: &[u8], transaction: u64) {
        let channel = match plane {
            Plane::Global => &mut self.global,
            Plane::Vgpu => &mut self.vgpu,
        };
        channel
            .sender
            .send(
                PacketType::DATA_IN_BAND,
                PacketFlags::COMPLETION_REQUESTED,
                transaction,
                &[message],
                None,
                &|| false,
            )
            .unwrap();
    }

    /// The next packet that the host sends of its own accord.
    pub fn packet(&mut self) -> HostPacket {
        if !self.packets.is_empty() {
            return self.packets.remove(0);
        }
        let mut payload = Vec::new();
        let until = Instant::now() + GUARD;
        match self.global.receiver.receive(&mut payload, Duration::ZERO, &[], Some(until)).unwrap() {
            Incoming::Packet(_) => HostPacket::decode(&payload).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Takes a message off the socket; windows are mapped and acknowledged at once.
    pub fn take_message(&mut self) {
        let message = self.client.receive();
        match BrokerMessage(message.kind) {
            BrokerMessage::WINDOW => {
                let window: Window = message.body();
                let memory = message.into_fd().unwrap();
                self.windows.insert(window.base.0, map(&memory, window.size_bytes));
                self.client.send(ClientMessage::WINDOW_ACK, &WindowRef { base: window.base }, &[]);
            }
            BrokerMessage::WINDOW_GONE => {
                let window: WindowRef = message.body();
                self.windows.remove(&window.base.0);
            }
            BrokerMessage::EXPORTED => {
                let exported: Exported = message.body();
                self.exported.insert(exported.global_share, message.into_fd().unwrap());
            }
            _ => self.messages.push(message),
        }
    }

    /// The next message of a kind, with others served on the way.
    pub fn message(&mut self, kinds: &[BrokerMessage]) -> Message {
        loop {
            if let Some(at) = self.messages.iter().position(|it| kinds.contains(&BrokerMessage(it.kind))) {
                return self.messages.remove(at);
            }
            self.take_message();
        }
    }

    /// Leases a block.
    pub fn lease(&mut self, size_bytes: u64) -> Result<IoAddress, Reason> {
        self.client.send(ClientMessage::LEASE, &Lease { request: 9, reserved: 0, size_bytes }, &[]);
        let message = self.message(&[BrokerMessage::LEASED, BrokerMessage::LEASE_REFUSED]);
        let leased: Leased = message.body();
        assert_eq!(leased.request, 9);
        match message.into_fd() {
            Some(memory) => {
                self.windows.insert(leased.base.0, map(&memory, leased.size_bytes));
                Ok(leased.base)
            }
            None => Err(leased.reason),
        }
    }

    pub fn release(&mut self, base: IoAddress) {
        self.windows.remove(&base.0);
        self.client.send(ClientMessage::RELEASE, &WindowRef { base }, &[]);
    }

    /// The memory at an address that the host named.
    pub fn memory(&self, address: u64, len: usize) -> SharedSlice {
        let (base, mapping) = self
            .windows
            .iter()
            .find(|(base, mapping)| (**base..**base + mapping.len() as u64).contains(&address))
            .expect("an address in a window");
        SharedSlice::whole(mapping).sub(usize::try_from(address - base).unwrap(), len).unwrap()
    }

    pub fn word(&self, address: u64) -> u64 {
        self.memory(address, 8).read(0).unwrap()
    }
}
