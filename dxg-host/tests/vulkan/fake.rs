//! Streams over the fake driver: several queues, work that is held back, failures on demand.
//!
//! The fake driver has one state for the process, so these tests run one after the other.

// UNSAFETY: loads the fake driver a second time, to reach its controls.
#![expect(unsafe_code, reason = "loads a library and calls its functions")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use dxg_host::adapter::Adapter;
use dxg_host::adapter::StreamEnd;
use dxg_host::adapter::vulkan;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::Reason;
use dxg_wire::session::StreamKind;
use dxg_wire::vulkan::op;
use fake_vk_driver::Control;
use fake_vk_driver::Count;
use parking_lot::Mutex;
use parking_lot::MutexGuard;

use crate::guest::Guest;
use crate::requests;
use crate::requests::Batch;
use crate::requests::Place;
use crate::requests::id;

const SUCCESS: [u8; 4] = 0_i32.to_le_bytes();
const OUT_OF_DEVICE_MEMORY: i32 = -2;
const DEVICE_LOST: i32 = -4;

/// The fake driver, taken by one test.
struct Fake {
    adapter: Arc<dyn Adapter>,
    library: &'static libloading::Library,
    _alone: MutexGuard<'static, ()>,
}

impl Fake {
    fn take() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static LOADED: OnceLock<(Arc<dyn Adapter>, libloading::Library)> = OnceLock::new();
        let alone = ALONE.lock();
        let (adapter, library) = LOADED.get_or_init(|| {
            let path = path();
            // SAFETY:
            // - the library has no constructors.
            let library = unsafe { libloading::Library::new(&path) }.unwrap();
            (vulkan::open_library(&path, None).unwrap(), library)
        });
        Self { adapter: Arc::clone(adapter), library, _alone: alone }
    }

    fn control(&self, control: Control, value: u64) {
        // SAFETY:
        // - the driver has this function, of this type.
        let function = unsafe { self.library.get::<extern "C" fn(u32, u64)>(b"fake_control\0") }.unwrap();
        function(control.0, value);
    }

    fn count(&self, count: Count) -> u64 {
        // SAFETY:
        // - the driver has this function, of this type.
        let function = unsafe { self.library.get::<extern "C" fn(u32) -> u64>(b"fake_count\0") }.unwrap();
        function(count.0)
    }

    /// A stream with a device of three queues in two families, and the queues' cells.
    fn device(&self) -> (Guest, [FenceCell; 3]) {
        let mut guest = Guest::open(&self.adapter, StreamKind::VULKAN_DEVICE);
        let cells = [guest.cell(0), guest.cell(0), guest.cell(0)];
        let place = |family, index, number: usize| Place { family, index, cell: cells[number].1 };
        let places = [place(0, 0, 0), place(0, 1, 1), place(1, 0, 2)];
        let answer = guest.call(op::CREATE_DEVICE, |e| requests::create_device(e, &[2, 1], &places, &[]));
        assert_eq!(answer.as_deref(), Some(&SUCCESS[..]));
        (guest, cells.map(|(cell, _)| cell))
    }
}

/// What a test sets ends with it.
impl Drop for Fake {
    fn drop(&mut self) {
        for control in [Control::HOLD, Control::FAIL_BUFFERS, Control::LOSE_DEVICE] {
            self.control(control, 0);
        }
    }
}

/// Where cargo puts the library of a dependency: beside this test.
fn path() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("libfake_vk_driver.so");
    path
}

/// Waits until the host has told the guest a failure; a hang here is a hang of the host.
fn status(guest: &Guest) -> (u32, i32) {
    while guest.producer.status().0 == 0 && !guest.host_ended() {
        std::thread::yield_now();
    }
    guest.producer.status()
}

