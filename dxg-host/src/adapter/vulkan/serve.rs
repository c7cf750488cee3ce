//! The loop of a stream: takes entries, has them executed, answers, and watches completion while there are none.
//!
//! *Why.* One thread per stream does all of it, so that the way from the end of the device's work to the guest's word is
//! one look and one store while anybody is in a hurry. After a while without commands the thread sleeps and waiter
//! threads watch the device.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ash::vk;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::Reason;
use dxg_wire::spin;
use dxg_wire::spin::Spin;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::Entries;
use dxg_wire::stream::Entry;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::OP_INDIRECT;
use dxg_wire::vulkan::op;

use super::super::StreamEnd;
use super::super::Windows;
use super::super::answer::Answer;
use super::super::answer::copy_indirect;
use super::completion::Pending;
use super::device::Outcome;
use super::lost::Lost;
use crate::failure::Fault;
use crate::failure::Violation;

/// How long the thread looks at the ring after the last command before it sleeps.
const SPIN: Duration = Duration::from_micros(50);
/// The same while the device works: a driver that wakes its own threads takes as long as [`SPIN`] for nothing at all, and a
/// hand-over just before the end costs two more wake-ups.
const SPIN_FOR_WORK: Duration = Duration::from_micros(100);
/// How long the thread sleeps in the driver before it leaves that to a waiter thread. Only where the cores are crowded and
/// looking is no use: it saves two wake-ups of threads, at the price that a command that comes meanwhile waits so long at most.
const WAIT_IN_DRIVER: Duration = Duration::from_micros(200);
/// Losses that one worker tells everybody of.
const LOUD_LOSSES: u32 = 4;

/// Whether an operation is left to be executed.
#[derive(Debug)]
pub(crate) enum Start {
    /// Another thread executes and answers it.
    Taken,
    /// It is for [`Server::execute`].
    Left(Answer),
}

/// What executes the entries of a stream.
pub(crate) trait Server {
    /// Has an operation executed and answered by another thread, where that is worth it.
    ///
    /// # Errors
    /// When the stream must end.
    fn start(&mut self, _op: u16, _body: &[u8], answer: Answer) -> Result<Start, StreamEnd> {
        Ok(Start::Left(answer))
    }

    /// Executes one operation, completely.
    ///
    /// # Errors
    /// When the stream must end.
    fn execute(&mut self, op: u16, body: &[u8], reply: Option<&mut Encoder>) -> Result<Outcome, StreamEnd>;

    /// Looks once at what runs on the device.
    fn poll(&mut self) -> Pending;

    /// Sleeps until what runs on the device comes further, for a time at most, and publishes it.
    fn wait(&mut self, timeout: Duration);

    /// The thread is about to sleep.
    ///
    /// # Errors
    /// When nobody could watch the device meanwhile.
    fn rest(&mut self) -> Result<(), Fault>;
}

/// What a stream works with.
pub(crate) struct Loop<'a> {
    pub(crate) windows: &'a Windows,
    pub(crate) closing: &'a AtomicBool,
    pub(crate) lost: &'a Arc<Lost>,
}

impl Loop<'_> {
    /// Serves until the client closes the stream.
    ///
    /// # Errors
    /// Why it ended early.
    pub(crate) fn run(&self, consumer: &mut Consumer, server: &mut impl Server) -> Result<(), StreamEnd> {
        let mut scratch = Vec::new();
        let mut indirect = Vec::new();
        let mut reply = Encoder::new();
        loop {
            let mut since = None;
            let mut waited = false;
            let mut failed = None;
            let next = consumer.next(&mut scratch, &mut || {
                if self.closing.load(Ordering::Acquire) || self.lost.is_new() {
                    return Idle::Stop;
                }
                let pending = server.poll();
                let patience = match pending {
                    Pending::Work => SPIN_FOR_WORK,
                    Pending::Nothing => SPIN,
                };
                if since.get_or_insert_with(Spin::begin).again(patience) {
                    return Idle::Busy;
                }
                if pending == Pending::Work && !waited && spin::is_crowded() {
                    waited = true;
                    server.wait(WAIT_IN_DRIVER);
                    return Idle::Busy;
                }
                match server.rest() {
                    Ok(()) => Idle::Sleep,
                    Err(fault) => {
                        failed = Some(fault);
                        Idle::Stop
                    }
                }
            });
            if let Some(fault) = failed {
                return Err(fault.into());
            }
            match next {
                Ok(Next::Entry(_)) => {}
                Ok(Next::Closed) => match self.lost.take() {
                    Some(result) => {
                        set_status(consumer, "waiting for the device", result);
                        continue;
                    }
                    None => return Ok(()),
                },
                Err(error) => {
                    tracing::debug!(%error, "broken stream");
                    return Err(Violation::new("stream", "broken ring").into());
                }
            }
            let entry = Entry::parse(&scratch).map_err(|_| Violation::new("stream", "malformed entry"))?;
            if entry.header.opcode == OP_INDIRECT {
                copy_indirect(self.windows, &entry, &mut indirect)?;
                for entry in Entries::new(&indirect) {
                    let entry = entry.map_err(|_| Violation::new("INDIRECT", "malformed entry"))?;
                    self.serve(consumer, server, &entry, &mut reply)?;
                }
            } else {
                self.serve(consumer, server, &entry, &mut reply)?;
            }
            consumer.done();
        }
    }

    fn serve(
        &self,
        consumer: &mut Consumer,
        server: &mut impl Server,
        entry: &Entry<'_>,
        reply: &mut Encoder,
    ) -> Result<(), StreamEnd> {
        let op = entry.header.opcode;
        let mut answer = None;
        if let Some(request) = entry.reply {
            let place = Answer::new(self.windows, request)?;
            match server.start(op, entry.body, place)? {
                Start::Taken => return Ok(()),
                Start::Left(place) => answer = Some(place),
            }
        }
        reply.clear();
        let outcome = server.execute(op, entry.body, answer.is_some().then_some(&mut *reply))?;
        if let Outcome::Failed(result) = outcome {
            set_status(consumer, name(entry.header.opcode), result);
        }
        match answer {
            Some(answer) if !answer.give(reply.as_slice()) => {
                Err(Violation::new("reply", "slot takes nothing").into())
            }
            _ => Ok(()),
        }
    }
}

fn name(opcode: u16) -> &'static str {
    op::name(opcode).or_else(|| VkOp(opcode).name()).unwrap_or("unknown operation")
}

/// Makes a failure that has no answer the stream's status.
fn set_status(consumer: &mut Consumer, op: &'static str, result: vk::Result) {
    // A client that makes devices to lose them does not fill the log.
    static LOSSES: AtomicU32 = AtomicU32::new(0);
    if LOSSES.fetch_add(1, Ordering::Relaxed) < LOUD_LOSSES {
        tracing::warn!(op, ?result, "failed without an answer: the device is lost for its client");
    } else {
        tracing::debug!(op, ?result, "failed without an answer: the device is lost for its client");
    }
    consumer.set_status(Reason::DEVICE_LOST.0, result.as_raw());
}

#[cfg(test)]
mod tests {
    use dxg_wire::generated::vulkan::VkOp;
    use dxg_wire::vulkan::op;

    #[test]
    fn operations_of_both_kinds_have_names() {
        assert_eq!(super::name(op::RECORD_PART), "RECORD_PART");
        assert_eq!(super::name(VkOp::CREATE_BUFFER.0), "vkCreateBuffer");
        assert_eq!(super::name(u16::MAX), "unknown operation");
        assert!(op::ALL.iter().all(|op| op::name(*op).is_some()));
    }
}
