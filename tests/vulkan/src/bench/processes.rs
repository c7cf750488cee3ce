//! Start-up, and several processes at once.

use std::env;
use std::process::Command;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use ash::vk;

use super::Better;
use super::Length;
use super::Workload;
use super::gpu;
use super::median;
use super::median_ns;

pub(super) const ALL: &[Workload] = &[
    Workload {
        name: "open_first",
        what: "instance + device, first in a process",
        unit: "ms",
        better: Better::Less,
        run: open_first,
    },
    Workload {
        name: "open_again",
        what: "instance + device, again in the process",
        unit: "ms",
        better: Better::Less,
        run: open_again,
    },
    Workload {
        name: "vulkaninfo",
        what: "vulkaninfo --summary, whole process",
        unit: "ms",
        better: Better::Less,
        run: |length| vulkaninfo(length, &["--summary"]),
    },
    Workload {
        name: "vulkaninfo_full",
        what: "vulkaninfo, whole process",
        unit: "ms",
        better: Better::Less,
        run: |length| vulkaninfo(length, &[]),
    },
    Workload {
        name: "loops_1",
        what: "small submits in 1 process",
        unit: "1/s",
        better: Better::More,
        run: loops_1,
    },
    Workload {
        name: "loops_2",
        what: "small submits in 2 processes, sum",
        unit: "1/s",
        better: Better::More,
        run: loops_2,
    },
    Workload {
        name: "loops_4",
        what: "small submits in 4 processes, sum",
        unit: "1/s",
        better: Better::More,
        run: loops_4,
    },
];

fn open_first(_: Length) -> Result<f64> {
    let start = Instant::now();
    let gpu = gpu()?;
    let took = start.elapsed();
    drop(gpu);
    Ok(took.as_secs_f64() * 1e3)
}

fn open_again(length: Length) -> Result<f64> {
    // Another instance stays, as in a program that asks twice.
    let first = gpu()?;
    let ns = median_ns(length, 1, || gpu().map(drop))?;
    drop(first);
    Ok(ns / 1e6)
}

fn vulkaninfo(length: Length, arguments: &[&str]) -> Result<f64> {
    let rounds = match length {
        Length::Quick => 2,
        Length::Full => 15,
    };
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        let status =
            Command::new("vulkaninfo").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(status.context("no vulkaninfo here")?.success(), "vulkaninfo failed");
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut times))
}

/// Submits a small command buffer and waits, over and over; submissions per second.
pub(super) fn small_submits(length: Length) -> Result<f64> {
    let gpu = gpu()?;
    let buffer = gpu.buffer(4096)?;
    let commands = gpu.recorded(|c| {
        c.fill_buffer(buffer.handle, 0, vk::WHOLE_SIZE, 3);
        c.to_host();
    })?;
    let fence = gpu.fence()?;
    let ns = median_ns(length, 20, || {
        for _ in 0..20 {
            gpu.submit(&[commands], fence)?;
            gpu.wait(fence)?;
            gpu.reset_fences(&[fence])?;
        }
        Ok(())
    })?;
    Ok(1e9 / ns)
}

fn loops_1(length: Length) -> Result<f64> {
    small_submits(length)
}

/// Measures one workload in several processes that start together.
pub(super) fn together(name: &str, length: Length, processes: usize) -> Result<Vec<f64>> {
    let program = env::current_exe()?;
    let quick = (length == Length::Quick).then_some("--quick");
    let children = (0..processes)
        .map(|_| {
            let mut command = Command::new(&program);
            command.args(["--measure", name]).args(quick).stdout(Stdio::piped());
            command.spawn().context("cannot start another process")
        })
        .collect::<Result<Vec<_>>>()?;
    children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output()?;
            ensure!(output.status.success(), "a process ended with {}", output.status);
            String::from_utf8(output.stdout)?.trim().parse::<f64>().context("not a number")
        })
        .collect()
}

fn loops_2(length: Length) -> Result<f64> {
    Ok(together("loops_1", length, 2)?.into_iter().sum())
}

fn loops_4(length: Length) -> Result<f64> {
    Ok(together("loops_1", length, 4)?.into_iter().sum())
}
