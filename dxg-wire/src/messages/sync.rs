//! Waits and signals. Mind the order of the lists: handles first in the CPU wait, values first in the GPU wait.

use std::mem::offset_of;

use dxg_ioctl::FenceValue;
use dxg_ioctl::RawHandle;

use crate::messages::SignalSyncObjectCommand;
use crate::messages::WaitForSyncObjectFromCpuCommand;
use crate::messages::WaitForSyncObjectFromGpuCommand;
use crate::messages::codec::DecodeError;
use crate::messages::codec::EncodeError;
use crate::messages::codec::MAX_COMMAND_BYTES;
use crate::messages::codec::Message;
use crate::messages::codec::Reader;
use crate::messages::codec::Writer;
use crate::messages::codec::count_of;

/// A fence and the value to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FencePoint {
    /// The sync object.
    pub object: RawHandle,
    /// The value.
    pub value: FenceValue,
}

fn objects(points: &[FencePoint]) -> Vec<RawHandle> {
    points.iter().map(|point| point.object).collect()
}

fn values(points: &[FencePoint]) -> Vec<FenceValue> {
    points.iter().map(|point| point.value).collect()
}

fn zip(objects: Vec<RawHandle>, values: Vec<FenceValue>) -> Vec<FencePoint> {
    objects.into_iter().zip(values).map(|(object, value)| FencePoint { object, value }).collect()
}

/// WAITFORSYNCOBJECTFROMCPU. The answer only says that the wait is known; SIGNALGUESTEVENT ends it.
#[derive(Clone, Debug)]
pub struct WaitForSyncObjectFromCpuMessage {
    /// The struct. Its count is set by `encode`.
    pub command: WaitForSyncObjectFromCpuCommand,
    /// What to wait for: all of them, or any by the flags.
    pub points: Vec<FencePoint>,
}

impl Message for WaitForSyncObjectFromCpuMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut command = self.command;
        command.object_count = count_of(&self.points);
        Writer::new(&command, size_of::<WaitForSyncObjectFromCpuCommand>(), MAX_COMMAND_BYTES)
            .list(&objects(&self.points))
            .list(&values(&self.points))
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: WaitForSyncObjectFromCpuCommand =
            reader.head(size_of::<WaitForSyncObjectFromCpuCommand>())?;
        let objects = reader.list(command.object_count)?;
        let values = reader.list(command.object_count)?;
        Ok(Self { command, points: zip(objects, values) })
    }
}

/// WAITFORSYNCOBJECTFROMGPU. `context` may be a hardware queue.
#[derive(Clone, Debug)]
pub struct WaitForSyncObjectFromGpuMessage {
    /// The struct. Its count is set by `encode`.
    pub command: WaitForSyncObjectFromGpuCommand,
    /// What the queue waits for.
    pub points: Vec<FencePoint>,
}

impl Message for WaitForSyncObjectFromGpuMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut command = self.command;
        command.object_count = count_of(&self.points);
        let tail_at = offset_of!(WaitForSyncObjectFromGpuCommand, fence_values);
        Writer::new(&command, tail_at, MAX_COMMAND_BYTES)
            .list(&values(&self.points))
            .list(&objects(&self.points))
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: WaitForSyncObjectFromGpuCommand =
            reader.head(offset_of!(WaitForSyncObjectFromGpuCommand, fence_values))?;
        let values = reader.list(command.object_count)?;
        let objects = reader.list(command.object_count)?;
        Ok(Self { command, points: zip(objects, values) })
    }
}

/// SIGNALSYNCOBJECT, in all its forms: from the CPU, from contexts or hardware queues, or of a CPU event.
#[derive(Clone, Debug)]
pub struct SignalSyncObjectMessage {
    /// The struct. Its counts are set by `encode`.
    pub command: SignalSyncObjectCommand,
    /// What to signal; empty when a CPU event is signalled.
    pub objects: Vec<RawHandle>,
    /// The contexts or hardware queues that signal; empty in a signal from the CPU.
    pub contexts: Vec<RawHandle>,
    /// A value for each object. Empty in the legacy form, where the struct has the one value, and for a CPU event.
    pub fence_values: Vec<FenceValue>,
}

impl Message for SignalSyncObjectMessage {
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let (actual, expected) = (self.fence_values.len(), self.objects.len());
        if actual != 0 && actual != expected {
            return Err(EncodeError::Count { what: "fence_values", actual, expected });
        }
        let mut command = self.command;
        command.object_count = count_of(&self.objects);
        command.context_count = count_of(&self.contexts);
        Writer::new(&command, size_of::<SignalSyncObjectCommand>(), MAX_COMMAND_BYTES)
            .list(&self.objects)
            .list(&self.contexts)
            .list(&self.fence_values)
            .finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes)?;
        let command: SignalSyncObjectCommand = reader.head(size_of::<SignalSyncObjectCommand>())?;
        let objects = reader.list(command.object_count)?;
        let contexts = reader.list(command.context_count)?;
        // Nothing in the struct tells whether values follow; a ring adds less than one value of padding.
        let has_values = reader.remaining() >= size_of::<FenceValue>();
        let fence_values = reader.list(if has_values { command.object_count } else { 0 })?;
        Ok(Self { command, objects, contexts, fence_values })
    }
}
