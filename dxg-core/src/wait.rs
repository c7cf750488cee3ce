//! Waiting for fences on the CPU.
//!
//! *Why two ways.* On a virtual GPU a fence is a cell: waiting is a few loads and a futex, and no request at all. A kernel node
//! is asked to signal an eventfd, which also gives its waits a timeout that the request itself does not have.

use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::BorrowedFd;
use std::time::Duration;
use std::time::Instant;

use dxg_ioctl::CallError;
use dxg_ioctl::FenceValue;
use dxg_ioctl::RawHandle;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromCpuFlags;
use dxg_wire::cell;
use dxg_wire::cell::AnyOutcome;
use dxg_wire::cell::DEFAULT_SPIN;
use dxg_wire::cell::FenceCell;
use dxg_wire::doorbell;

use crate::Error;
use crate::Fence;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::fence::FenceCore;
use crate::fence::cpu_wait;

const OP: &str = "wait for fence";

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// What was waited for is there.
    Reached,
    /// The timeout passed first.
    TimedOut,
}

/// How many of several fences are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    All,
    Any,
}

type Points<'a> = [(&'a FenceCore, FenceValue)];

/// Waits until every fence has at least its value. `timeout` of `None` is none.
///
/// Fences of a kernel node must be of one node.
///
/// # Errors
///
/// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) when a node is lost before or during the wait.
pub fn wait_all(fences: &[(&Fence, FenceValue)], timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
    let points: Vec<_> = fences.iter().map(|(fence, value)| (fence.core(), *value)).collect();
    for_all(&points, timeout)
}

/// Waits until one of the fences has at least its value. `timeout` of `None` is none.
///
/// Fences of a kernel node must be of one node. With no fences it waits for the timeout.
///
/// # Errors
///
/// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) when a node is lost before or during the wait.
pub fn wait_any(fences: &[(&Fence, FenceValue)], timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
    let points: Vec<_> = fences.iter().map(|(fence, value)| (fence.core(), *value)).collect();
    wait(&points, How::Any, timeout)
}

pub(crate) fn for_all(points: &Points<'_>, timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
    wait(points, How::All, timeout)
}

fn lost(points: &Points<'_>) -> bool {
    points.iter().any(|(fence, _)| fence.node().is_lost())
}

fn reached(points: &Points<'_>, how: How) -> bool {
    let mut there = points.iter().map(|(fence, target)| fence.value() >= *target);
    match how {
        How::All => there.all(|there| there),
        How::Any => there.any(|there| there),
    }
}

fn wait(points: &Points<'_>, how: How, timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
    // A time too far away to be a point in time is no deadline.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    if lost(points) {
        return Err(errno::LOST).op(OP);
    }
    if reached(points, how) {
        return Ok(WaitOutcome::Reached);
    }
    let cells: Option<Vec<(&FenceCell, u64)>> =
        points.iter().map(|(fence, target)| Some((fence.cell()?, target.0))).collect();
    match cells {
        Some(cells) => wait_cells(&cells, how, deadline, &|| lost(points)).op(OP),
        None => wait_eventfd(points, how, deadline).op(OP),
    }
}

fn wait_cells(
    cells: &[(&FenceCell, u64)],
    how: How,
    deadline: Option<Instant>,
    lost: &dyn Fn() -> bool,
) -> Result<WaitOutcome, CallError> {
    let groups: Vec<&[(&FenceCell, u64)]> = match how {
        How::Any => vec![cells],
        // One after the other: values do not go back.
        How::All => cells.chunks(1).collect(),
    };
    for group in groups {
        match cell::wait_any(group, deadline, DEFAULT_SPIN, lost) {
            AnyOutcome::Reached(_) => {}
            AnyOutcome::TimedOut => return Ok(WaitOutcome::TimedOut),
            AnyOutcome::Cancelled => return Err(errno::LOST),
        }
    }
    Ok(WaitOutcome::Reached)
}

fn wait_eventfd(points: &Points<'_>, how: How, deadline: Option<Instant>) -> Result<WaitOutcome, CallError> {
    let eventfd = doorbell::create().map_err(|error| errno::from_io(&error))?;
    notify(points, how, eventfd.as_fd())?;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ready = doorbell::wait(&[eventfd.as_fd()], left).map_err(|error| errno::from_io(&error))?;
        if lost(points) {
            return Err(errno::LOST);
        }
        if ready != 0 || reached(points, how) {
            return Ok(WaitOutcome::Reached);
        }
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(WaitOutcome::TimedOut);
        }
    }
}

/// Asks for an eventfd to be signalled once.
pub(crate) fn notify(points: &Points<'_>, how: How, eventfd: BorrowedFd<'_>) -> Result<(), CallError> {
    let (first, _) = points.first().ok_or(errno::INVALID)?;
    let one_node = points.iter().all(|(fence, _)| fence.node().is_same(first.node()));
    if !one_node {
        return Err(errno::INVALID);
    }
    // Number 0 would ask for a wait without an eventfd.
    let copy;
    let eventfd = if eventfd.as_raw_fd() == 0 {
        copy = rustix::io::fcntl_dupfd_cloexec(eventfd, 1).map_err(|error| errno::from_io(&error.into()))?;
        copy.as_fd()
    } else {
        eventfd
    };
    let objects: Vec<RawHandle> = points.iter().map(|(fence, _)| fence.handle).collect();
    let values: Vec<FenceValue> = points.iter().map(|(_, value)| *value).collect();
    let mut buffers = Buffers::new();
    let mut args = cpu_wait(first.device.handle(), &objects, &values, &mut buffers)?;
    if how == How::Any {
        args.flags = WaitForSynchronizationObjectFromCpuFlags::WAIT_ANY;
    }
    args.async_event = buffers.lend_descriptor(eventfd);
    first.node().request(&mut args, &mut buffers).map(drop)
}