#[test]
fn queues_complete_independently_of_each_other() {
    let fake = Fake::take();
    let (mut guest, cells) = fake.device();
    let (_, address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), address, 0));
    let waiting = [Batch { waits: &[(id(1), 1)], ..Batch::default() }];
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &waiting));
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 2, 1, &[]));
    assert_eq!(guest.wait(&cells[2], 1), WaitOutcome::Reached);
    assert_eq!(cells[0].value(), 0);
    let signalling = [Batch { signals: &[(id(1), 1)], ..Batch::default() }];
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 1, 1, &signalling));
    assert_eq!(guest.wait(&cells[0], 1), WaitOutcome::Reached);
    assert_eq!(guest.wait(&cells[1], 1), WaitOutcome::Reached);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn work_that_outlasts_the_polling_is_seen_by_the_waiter() {
    let fake = Fake::take();
    let (guest, cells) = fake.device();
    fake.control(Control::HOLD, 1);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &[]));
    guest.settle();
    // The waiter thread exists once the thread of the stream has gone to sleep.
    while !guest.host_has_thread("vk-wait") {
        std::thread::yield_now();
    }
    assert_eq!(cells[0].value(), 0);
    fake.control(Control::HOLD, 0);
    assert_eq!(guest.wait(&cells[0], 1), WaitOutcome::Reached);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn creation_that_fails_without_an_answer_is_the_status_of_the_stream() {
    let fake = Fake::take();
    let (guest, _) = fake.device();
    fake.control(Control::FAIL_BUFFERS, 1);
    guest.post(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(1), 4096, 2));
    assert_eq!(status(&guest), (Reason::DEVICE_LOST.0, OUT_OF_DEVICE_MEMORY));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn what_names_an_object_whose_creation_failed_is_not_run_and_no_violation() {
    let fake = Fake::take();
    let (mut guest, _) = fake.device();
    fake.control(Control::FAIL_BUFFERS, 1);
    guest.post(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(1), 4096, 2));
    guest.post(VkOp::DESTROY_BUFFER.0, |e| e.u64(id(1)));
    // An answer comes, with nothing in it, so nobody waits for ever.
    assert_eq!(
        guest.call(VkOp::GET_BUFFER_MEMORY_REQUIREMENTS.0, |e| e.u64(id(1))).as_deref(),
        Some(&[][..])
    );
    assert_eq!(status(&guest), (Reason::DEVICE_LOST.0, OUT_OF_DEVICE_MEMORY));
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn value_that_was_waited_for_is_published_before_the_progress_of_who_waited() {
    let fake = Fake::take();
    let (mut guest, cells) = fake.device();
    let (counter, address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), address, 0));
    for round in 1..=500_u64 {
        // Queue 0 waits and is looked at first; queue 1 signals.
        let waiting = [Batch { waits: &[(id(1), round)], ..Batch::default() }];
        let signalling = [Batch { signals: &[(id(1), round)], ..Batch::default() }];
        guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, round, &waiting));
        guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 1, round, &signalling));
        assert_eq!(guest.wait(&cells[0], round), WaitOutcome::Reached);
        assert_eq!(counter.value(), round);
        assert_eq!(guest.wait(&cells[1], round), WaitOutcome::Reached);
    }
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn creation_that_fails_with_an_answer_leaves_the_stream_alone() {
    let fake = Fake::take();
    let (mut guest, _) = fake.device();
    fake.control(Control::FAIL_BUFFERS, 1);
    let create = |e: &mut dxg_wire::codec::Encoder| requests::create_buffer(e, id(1), 4096, 2);
    let answer = guest.call(VkOp::CREATE_BUFFER.0, create).unwrap();
    assert_eq!(answer, OUT_OF_DEVICE_MEMORY.to_le_bytes());
    assert_eq!(guest.producer.status(), (0, 0));
    fake.control(Control::FAIL_BUFFERS, 0);
    assert_eq!(guest.call(VkOp::CREATE_BUFFER.0, create).unwrap(), SUCCESS);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn submission_to_a_lost_device_is_the_status_of_the_stream() {
    let fake = Fake::take();
    let (guest, cells) = fake.device();
    fake.control(Control::LOSE_DEVICE, 1);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &[]));
    assert_eq!(status(&guest), (Reason::DEVICE_LOST.0, DEVICE_LOST));
    assert_eq!(cells[0].value(), 0);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn device_that_is_lost_while_it_works_is_the_status_of_the_stream() {
    let fake = Fake::take();
    let (guest, cells) = fake.device();
    fake.control(Control::HOLD, 1);
    guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, 1, &[]));
    guest.settle();
    fake.control(Control::LOSE_DEVICE, 1);
    assert_eq!(status(&guest), (Reason::DEVICE_LOST.0, DEVICE_LOST));
    assert_eq!(cells[0].value(), 0);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn nothing_native_outlives_the_stream() {
    let fake = Fake::take();
    let before = fake.count(Count::LIVE);
    let (mut guest, _) = fake.device();
    let ledger = Arc::clone(&guest.ledger);
    let (_, address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), address, 0));
    guest.post(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(1), 4096, 2));
    guest.post(op::ALLOCATE_MEMORY, |e| requests::allocate(e, id(1), 0, 4096, 0));
    guest.settle();
    // The device, the timelines of its three queues, and the three objects.
    assert_eq!(fake.count(Count::LIVE) - before, 7);
    guest.post(0xFFFF, |_| {});
    assert!(matches!(guest.ended(), Err(StreamEnd::Violation(_))));
    assert_eq!(fake.count(Count::LIVE), before);
    assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
}

