//! Submitting work to contexts and hardware queues.

use std::sync::Arc;

use dxg_ioctl::RawHandle;
use dxg_wire::messages::submit::SubmitCommandMessage;
use dxg_wire::messages::submit::SubmitCommandToHwQueueMessage;

use super::Session;
use super::answer::Answer;
use super::answer::INVALID;
use super::answer::NO_MEMORY;
use super::answer::done;
use super::engine::Task;
use super::engine::Work;
use super::model::Context;
use super::model::HwQueue;
use super::model::SyncHandle;
use crate::failure::Refusal;
use crate::objects::timeline::Effect;
use crate::objects::timeline::Item;
use crate::objects::timeline::Point;

/// SUBMITCOMMAND: the same commands on each context that is named.
pub(super) fn command(session: &Session, process: RawHandle, message: &SubmitCommandMessage) -> Answer {
    let args = &message.command.args;
    let count = usize::try_from(args.broadcast_context_count).map_err(|_| INVALID)?;
    let contexts =
        args.broadcast_context.get(..count).filter(|contexts| !contexts.is_empty()).ok_or(INVALID)?;
    if usize::try_from(args.num_primaries).is_ok_and(|count| count > args.written_primaries.len()) {
        return Err(INVALID.into());
    }
    let mut objects = session.objects.lock();
    let owner = process;
    let process = objects.process(process)?;
    let works = contexts
        .iter()
        .map(|context| {
            let Context { queue, device, .. } = *process.get::<Context>(*context)?;
            process.active_device(device)?;
            let space = Arc::clone(&process.space);
            let task = Task::Commands { address: args.command_buffer.0, size_bytes: args.command_length };
            Ok((queue, Work { process: owner, device, space, task }))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    drop(objects);
    session
        .engine
        .change(|timeline| {
            works.into_iter().try_for_each(|(queue, work)| timeline.push(queue, Item::Work(work)))
        })
        .map_err(|_| NO_MEMORY)?;
    done()
}

/// SUBMITCOMMANDTOHWQUEUE: with the value that the queue's progress fence gets.
pub(super) fn to_hw_queue(
    session: &Session,
    process: RawHandle,
    message: &SubmitCommandToHwQueueMessage,
) -> Answer {
    let args = &message.command.args;
    let mut objects = session.objects.lock();
    let owner = process;
    let process = objects.process(process)?;
    let HwQueue { queue, device, fence, .. } = *process.get::<HwQueue>(args.hwqueue)?;
    process.active_device(device)?;
    let fence = process.get::<SyncHandle>(fence)?.core.sync;
    let space = Arc::clone(&process.space);
    drop(objects);
    let task = Task::Commands { address: args.command_buffer.0, size_bytes: args.command_length };
    let work = Work { process: owner, device, space, task };
    let reached = Effect::Points(vec![Point { sync: fence, value: args.hwqueue_progress_fence_id.0 }]);
    session
        .engine
        .change(|timeline| {
            timeline.push(queue, Item::Work(work))?;
            timeline.push_signal(&[queue], &reached)
        })
        .map_err(|_| NO_MEMORY)?;
    done()
}
