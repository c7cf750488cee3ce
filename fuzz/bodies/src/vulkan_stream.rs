//! Command streams of the Vulkan adapter, over a driver without a device.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_host::adapter::SessionCalls;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::StreamSeat;
use dxg_host::adapter::Windows;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::codec::Encoder;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::session::StreamKind;
use dxg_wire::shm::SharedSlice;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::EntryFlags;
use dxg_wire::stream::Layout;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::vulkan::op;
use parking_lot::Mutex;

use crate::driver::DeviceState;
use crate::driver::Driver;
use crate::input::Input;
use crate::input::Known;
use crate::surroundings::Ledger;
use crate::surroundings::shared;

/// Where the guest's block lies in IO space.
const BLOCK: u64 = 0x2_0000_0000;
const BLOCK_BYTES: usize = 256 << 10;
/// Where its cells lie.
const CELLS: u64 = BLOCK + 0x1_0000;
/// Where an indirect block lies.
const INDIRECT: u64 = BLOCK + 0x2_0000;
const RING_BYTES: u32 = 64 << 10;
/// How long a run may wait for itself.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most commands of one run.
const COMMANDS: usize = 64;

/// The one driver of the process; one stream at a time, as its state is one.
static DRIVER: LazyLock<Mutex<Driver>> = LazyLock::new(|| Mutex::new(Driver::load()));

/// The guest's side of one stream.
struct Guest {
    producer: Producer,
    block: SharedSlice,
    sequence: u32,
}

/// Runs the commands that the bytes say; afterwards nothing native and no charge is left.
pub fn vulkan_stream(data: &[u8]) {
    let driver = DRIVER.lock();
    let live = driver.live();
    let layout = Layout::new(RING_BYTES).expect("a ring");
    let ring = shared(usize::try_from(layout.total_bytes()).expect("a small ring"));
    let bell = doorbell::create().expect("an eventfd");
    let copy = |bell: &OwnedFd| bell.try_clone().expect("a descriptor");
    let consumer = Consumer::new(SharedSlice::whole(&ring), copy(&bell)).expect("a stream");
    let producer = Producer::new(SharedSlice::whole(&ring), copy(&bell)).expect("a stream");
    let block = shared(BLOCK_BYTES);
    let windows = Arc::new(Windows::new());
    windows.insert(IoAddress(BLOCK), Arc::clone(&block));
    let closing = Arc::new(AtomicBool::new(false));
    let ledger = Arc::new(Ledger::default());
    let mut input = Input::new(data);
    let what = input.u8();
    let kind = if what & 1 == 0 { StreamKind::VULKAN_DEVICE } else { StreamKind::VULKAN_INSTANCE };
    let seat = StreamSeat {
        kind,
        consumer,
        windows,
        calls: Arc::clone(&ledger) as Arc<dyn SessionCalls>,
        closing: Arc::clone(&closing),
        cuda: Settings::default(),
    };
    let end = thread::scope(|scope| {
        let host = scope.spawn(|| driver.adapter.run_stream(seat));
        // A guest may make its own stream wait for what never comes: then it ends with its device, below.
        let until = Instant::now() + PATIENCE;
        let ended = || host.is_finished() || Instant::now() >= until;
        let mut guest = Guest { producer, block: SharedSlice::whole(&block), sequence: 0 };
        if kind == StreamKind::VULKAN_DEVICE && what & 2 == 0 {
            guest.create_device(&ended);
        }
        guest.play(&mut input, &ended);
        while guest.producer.consumed() < guest.producer.position().0 && !ended() {
            thread::yield_now();
        }
        // Work that waits for what never comes ends with its device.
        driver.set(DeviceState::Lost);
        closing.store(true, Ordering::Release);
        doorbell::ring(&bell);
        host.join()
    });
    driver.set(DeviceState::Present);
    match end {
        Ok(Ok(()) | Err(StreamEnd::Violation(_))) => {}
        other => panic!("the stream ended with {other:?}"),
    }
    assert_eq!(driver.live(), live, "something native is left");
    assert_eq!(ledger.charged(), 0, "a charge is left");
}

impl Guest {
    /// One device with three queues, as an honest guest makes it.
    fn create_device(&mut self, ended: &dyn Fn() -> bool) {
        let mut e = Encoder::new();
        e.end_chain();
        e.u32(0);
        e.count(2);
        e.count(2);
        for (family, count) in [(0, 2), (1, 1)] {
            e.end_chain();
            e.u32(0);
            e.u32(family);
            e.u32(count);
            e.u32(count);
            for _ in 0..count {
                e.f32(1.0);
            }
        }
        e.u32(0);
        e.null();
        e.count(0);
        e.count(0);
        e.presence(None::<()>);
        e.count(3);
        for (number, (family, index)) in [(0, 0), (0, 1), (1, 0)].into_iter().enumerate() {
            e.u32(family);
            e.u32(index);
            e.u32(0);
            e.u64(CELLS + 64 * number as u64);
        }
        let body = e.as_slice().to_vec();
        let entry = self.entry(op::CREATE_DEVICE, true, &body);
        self.push(&entry, ended);
    }

    fn play(&mut self, input: &mut Input<'_>, ended: &dyn Fn() -> bool) {
        let known = Known::new(&[
            1 << 32 | 1,
            1 << 32 | 2,
            2 << 32 | 1,
            CELLS + 256,
            CELLS + 320,
            INDIRECT,
            BLOCK,
            BLOCK + BLOCK_BYTES as u64,
            1,
            2,
        ]);
        for _ in 0..COMMANDS {
            if input.is_empty() || ended() {
                return;
            }
            let how = input.u8();
            let op = match how % 4 {
                0 => op::ALL.get(usize::from(input.u8()) % op::ALL.len()).copied().unwrap_or(op::DESCRIBE),
                // One command of the registry in two bytes, all of them in reach.
                _ => 16 + input.u16() % 700,
            };
            let words = usize::from(input.u8());
            let body = input.words(words, &known);
            let entry = self.entry(op, how & 0x10 != 0, &body);
            if how & 0x20 == 0 {
                self.push(&entry, ended);
                continue;
            }
            let len = entry.len();
            if self.block.copy_in(0x2_0000, &entry).is_ok() {
                let body = [INDIRECT.to_le_bytes(), (len as u64).to_le_bytes()].concat();
                let entry = self.entry(OP_INDIRECT, false, &body);
                self.push(&entry, ended);
                while self.producer.consumed() < self.producer.position().0 && !ended() {
                    thread::yield_now();
                }
            }
        }
    }

    fn entry(&mut self, op: u16, has_reply: bool, body: &[u8]) -> Vec<u8> {
        let mut e = Encoder::new();
        let mark = if has_reply {
            self.sequence += 1;
            e.begin_with_reply(
                op,
                ReplyRequest { address: IoAddress(BLOCK), capacity_bytes: 0x8000, sequence: self.sequence },
            )
        } else {
            e.begin(op, EntryFlags::NONE)
        };
        e.bytes(body);
        e.end(mark);
        e.as_slice().to_vec()
    }

    fn push(&self, entry: &[u8], ended: &dyn Fn() -> bool) {
        // What the ring does not take, or nobody takes out any more, is not said.
        let _ = self.producer.push(entry, ended);
    }
}
