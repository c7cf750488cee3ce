//! What a request over the host node costs, against a host of the benchmark's own that does nothing.
//!
//! Workloads: *null request* is a query of video memory, from the call to its result. *Polling*: the host looks at its ring all
//! the time. *Sleeping*: the host sleeps on its doorbell between requests and the client pauses long enough that it does.
//! *Fence wake-up*: from the host's publish to the return of a client that sleeps on the cell. *Loss*: from the host's hang-up to
//! the error of a client that sleeps on a cell.

#[path = "../tests/fake_host/mod.rs"]
mod fake_host;

use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use dxg_core::FenceValue;
use dxg_core::abi::MemorySegmentGroup;
use dxg_wire::cell::FenceCell;
use dxg_wire::vmbus::Incoming;
use fake_host::Answer;
use fake_host::FakeHost;
use fake_host::Session;

/// Answers everything on the virtual GPU's channel with zeroes, looking for `spin` before each sleep.
fn answer_zeroes(mut session: Session, spin: Duration) {
    let mut payload = Vec::new();
    // Start-up and the opening of the adapter.
    for _ in 0..4 {
        session.serve_one();
    }
    loop {
        match session.vgpu.receiver.receive(&mut payload, spin, &[session.socket.as_fd()], None) {
            Ok(Incoming::Packet(header)) => {
                fake_host::complete(&mut session.vgpu.sender, header.transaction_id, &[0; 32]);
            }
            _ => return,
        }
    }
}

/// Prints the numbers; answers the median.
fn report(name: &str, mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    let at = |permille: usize| samples[(samples.len() - 1) * permille / 1000];
    println!(
        "{name:<28} p50 {:>9.2?}  p90 {:>9.2?}  p99 {:>9.2?}  n {}",
        at(500),
        at(900),
        at(990),
        samples.len()
    );
    at(500)
}

/// Says whether an aim is met, for the summary.
fn aim(name: &str, found: Duration, limit: Duration) {
    let verdict = if found <= limit { "met" } else { "missed" };
    println!("aim: {name:<44} {found:>9.2?}  aim {limit:>8.2?} at most  {verdict}");
}

fn null_request(name: &str, spin: Duration, pause: Duration, count: usize) -> Duration {
    let host = FakeHost::start(move |session| answer_zeroes(session, spin));
    let node = host.connect();
    let adapter = node.first_adapter().expect("an adapter");
    let samples = (0..count)
        .map(|_| {
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let start = Instant::now();
            adapter.video_memory(MemorySegmentGroup(0)).expect("an answer");
            start.elapsed()
        })
        .collect();
    let median = report(name, samples);
    drop((adapter, node));
    host.join();
    median
}

fn fence_wake_up(count: u64) {
    let (tell, told) = mpsc::channel::<(u64, mpsc::Sender<Instant>)>();
    let host = FakeHost::start(move |mut session| {
        let cell = FenceCell::new(session.arena.sub(0, 4096).expect("a page")).expect("a cell");
        let publisher = std::thread::spawn(move || {
            for (value, answer) in told {
                // Long enough for the client to fall asleep.
                std::thread::sleep(Duration::from_micros(500));
                let now = Instant::now();
                cell.publish(value);
                let _ = answer.send(now);
            }
        });
        session.serve(|_, _| Answer::Default);
        publisher.join().expect("published");
    });
    let node = host.connect();
    let device = node.first_adapter().and_then(|adapter| adapter.create_device()).expect("a device");
    let fence = device.create_fence(FenceValue(0)).expect("a fence");
    let samples = (1..=count)
        .map(|value| {
            let (answer, answered) = mpsc::channel();
            tell.send((value, answer)).expect("the publisher");
            fence.wait(FenceValue(value), None).expect("the value");
            let woken = Instant::now();
            woken.saturating_duration_since(answered.recv().expect("when"))
        })
        .collect();
    report("fence wake-up", samples);
    drop(tell);
    drop((fence, device, node));
    host.join();
}

fn loss(count: usize) {
    let samples = (0..count)
        .map(|_| {
            let (go, gone) = mpsc::channel::<()>();
            let (tell, told) = mpsc::channel();
            let host = FakeHost::start(move |mut session| {
                for _ in 0..6 {
                    session.serve_one();
                }
                gone.recv().expect("the client");
                std::thread::sleep(Duration::from_millis(1));
                let _ = tell.send(Instant::now());
                drop(session);
            });
            let node = host.connect();
            let device = node.first_adapter().and_then(|adapter| adapter.create_device()).expect("a device");
            let fence = device.create_fence(FenceValue(0)).expect("a fence");
            go.send(()).expect("the host");
            fence.wait(FenceValue(1), None).expect_err("the loss");
            let noticed = Instant::now();
            noticed.saturating_duration_since(told.recv().expect("when"))
        })
        .collect();
    report("loss", samples);
}

fn main() {
    let share = if std::env::args().any(|argument| argument == "--quick") { 10 } else { 1 };
    let polling = "null request, polling";
    let found = null_request(polling, Duration::from_secs(1), Duration::ZERO, 200_000 / share);
    aim(polling, found, Duration::from_micros(3));
    let sleeping = "null request, sleeping";
    let found = null_request(sleeping, Duration::ZERO, Duration::from_micros(200), 5_000 / share);
    aim(sleeping, found, Duration::from_micros(15));
    fence_wake_up(2_000 / share as u64);
    loss(200 / share);
}
