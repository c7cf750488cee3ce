//! Adds two vectors with CUDA: the driver API and nothing else, a program to copy from.
//!
//! It loads `libcuda.so.1` when it runs, so it builds on a machine without CUDA, and knows nothing of whose driver that is.
//! `dxgctl run --private -- cuda-vecadd` runs it where there is no NVIDIA hardware.

mod gpu;

use std::process::ExitCode;

use anyhow::ensure;
use clap::Parser;

use crate::gpu::Adder;
use crate::gpu::Context;
use crate::gpu::Device;
use crate::gpu::Times;

/// Adds two vectors on a CUDA device, again and again, and checks the sums.
#[derive(Parser)]
struct Options {
    /// Numbers in a vector.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    count: u32,
    /// How often.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which device, from 0.
    #[arg(long, default_value_t = 0)]
    device: u32,
}

fn main() -> ExitCode {
    let Err(error) = run(&Options::parse()) else { return ExitCode::SUCCESS };
    eprintln!("cuda-vecadd: {error:#}");
    if gpu::is_missing(&error) {
        eprintln!(
            "A CUDA driver and a device are needed. `dxgctl run -- cuda-vecadd` gives it those of the daemon dxgd \
             (`dxgctl list` shows them), `dxgctl run --private -- cuda-vecadd` starts a daemon for it."
        );
    }
    ExitCode::FAILURE
}

fn run(options: &Options) -> anyhow::Result<()> {
    let device = Device::open(options.device)?;
    let version = device.driver_version()?;
    let (major, minor) = device.compute_capability()?;
    println!("device  {}", device.name()?);
    println!("uuid    {}", device.uuid()?);
    println!(
        "        compute capability {major}.{minor}, {} multiprocessors, driver {}.{}",
        device.multiprocessors()?,
        version / 1000,
        version % 1000 / 10
    );
    let context = Context::new(device)?;
    let (free, total) = context.memory_bytes()?;
    println!("memory  {:.2} GiB, {:.2} of them free", gib(total), gib(free));

    let mut adder = Adder::new(&context, options.count)?;
    let mut fastest: Option<Times> = None;
    for round in 0..options.rounds {
        // Other numbers each time: the sums of an earlier round must not pass for those of this.
        let [a, b] = adder.inputs();
        for (place, number) in a.iter_mut().enumerate() {
            *number = left(place, round);
        }
        for (place, number) in b.iter_mut().enumerate() {
            *number = right(place, round);
        }
        let times = adder.add()?;
        let wrong = adder.sum().iter().enumerate();
        let wrong = wrong.filter(|(place, sum)| **sum != left(*place, round) + right(*place, round)).count();
        ensure!(wrong == 0, "round {round}: {wrong} of {} sums are wrong", options.count);
        if fastest.is_none_or(|best| times.kernel < best.kernel) {
            fastest = Some(times);
        }
    }
    println!("added   {} numbers {} times; all sums are right", options.count, options.rounds);
    if let Some(Times { copies_in, kernel, copy_out }) = fastest {
        let bytes = f64::from(options.count) * 12.0;
        println!(
            "times   {:.3} ms in, {:.3} ms to add ({:.1} GB/s), {:.3} ms out",
            copies_in * 1e3,
            kernel * 1e3,
            bytes / kernel / 1e9,
            copy_out * 1e3
        );
    }
    Ok(())
}

/// Small whole numbers, whose sums are exact.
fn left(place: usize, round: u32) -> f32 {
    f32::from((place ^ round as usize) as u16)
}

fn right(place: usize, round: u32) -> f32 {
    f32::from((place >> 8) as u16) + (round % 1024) as f32
}

fn gib(bytes: usize) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
