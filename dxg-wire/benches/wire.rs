//! How long the primitives take between two threads: latency as p50 and p99, and as a multiple of a pair of eventfds.
//!
//! Workloads: a request of 64 bytes and its answer over a VMBus channel; a command of 32 bytes and its reply over a stream;
//! a fence cell there and back; a long run of commands without replies. "polling" looks all the time, "sleeping" never
//! looks twice. Run with `cargo bench -p dxg-wire`.

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::codec::Encoder;
use dxg_wire::doorbell;
use dxg_wire::session::IoAddress;
use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::Entry;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::Producer;
use dxg_wire::stream::ReplyRequest;
use dxg_wire::stream::ReplySlot;
use dxg_wire::stream::layout;
use dxg_wire::vmbus::Channel;
use dxg_wire::vmbus::DEFAULT_RING_BYTES;
use dxg_wire::vmbus::Incoming;
use dxg_wire::vmbus::PacketFlags;
use dxg_wire::vmbus::PacketType;
use dxg_wire::vmbus::SharedRing;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const NEVER: &dyn Fn() -> bool = &|| false;
const WARM_UP: usize = 1_000;
const ROUNDS: usize = 20_000;
/// Opcode that ends a consumer.
const OP_STOP: u16 = 17;

/// How a waiter waits.
#[derive(Clone, Copy)]
enum Wait {
    Polling,
    Sleeping,
}

impl Wait {
    const BOTH: [Self; 2] = [Self::Polling, Self::Sleeping];

    fn spin(self) -> Duration {
        match self {
            Self::Polling => Duration::from_secs(1),
            Self::Sleeping => Duration::ZERO,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::Sleeping => "sleeping",
        }
    }
}

/// Middle and tail of a sorted run.
struct Latency {
    p50: Duration,
    p99: Duration,
}

fn measure(mut round: impl FnMut(u64) -> Outcome<()>) -> Outcome<Latency> {
    let mut times = Vec::with_capacity(ROUNDS);
    for number in 1..=(WARM_UP + ROUNDS) as u64 {
        let start = Instant::now();
        round(number)?;
        times.push(start.elapsed());
    }
    times.drain(..WARM_UP);
    times.sort_unstable();
    Ok(Latency { p50: times[ROUNDS / 2], p99: times[ROUNDS * 99 / 100] })
}

fn two_views(len: usize) -> Outcome<(SharedSlice, SharedSlice)> {
    let fd = create_sealed("bench", len as u64)?;
    let map = || Mapping::map(fd.as_fd(), 0, len, Access::ReadWrite, Populate::Prefault);
    Ok((SharedSlice::whole(&map()?), SharedSlice::whole(&map()?)))
}

/// The baseline: one eventfd each way.
fn eventfds() -> Outcome<Latency> {
    let ping = doorbell::create()?;
    let pong = doorbell::create()?;
    let (ping_there, pong_there) = (ping.try_clone()?, pong.try_clone()?);
    let echo = thread::spawn(move || -> Outcome<()> {
        for _ in 0..WARM_UP + ROUNDS {
            doorbell::wait(&[ping_there.as_fd()], None)?;
            doorbell::drain(&ping_there);
            doorbell::ring(&pong_there);
        }
        Ok(())
    });
    let latency = measure(|_| {
        doorbell::ring(&ping);
        doorbell::wait(&[pong.as_fd()], None)?;
        doorbell::drain(&pong);
        Ok(())
    })?;
    echo.join().map_err(|_| "echo thread panicked")??;
    Ok(latency)
}