#[test]
fn device_that_waits_for_what_nobody_signals_is_destroyed_with_all_it_has() {
    let fake = Fake::take();
    let before = fake.count(Count::LIVE);
    let ran = fake.count(Count::BATCHES);
    let (mut guest, _) = fake.device();
    let addresses = [(); 3].map(|()| guest.cell(0).1);
    for (number, address) in (1..).zip(addresses) {
        guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(number), address, 0));
    }
    let wait_and_signal = |queue, sequence, waits: &[requests::Point], signals: &[requests::Point]| {
        let batch = [Batch { waits, signals, ..Batch::default() }];
        guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, queue, sequence, &batch));
    };
    // For the client; then for a value beyond the one that this signals; one that was destroyed meanwhile is waited for too.
    wait_and_signal(0, 1, &[(id(1), 4)], &[(id(2), 1)]);
    wait_and_signal(1, 1, &[(id(2), 2)], &[]);
    wait_and_signal(2, 1, &[(id(3), 1)], &[]);
    guest.post(VkOp::DESTROY_SEMAPHORE.0, |e| e.u64(id(3)));
    guest.settle();
    assert_eq!(fake.count(Count::BATCHES), ran);
    assert_eq!(guest.call(op::DESTROY_DEVICE, |_| {}).as_deref(), Some(&[][..]));
    assert_eq!(fake.count(Count::BATCHES), ran + 3);
    assert_eq!(fake.count(Count::LIVE), before);
    assert_eq!(guest.close(), Ok(()));
}

#[test]
fn device_whose_queues_wait_for_each_other_is_destroyed_when_its_client_goes() {
    let fake = Fake::take();
    let before = fake.count(Count::LIVE);
    let (mut guest, _) = fake.device();
    let addresses = [(); 2].map(|()| guest.cell(0).1);
    for (number, address) in (1..).zip(addresses) {
        guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(number), address, 0));
    }
    for (queue, first, second) in [(0, 1, 2), (1, 2, 1)] {
        let batch = [Batch { waits: &[(id(first), 1)], signals: &[(id(second), 1)], ..Batch::default() }];
        guest.post(op::QUEUE_SUBMIT, |e| requests::submit(e, queue, 1, &batch));
    }
    guest.settle();
    assert_eq!(guest.close(), Ok(()));
    assert_eq!(fake.count(Count::LIVE), before);
}

#[test]
fn sparse_binding_raises_the_progress_and_the_semaphores_it_signals() {
    let fake = Fake::take();
    let (mut guest, cells) = fake.device();
    let (first, first_address) = guest.cell(0);
    let (second, second_address) = guest.cell(0);
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(1), first_address, 0));
    guest.post(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(2), second_address, 0));
    guest.post(op::QUEUE_BIND_SPARSE, |e| requests::bind_sparse(e, 1, 9, &[&[(id(1), 4)], &[(id(2), 5)]]));
    assert_eq!(guest.wait(&cells[1], 9), WaitOutcome::Reached);
    assert_eq!((first.value(), second.value()), (4, 5));
    guest.post(op::QUEUE_BIND_SPARSE, |e| requests::bind_sparse(e, 1, 10, &[]));
    assert_eq!(guest.wait(&cells[1], 10), WaitOutcome::Reached);
    assert_eq!(guest.close(), Ok(()));
}

