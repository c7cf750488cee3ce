//! Streams, whose work is done in order, and events, which tell when.

use super::Context;
use super::api::Error;
use super::api::RawEvent;
use super::api::RawStream;

/// `CU_STREAM_NON_BLOCKING`: the stream does not wait for work that was given to no stream.
const NON_BLOCKING: u32 = 1;

pub(super) struct Stream<'a> {
    context: &'a Context,
    pub(super) raw: RawStream,
}

impl<'a> Stream<'a> {
    pub(super) fn new(context: &'a Context) -> Result<Self, Error> {
        let mut raw = RawStream::NULL;
        // SAFETY: the place to write to is alive.
        let done = unsafe { (context.api.create_stream)(&raw mut raw, NON_BLOCKING) };
        context.api.check("cuStreamCreate", done)?;
        Ok(Self { context, raw })
    }

    /// Waits until all work is done. What went wrong in a kernel is said here.
    pub(super) fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the stream was made.
        self.context.api.check("cuStreamSynchronize", unsafe { (self.context.api.synchronize)(self.raw) })
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        // SAFETY: the stream was made.
        let _ = unsafe { (self.context.api.destroy_stream)(self.raw) };
    }
}

pub(super) struct Event<'a> {
    context: &'a Context,
    raw: RawEvent,
}

impl<'a> Event<'a> {
    pub(super) fn new(context: &'a Context) -> Result<Self, Error> {
        let mut raw = RawEvent::NULL;
        // SAFETY: the place to write to is alive.
        context.api.check("cuEventCreate", unsafe { (context.api.create_event)(&raw mut raw, 0) })?;
        Ok(Self { context, raw })
    }

    /// Happens when the work before it on the stream is done.
    pub(super) fn record(&self, stream: &Stream<'_>) -> Result<(), Error> {
        // SAFETY: both were made in the same context.
        let done = unsafe { (self.context.api.record)(self.raw, stream.raw) };
        self.context.api.check("cuEventRecord", done)
    }

    /// How long after an earlier event this one happened, in seconds.
    pub(super) fn seconds_since(&self, earlier: &Self) -> Result<f64, Error> {
        let mut milliseconds = 0.0;
        // SAFETY: the place to write to is alive and both events were made.
        let done = unsafe { (self.context.api.elapsed)(&raw mut milliseconds, earlier.raw, self.raw) };
        self.context.api.check("cuEventElapsedTime", done)?;
        Ok(f64::from(milliseconds) / 1e3)
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: the event was made.
        let _ = unsafe { (self.context.api.destroy_event)(self.raw) };
    }
}
