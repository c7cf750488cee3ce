//! The loop of a CUDA stream: takes entries in order, has them checked and executed, and answers.
//!
//! *Why.* What executes commands differs, the CPU engine or a driver of the host; that bytes are read once and checked before
//! anything else sees them does not.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dxg_wire::codec::Encoder;
use dxg_wire::spin::Spin;
use dxg_wire::stream::Consumer;
use dxg_wire::stream::Entries;
use dxg_wire::stream::Entry;
use dxg_wire::stream::Idle;
use dxg_wire::stream::Next;
use dxg_wire::stream::OP_INDIRECT;

use super::super::StreamEnd;
use super::super::Windows;
use super::super::answer::Answer;
use super::super::answer::copy_indirect;
use super::validate;
use super::validate::Command;
use crate::failure::Violation;

/// How long the thread looks at the ring after the last entry before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// How a command is answered.
pub(super) enum Done {
    /// With these bytes, where an answer is wanted.
    Answer(Encoder),
    /// By somebody else.
    Later,
}

/// What executes the commands of a stream.
pub(super) trait Commands {
    /// Executes one command. Whoever answers later takes the place of the answer.
    ///
    /// # Errors
    /// When no honest guest sends it.
    fn execute(&mut self, command: Command, answer: &mut Option<Answer>) -> Result<Done, Violation>;
}

/// Serves a stream until the client closes it.
///
/// # Errors
/// Why it ended early.
pub(super) fn run(
    consumer: &mut Consumer,
    windows: &Windows,
    closing: &AtomicBool,
    commands: &mut impl Commands,
) -> Result<(), StreamEnd> {
    let mut scratch = Vec::new();
    let mut indirect = Vec::new();
    loop {
        let mut since = None;
        let next = consumer.next(&mut scratch, &mut || {
            if closing.load(Ordering::Acquire) {
                Idle::Stop
            } else if since.get_or_insert_with(Spin::begin).again(SPIN) {
                Idle::Busy
            } else {
                Idle::Sleep
            }
        });
        match next {
            Ok(Next::Entry(_)) => {}
            Ok(Next::Closed) => return Ok(()),
            Err(error) => {
                tracing::debug!(%error, "broken stream");
                return Err(Violation::new("stream", "broken ring").into());
            }
        }
        let entry = Entry::parse(&scratch).map_err(|_| Violation::new("stream", "malformed entry"))?;
        if entry.header.opcode == OP_INDIRECT {
            copy_indirect(windows, &entry, &mut indirect)?;
            for entry in Entries::new(&indirect) {
                let entry = entry.map_err(|_| Violation::new("INDIRECT", "malformed entry"))?;
                take(windows, commands, &entry)?;
            }
        } else {
            take(windows, commands, &entry)?;
        }
        consumer.done();
    }
}

fn take(windows: &Windows, commands: &mut impl Commands, entry: &Entry<'_>) -> Result<(), Violation> {
    let opcode = entry.header.opcode;
    let command = validate::command(opcode, entry.body)?;
    let mut answer = entry.reply.map(|request| Answer::new(windows, request)).transpose()?;
    if answer.is_none() && validate::is_question(opcode) {
        return Err(Violation::new(validate::name(opcode), "no place for the answer"));
    }
    match commands.execute(command, &mut answer)? {
        Done::Later => Ok(()),
        Done::Answer(reply) => match answer {
            Some(answer) if !answer.give(reply.as_slice()) => {
                Err(Violation::new("reply", "slot takes nothing"))
            }
            _ => Ok(()),
        },
    }
}
