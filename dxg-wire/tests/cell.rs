//! Fence cells through two mappings, as two processes have them.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_wire::cell::AnyOutcome;
use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use dxg_wire::cell::WaitOutcome;
use dxg_wire::cell::wait_any;
use dxg_wire::shm::SharedSlice;
use support::two_views;

const NEVER: &dyn Fn() -> bool = &|| false;
const NO_SPIN: Duration = Duration::ZERO;

fn cell_at(memory: &SharedSlice, index: usize) -> FenceCell {
    FenceCell::new(memory.sub(index * 64, CELL_BYTES).unwrap()).unwrap()
}

fn waiters(memory: &SharedSlice, index: usize) -> &AtomicU32 {
    memory.atomic_u32(index * 64 + 12).unwrap()
}

#[test]
fn value_never_goes_back() {
    let (here, there) = two_views(4096);
    let (ours, theirs) = (cell_at(&here, 0), cell_at(&there, 0));
    ours.publish(7);
    ours.publish(3);
    assert_eq!(theirs.value(), 7);
    assert_eq!(there.read::<[u64; 2]>(0).unwrap(), [7, 0], "no waiter, no wake");
}

#[test]
fn cell_needs_sixteen_aligned_bytes() {
    let (memory, _) = two_views(4096);
    assert!(FenceCell::new(memory.sub(0, 15).unwrap()).is_err());
    assert!(FenceCell::new(memory.sub(4, 16).unwrap()).is_err());
    assert!(FenceCell::new(memory.sub(8, 16).unwrap()).is_ok());
}

#[test]
fn sleeping_waiter_is_woken_through_another_mapping() {
    let (here, there) = two_views(4096);
    // Without wake-ups every sleep would last its slice, and all of them more than twice as long as this.
    let hang = Some(Instant::now() + Duration::from_secs(20));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let ping = cell_at(&there, 0);
            let pong = cell_at(&there, 1);
            for round in 1..=600 {
                assert_eq!(ping.wait(round, hang, NO_SPIN, NEVER), WaitOutcome::Reached);
                pong.publish(round);
            }
        });
        let ping = cell_at(&here, 0);
        let pong = cell_at(&here, 1);
        for round in 1..=600 {
            ping.publish(round);
            assert_eq!(pong.wait(round, hang, NO_SPIN, NEVER), WaitOutcome::Reached);
        }
        waiter.join().unwrap();
    });
    assert_eq!(waiters(&here, 0).load(Ordering::Acquire), 0);
    assert_eq!(waiters(&here, 1).load(Ordering::Acquire), 0);
}

#[test]
fn wait_ends_at_a_passed_deadline_and_when_cancelled() {
    let (memory, _) = two_views(4096);
    let cell = cell_at(&memory, 0);
    cell.initialise(4);
    let now = Some(Instant::now());
    assert_eq!(cell.wait(4, now, NO_SPIN, &|| true), WaitOutcome::Reached);
    assert_eq!(cell.wait(5, now, NO_SPIN, NEVER), WaitOutcome::TimedOut);
    assert_eq!(cell.wait(5, None, NO_SPIN, &|| true), WaitOutcome::Cancelled);
    assert_eq!(waiters(&memory, 0).load(Ordering::Acquire), 0);
}

#[test]
fn wake_all_makes_a_waiter_ask_whether_it_is_cancelled() {
    let (memory, there) = two_views(4096);
    let cancelled = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiter =
            scope.spawn(|| cell_at(&there, 0).wait(1, None, NO_SPIN, &|| cancelled.load(Ordering::Acquire)));
        while waiters(&memory, 0).load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        cancelled.store(true, Ordering::Release);
        cell_at(&memory, 0).wake_all();
        assert_eq!(waiter.join().unwrap(), WaitOutcome::Cancelled);
    });
}

#[test]
fn wait_any_is_ended_by_any_of_its_cells() {
    let (here, there) = two_views(4096);
    for index in [0, 1, 2] {
        let waiters_before = waiters(&here, index).load(Ordering::Acquire);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let cells: Vec<FenceCell> = (0..3).map(|index| cell_at(&there, index)).collect();
                let targets = cells.iter().map(|cell| (cell, cell.value() + 1)).collect::<Vec<_>>();
                wait_any(&targets, None, NO_SPIN, NEVER)
            });
            while waiters(&here, index).load(Ordering::Acquire) == waiters_before {
                thread::yield_now();
            }
            let cell = cell_at(&here, index);
            cell.publish(cell.value() + 1);
            assert_eq!(waiter.join().unwrap(), AnyOutcome::Reached(index));
        });
    }
}

#[test]
fn wait_any_of_more_cells_than_one_call_takes_still_ends() {
    let (here, there) = two_views(200 * 64 + 4096);
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let cells: Vec<FenceCell> = (0..200).map(|index| cell_at(&there, index)).collect();
            let targets = cells.iter().map(|cell| (cell, 1)).collect::<Vec<_>>();
            wait_any(&targets, None, NO_SPIN, NEVER)
        });
        while waiters(&here, 199).load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        cell_at(&here, 199).publish(1);
        assert_eq!(waiter.join().unwrap(), AnyOutcome::Reached(199));
    });
}

#[test]
fn wait_any_of_nothing_ends_at_its_deadline() {
    assert_eq!(wait_any(&[], Some(Instant::now()), NO_SPIN, NEVER), AnyOutcome::TimedOut);
    assert_eq!(wait_any(&[], None, NO_SPIN, &|| true), AnyOutcome::Cancelled);
}
