//! A broker for one worker: grants what the quota allows, and plays the other clients of shared objects.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;

use dxg_wire::session::Call;
use dxg_wire::session::Granted;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lost;
use dxg_wire::session::Reason;
use dxg_wire::session::Share;
use dxg_wire::session::SharedKind;
use dxg_wire::session::SharedOpened;
use dxg_wire::session::WorkerMessage;
use dxg_wire::session::text_of;
use dxg_wire::shm::create_sealed;
use dxg_wire::shm::create_sealed_with;
use dxg_wire::shm::session_io;
use dxg_wire::shm::session_io::Message;

use super::BrokerLink;
use super::link::Answer;

/// What the windows of a session may come to.
const QUOTA_BYTES: u64 = 64 << 20;
/// Bytes of the memory of a foreign shared object.
const FOREIGN_BYTES: u64 = 64 << 10;
/// Share handles from here on are objects of other clients.
pub(crate) const FOREIGN: u32 = 0x8000_0000;

/// Plays the broker until the socket is closed.
pub(crate) fn serve(link: &BrokerLink, socket: &OwnedFd, foreign: &[u8]) {
    let mut broker = Puppet {
        link,
        foreign,
        sizes: HashMap::new(),
        shares: HashMap::new(),
        used_bytes: 0,
        next_base: 0x2_0000_0000,
    };
    while let Ok(message) = session_io::recv_message(socket, |kind| WorkerMessage(kind).descriptors()) {
        broker.hear(message);
    }
}

struct Puppet<'a> {
    link: &'a BrokerLink,
    foreign: &'a [u8],
    sizes: HashMap<u64, (u64, OwnedFd)>,
    shares: HashMap<u32, (Share, OwnedFd)>,
    used_bytes: u64,
    next_base: u64,
}

impl Puppet<'_> {
    fn hear(&mut self, message: Message) {
        match WorkerMessage(message.kind) {
            WorkerMessage::CREATE_WINDOW => self.create_window(&message.body()),
            WorkerMessage::DROP_WINDOW => {
                let call: Call = message.body();
                let (size_bytes, _) = self.sizes.remove(&call.base.0).expect("a window is dropped once");
                self.used_bytes -= size_bytes;
            }
            WorkerMessage::SHARE => {
                let share: Share = message.body();
                let value = u32::try_from(self.shares.len()).unwrap_or(0) + 1;
                if let Some(private) = message.into_fd() {
                    self.shares.insert(value, (share, private));
                }
                self.done(share.call, Reason::NONE, value);
            }
            WorkerMessage::OPEN_SHARED => self.open(&message.body()),
            WorkerMessage::CHARGE => {
                let call: Call = message.body();
                self.done(call.call, Reason::NONE, 0);
            }
            WorkerMessage::END => {
                let lost: Lost = message.body();
                panic!("the session ended itself: {}: {}", lost.reason.name(), text_of(&lost.text));
            }
            _ => {}
        }
    }

    fn done(&self, call: u32, reason: Reason, value: u32) {
        let granted = Granted { call, reason, value, reserved: 0, base: IoAddress(0), size_bytes: 0 };
        self.link.answered(call, Answer::Done(granted));
    }

    fn create_window(&mut self, call: &Call) {
        let size_bytes = call.size_bytes.checked_next_multiple_of(4096).unwrap_or(0);
        let used = self.used_bytes.checked_add(size_bytes).filter(|used| *used <= QUOTA_BYTES);
        let (Some(used), true) = (used, size_bytes != 0) else {
            return self.done(call.call, Reason::QUOTA, 0);
        };
        let Ok(memory) = create_sealed("fuzz-window", size_bytes) else {
            return self.done(call.call, Reason::HOST_RESOURCES, 0);
        };
        self.used_bytes = used;
        let base = IoAddress(self.next_base);
        self.next_base += size_bytes.next_multiple_of(1 << 16) + (1 << 16);
        let granted =
            Granted { call: call.call, reason: Reason::NONE, value: 0, reserved: 0, base, size_bytes };
        self.link.acknowledged(base);
        self.link.window_created(&granted, &memory);
        self.sizes.insert(base.0, (size_bytes, memory));
    }

    fn open(&mut self, call: &Call) {
        match self.find(call) {
            Some((opened, private, memory)) => {
                self.link.answered(call.call, Answer::Shared(opened, private, memory));
            }
            None => self.done(call.call, Reason::NOT_FOUND, 0),
        }
    }

    fn find(&mut self, call: &Call) -> Option<(SharedOpened, OwnedFd, OwnedFd)> {
        if call.value >= FOREIGN {
            let kind = if call.value & 1 == 0 { SharedKind::RESOURCE } else { SharedKind::SYNC_OBJECT };
            let private_bytes = self.foreign.len() as u64;
            let base = IoAddress(u64::from(call.value) << 32);
            let opened =
                SharedOpened { call: call.call, kind, base, size_bytes: FOREIGN_BYTES, private_bytes };
            let private = create_sealed_with("fuzz-private", self.foreign).ok()?;
            return Some((opened, private, create_sealed("fuzz-foreign", FOREIGN_BYTES).ok()?));
        }
        let (share, private) = self.shares.get(&call.value)?;
        let (size_bytes, memory) = self.sizes.get(&share.window.0)?;
        let opened = SharedOpened {
            call: call.call,
            kind: share.kind,
            base: share.window,
            size_bytes: *size_bytes,
            private_bytes: share.private_bytes,
        };
        Some((opened, private.as_fd().try_clone_to_owned().ok()?, memory.try_clone().ok()?))
    }
}