/// Numbers that look random and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Mostly small words, as counts, presence words and ends of chains are.
    fn word(&mut self) -> u32 {
        match self.next() % 8 {
            0 => u32::MAX,
            1 => u32::try_from(self.next() >> 32).unwrap(),
            2..4 => 0,
            _ => u32::try_from(self.next() % 4).unwrap(),
        }
    }
}

#[test]
fn any_request_is_executed_or_ends_the_session_by_name() {
    let fake = Fake::take();
    let before = fake.count(Count::LIVE);
    let mut noise = Noise(0x9E37_79B9_7F4A_7C15);
    let mut violations = 0;
    for _ in 0..400 {
        let (guest, _) = fake.device();
        while !guest.host_ended() {
            let op = match noise.next() % 3 {
                // All that a device takes once it is there.
                0 => op::ALL[3 + usize::try_from(noise.next() % 11).unwrap()],
                _ => 16 + u16::try_from(noise.next() % 600).unwrap(),
            };
            let words = noise.next() % 40;
            let body: Vec<u32> = (0..words).map(|_| noise.word()).collect();
            if !guest.try_post(op, |e| e.u32s(&body)) {
                break;
            }
            guest.settle();
        }
        match guest.ended() {
            Err(StreamEnd::Violation(_)) => violations += 1,
            other => panic!("the stream ended with {other:?}"),
        }
    }
    assert_eq!(violations, 400);
    assert_eq!(fake.count(Count::LIVE), before);
}

#[test]
fn stream_that_changes_while_it_is_read_ends_by_name_and_leaves_nothing() {
    const ROUNDS: usize = 30;
    const FLIPS: usize = 20_000;
    let fake = Fake::take();
    let before = fake.count(Count::LIVE);
    let mut noise = Noise(0x0123_4567_89AB_CDEF);
    let mut violations = 0;
    for _ in 0..ROUNDS {
        let (mut guest, _) = fake.device();
        let (_, address) = guest.cell(0);
        let memory = guest.memory(0, 2 << 20);
        let ring = guest.ring.clone();
        let ledger = Arc::clone(&guest.ledger);
        std::thread::scope(|scope| {
            let flipping = scope.spawn(|| {
                for _ in 0..FLIPS {
                    let number = usize::try_from(noise.next() >> 8).unwrap();
                    // The words of the header, the first entries, cells and reply areas.
                    let (of, at) = match number % 8 {
                        0 => (&ring, number / 8 % 320),
                        1..6 => (&ring, 4096 + number / 8 % 8192),
                        _ => (&memory, number / 8 % memory.len()),
                    };
                    let byte: u8 = of.read(at).unwrap();
                    of.write(at, &(byte ^ 1 << (noise.next() >> 61))).unwrap();
                }
            });
            let mut number = 1;
            while !flipping.is_finished() {
                let batch = [Batch { signals: &[(id(1), number)], ..Batch::default() }];
                guest.throw(op::CREATE_SEMAPHORE, |e| requests::create_timeline(e, id(number), address, 0));
                guest.throw(VkOp::CREATE_BUFFER.0, |e| requests::create_buffer(e, id(number), 4096, 2));
                guest.throw(op::QUEUE_SUBMIT, |e| requests::submit(e, 0, number, &batch));
                number += 1;
            }
        });
        // Work that waits for what never comes ends with its device.
        fake.control(Control::LOSE_DEVICE, 1);
        match guest.close() {
            Ok(()) => {}
            Err(StreamEnd::Violation(_)) => violations += 1,
            Err(other) => panic!("the stream ended with {other:?}"),
        }
        fake.control(Control::LOSE_DEVICE, 0);
        assert_eq!(fake.count(Count::LIVE), before);
        assert_eq!(ledger.charged.load(Ordering::SeqCst), 0);
    }
    assert!(violations > 0, "rings full of nonsense");
}