fn channel_round_trip(wait: Wait) -> Outcome<Latency> {
    let ring_bytes = DEFAULT_RING_BYTES as usize;
    let (guest, host) = two_views(2 * ring_bytes)?;
    let ring = |memory: &SharedSlice, index: usize| -> Outcome<SharedRing> {
        Ok(SharedRing::new(&memory.sub(index * ring_bytes, ring_bytes)?)?)
    };
    let (to_host, to_guest) = (doorbell::create()?, doorbell::create()?);
    let mut guest =
        Channel::new(ring(&guest, 0)?, ring(&guest, 1)?, to_host.try_clone()?, to_guest.try_clone()?)?;
    let mut host = Channel::new(ring(&host, 1)?, ring(&host, 0)?, to_guest, to_host)?;
    let echo = thread::spawn(move || -> Outcome<()> {
        let mut payload = Vec::new();
        for _ in 0..WARM_UP + ROUNDS {
            let Incoming::Packet(header) = host.receiver.receive(&mut payload, wait.spin(), &[], None)?
            else {
                return Err("no packet".into());
            };
            let id = header.transaction_id;
            host.sender.send(PacketType::COMPLETION, PacketFlags::NONE, id, &[&payload], None, NEVER)?;
        }
        Ok(())
    });
    let mut payload = Vec::new();
    let latency = measure(|number| {
        let flags = PacketFlags::COMPLETION_REQUESTED;
        guest.sender.send(PacketType::DATA_IN_BAND, flags, number, &[&[1; 16], &[2; 48]], None, NEVER)?;
        match guest.receiver.receive(&mut payload, wait.spin(), &[], None)? {
            Incoming::Packet(header) if header.transaction_id == number => Ok(()),
            other => Err(format!("{other:?}").into()),
        }
    })?;
    echo.join().map_err(|_| "echo thread panicked")??;
    Ok(latency)
}

fn stream(ring_bytes: usize) -> Outcome<(Producer, Consumer)> {
    let (ours, theirs) = two_views(layout::HEADER_BYTES + ring_bytes)?;
    let bell: OwnedFd = doorbell::create()?;
    Ok((Producer::new(ours, bell.try_clone()?)?, Consumer::new(theirs, bell)?))
}

fn stream_reply(wait: Wait) -> Outcome<Latency> {
    let (producer, mut consumer) = stream(1 << 20)?;
    let (slot_here, slot_there) = two_views(4096)?;
    let (slot_here, slot_there) = (ReplySlot::new(slot_here)?, ReplySlot::new(slot_there)?);
    consumer.set_spin(wait.spin());
    let host = thread::spawn(move || -> Outcome<()> {
        let mut scratch = Vec::new();
        while let Next::Entry(header) = consumer.next(&mut scratch, &mut || Idle::Poll)? {
            if header.opcode == OP_STOP {
                break;
            }
            let reply = Entry::parse(&scratch)?.reply.ok_or("no reply wanted")?;
            slot_there.finish(reply.sequence, 0, &[3; 16])?;
            consumer.done();
        }
        Ok(())
    });
    let mut encoder = Encoder::new();
    let mut answer = Vec::new();
    let latency = measure(|number| {
        let sequence = number as u32;
        slot_here.begin(sequence);
        encoder.clear();
        let request = ReplyRequest { address: IoAddress(0), capacity_bytes: 4032, sequence };
        let mark = encoder.begin_with_reply(16, request);
        encoder.put_u32s([1, 2]);
        encoder.end(mark);
        producer.push(encoder.as_slice(), NEVER)?;
        let reply = slot_here.wait(sequence, wait.spin(), NEVER)?;
        slot_here.payload(reply, &mut answer);
        Ok(())
    })?;
    encoder.clear();
    encoder.entry(OP_STOP, []);
    producer.push(encoder.as_slice(), NEVER)?;
    host.join().map_err(|_| "host thread panicked")??;
    Ok(latency)
}

