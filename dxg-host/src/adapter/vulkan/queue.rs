//! A queue of the native device, with the timeline semaphore by which its progress is known.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ash::vk;

use super::super::cell::Cell;
use super::completion::OnLost;
use super::completion::Progress;
use super::completion::Timeline;
use super::native::SyncFns;
use crate::failure::Fault;

/// Which queue of the device one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuePlace {
    pub(crate) family: u32,
    pub(crate) index: u32,
    pub(crate) flags: vk::DeviceQueueCreateFlags,
}

/// The driver's timeline semaphore of one queue.
pub(crate) struct NativeTimeline {
    fns: Arc<SyncFns>,
    semaphore: vk::Semaphore,
}

impl NativeTimeline {
    pub(crate) fn semaphore(&self) -> vk::Semaphore {
        self.semaphore
    }
}

impl Timeline for NativeTimeline {
    fn value(&self) -> Result<u64, vk::Result> {
        self.fns.counter_value(self.semaphore)
    }

    fn wait(&self, point: u64, timeout: Duration) -> Result<(), vk::Result> {
        match self.fns.wait_semaphore(self.semaphore, point, timeout) {
            vk::Result::SUCCESS | vk::Result::TIMEOUT => Ok(()),
            error => Err(error),
        }
    }
}

/// One queue.
pub(crate) struct Queue {
    pub(crate) native: vk::Queue,
    pub(crate) progress: Arc<Progress<NativeTimeline>>,
    /// Last point that was given to a submission.
    point: u64,
    /// Last point of the last submission that waits for a timeline semaphore; 0 before there is one.
    last_wait: u64,
    waiter: Option<JoinHandle<()>>,
}

impl Queue {
    /// The queue at `place`, whose progress goes to `cell`.
    ///
    /// # Errors
    /// The driver's, when it makes no semaphore.
    pub(crate) fn new(
        fns: &Arc<SyncFns>,
        place: QueuePlace,
        cell: Arc<Cell>,
        on_lost: OnLost,
    ) -> Result<Self, vk::Result> {
        let semaphore = fns.create_timeline()?;
        let timeline = NativeTimeline { fns: Arc::clone(fns), semaphore };
        Ok(Self {
            native: fns.queue(place),
            progress: Arc::new(Progress::new(timeline, cell, on_lost)),
            point: 0,
            last_wait: 0,
            waiter: None,
        })
    }

    /// The next point of the timeline.
    pub(crate) fn next_point(&mut self) -> u64 {
        self.point = self.point.saturating_add(1);
        self.point
    }

    /// Says that the submission whose points were just given out waits for a timeline semaphore.
    pub(crate) fn note_wait(&mut self) {
        self.last_wait = self.point;
    }

    /// Last point of the last submission that waits for a timeline semaphore.
    pub(crate) fn last_wait(&self) -> Option<u64> {
        (self.last_wait != 0).then_some(self.last_wait)
    }

    /// Leaves what is pending to the waiter thread, which starts with the first need.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn hand_over(&mut self) -> Result<(), Fault> {
        if !self.progress.has_work() {
            return Ok(());
        }
        if self.waiter.is_none() {
            let progress = Arc::clone(&self.progress);
            let thread = std::thread::Builder::new()
                .name("vk-wait".to_owned())
                .spawn(move || progress.run_waiter())
                .map_err(|error| Fault::new("start a waiter thread", error))?;
            self.waiter = Some(thread);
        }
        self.progress.hand_over();
        Ok(())
    }

    /// Ends the waiter thread. After it nothing but the caller uses the semaphore.
    pub(crate) fn stop(&mut self) {
        self.progress.close();
        if let Some(waiter) = self.waiter.take()
            && waiter.join().is_err()
        {
            tracing::error!("a waiter thread panicked");
        }
    }
}