fn cell_there_and_back(wait: Wait) -> Outcome<Latency> {
    let (here, there) = two_views(4096)?;
    let cell =
        |memory: &SharedSlice, at| -> Outcome<FenceCell> { Ok(FenceCell::new(memory.sub(at, CELL_BYTES)?)?) };
    let (ping, pong) = (cell(&here, 0)?, cell(&here, 128)?);
    let (ping_there, pong_there) = (cell(&there, 0)?, cell(&there, 128)?);
    let echo = thread::spawn(move || {
        for number in 1..=(WARM_UP + ROUNDS) as u64 {
            ping_there.wait(number, None, wait.spin(), NEVER);
            pong_there.publish(number);
        }
    });
    let latency = measure(|number| {
        ping.publish(number);
        pong.wait(number, None, wait.spin(), NEVER);
        Ok(())
    })?;
    echo.join().map_err(|_| "echo thread panicked")?;
    Ok(latency)
}

/// Nanoseconds per command of a long run of 32-byte commands, executed as nothing.
fn stream_throughput() -> Outcome<f64> {
    const COUNT: u32 = 3_000_000;
    let (producer, mut consumer) = stream(1 << 20)?;
    let host = thread::spawn(move || -> Outcome<()> {
        let mut scratch = Vec::new();
        while let Next::Entry(header) = consumer.next(&mut scratch, &mut || Idle::Poll)? {
            consumer.done();
            if header.opcode == OP_STOP {
                break;
            }
        }
        Ok(())
    });
    let start = Instant::now();
    let mut encoder = Encoder::new();
    for number in 0..COUNT {
        encoder.clear();
        encoder.entry(16, [number, 2, 3, 4, 5, 6]);
        producer.push(encoder.as_slice(), NEVER)?;
    }
    encoder.clear();
    encoder.entry(OP_STOP, []);
    let end = producer.push(encoder.as_slice(), NEVER)?;
    producer.wait_consumed(end, NEVER)?;
    let taken = start.elapsed();
    host.join().map_err(|_| "host thread panicked")??;
    Ok(taken.as_nanos() as f64 / f64::from(COUNT))
}

/// Nanoseconds per command of encoding alone.
fn encoding() -> f64 {
    const COUNT: u32 = 10_000_000;
    let mut encoder = Encoder::with_capacity(1 << 16);
    let start = Instant::now();
    for number in 0..COUNT {
        if encoder.len() > 60_000 {
            encoder.clear();
        }
        encoder.entry(16, std::hint::black_box([number, 2, 3, 4, 5, 6]));
    }
    std::hint::black_box(&encoder);
    start.elapsed().as_nanos() as f64 / f64::from(COUNT)
}

/// Bytes per nanosecond of copying blocks out of shared memory.
fn copy_rate(block: usize) -> Outcome<f64> {
    const TOTAL: usize = 1 << 31;
    let (memory, _) = two_views(1 << 16)?;
    let mut private = vec![0; block];
    let start = Instant::now();
    for number in 0..TOTAL / block {
        memory.copy_out(number * block % (1 << 16), &mut private)?;
        std::hint::black_box(&mut private);
    }
    Ok(TOTAL as f64 / start.elapsed().as_nanos() as f64)
}

fn main() -> Outcome<()> {
    let baseline = eventfds()?;
    let show = |name: &str, latency: &Latency| {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let ratio = latency.p50.as_nanos() as f64 / baseline.p50.as_nanos() as f64;
        println!(
            "{name:34} p50 {:8.2} us  p99 {:8.2} us  {ratio:6.2} x",
            micros(latency.p50),
            micros(latency.p99)
        );
    };
    show("eventfds, there and back", &baseline);
    for wait in Wait::BOTH {
        show(&format!("vmbus request and answer, {}", wait.name()), &channel_round_trip(wait)?);
        show(&format!("stream command and reply, {}", wait.name()), &stream_reply(wait)?);
        show(&format!("cell, there and back, {}", wait.name()), &cell_there_and_back(wait)?);
    }
    println!("stream, commands of 32 bytes        {:8.1} ns each", stream_throughput()?);
    println!("encoding, commands of 32 bytes      {:8.1} ns each", encoding());
    for block in [32, 256, 1024, 16384] {
        println!("copy out of shared, {block:5} bytes     {:8.1} bytes/ns", copy_rate(block)?);
    }
    Ok(())
}
