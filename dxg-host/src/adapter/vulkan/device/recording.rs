//! Recorded command buffers: whole, or in parts while the client records on.

use ash::vk;
use ash::vk::Handle;
use dxg_wire::generated::vulkan::ObjectKind;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::session::IoAddress;
use dxg_wire::stream::Entries;
use dxg_wire::vulkan::part;

use super::Device;
use super::Outcome;
use super::outcome;
use super::refused;
use super::unreadable;
use super::violation;
use crate::adapter::StreamEnd;
use crate::adapter::Windows;
use crate::adapter::vulkan::reader::Reader;
use crate::generated::vulkan::dispatch;
use crate::generated::vulkan::structs;

/// Most bytes of recorded commands in one operation.
const MAX_RECORDING_BYTES: u64 = 256 << 20;
/// A command buffer begins anew without the end of what came in parts.
const UNENDED: &str = "a recording before the end of the last one";

impl Device {
    pub(super) fn record(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "RECORD";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let (id, native) = command_buffer(&mut reader, OP)?;
        if self.unended.contains(&id) {
            return Err(violation(OP, UNENDED));
        }
        let begin = structs::dec_command_buffer_begin_info(&mut reader).map_err(unreadable(OP))?;
        let mut copied = std::mem::take(&mut self.recording);
        match reader.u32().map_err(unreadable(OP))? {
            0 => {
                let len = reader.u32().map_err(unreadable(OP))?;
                let len = usize::try_from(len).map_err(|_| violation(OP, "length"))?;
                copied.clear();
                let recorded = reader.decoder().bytes(len).map_err(|error| unreadable(OP)(error.into()))?;
                copied.extend_from_slice(recorded);
            }
            1 => {
                let address = IoAddress(reader.u64().map_err(unreadable(OP))?);
                let size_bytes = reader.u64().map_err(unreadable(OP))?;
                copy_recording(&self.around.windows, address, size_bytes, &mut copied)?;
            }
            _ => return Err(violation(OP, "kind of recording")),
        }
        reader.finish().map_err(unreadable(OP))?;

        // SAFETY:
        // - the command buffer is a live one of this device, used by this thread only; `begin` was decoded whole into
        //   memory that outlives the call.
        let begun = unsafe { self.sync.device.begin_command_buffer(native, &begin) };
        let outcome = match begun {
            Ok(()) => self.replay(native, &copied).map(|()| self.end_recording(native)),
            Err(result) => Ok(Outcome::Failed(result)),
        };
        self.recording = copied;
        outcome
    }

    pub(super) fn record_part(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "RECORD_PART";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let (id, native) = command_buffer(&mut reader, OP)?;
        let which = reader.u32().map_err(unreadable(OP))?;
        let begin = match which {
            part::FIRST => Some(structs::dec_command_buffer_begin_info(&mut reader).map_err(unreadable(OP))?),
            part::NEXT | part::LAST => None,
            _ => return Err(violation(OP, "which part")),
        };
        let address = IoAddress(reader.u64().map_err(unreadable(OP))?);
        let size_bytes = reader.u64().map_err(unreadable(OP))?;
        reader.finish().map_err(unreadable(OP))?;
        let mut copied = std::mem::take(&mut self.recording);
        copy_recording(&self.around.windows, address, size_bytes, &mut copied)?;

        if let Some(begin) = begin {
            if !self.unended.insert(id) {
                return Err(violation(OP, UNENDED));
            }
            // SAFETY:
            // - the command buffer is a live one of this device, used by this thread only; `begin` was decoded whole into
            //   memory that outlives the call.
            if let Err(result) = unsafe { self.sync.device.begin_command_buffer(native, &begin) } {
                self.recording = copied;
                return Ok(Outcome::Failed(result));
            }
        } else if !self.unended.contains(&id) {
            return Err(violation(OP, "a part without the first one"));
        }
        let outcome = self.replay(native, &copied).map(|()| match which {
            part::LAST => {
                self.unended.remove(&id);
                self.end_recording(native)
            }
            _ => Outcome::Done,
        });
        self.recording = copied;
        outcome
    }

    pub(super) fn record_abandon(&mut self, body: &[u8]) -> Result<Outcome, StreamEnd> {
        const OP: &str = "RECORD_ABANDON";
        let mut reader = Reader::new(body, &self.bump, &self.objects);
        let (id, native) = command_buffer(&mut reader, OP)?;
        reader.finish().map_err(unreadable(OP))?;
        if !self.unended.remove(&id) {
            return Err(violation(OP, "no recording in parts"));
        }
        // SAFETY:
        // - the command buffer is a live one of this device that is not submitted, used by this thread only; the client
        //   resets it itself, so its pool allows that.
        let reset =
            unsafe { self.sync.device.reset_command_buffer(native, vk::CommandBufferResetFlags::empty()) };
        Ok(outcome(reset))
    }

    /// After an operation with which recordings in parts may have ended.
    pub(super) fn forget_recordings(&mut self, op: VkOp, body: &[u8]) -> Result<(), StreamEnd> {
        if self.unended.is_empty() {
            return Ok(());
        }
        if op == VkOp::RESET_COMMAND_POOL {
            let mut reader = Reader::new(body, &self.bump, &self.objects);
            let pool = reader.handle(ObjectKind::COMMAND_POOL).map_err(unreadable("vkResetCommandPool"))?;
            for id in self.objects.children(ObjectKind::COMMAND_BUFFER, pool) {
                self.unended.remove(id);
            }
            return Ok(());
        }
        let objects = &self.objects;
        self.unended.retain(|id| objects.lookup(ObjectKind::COMMAND_BUFFER, *id).is_ok());
        Ok(())
    }

    fn replay(&mut self, native: vk::CommandBuffer, recorded: &[u8]) -> Result<(), StreamEnd> {
        for entry in Entries::new(recorded) {
            let entry = entry.map_err(|_| violation("RECORD", "malformed entry"))?;
            if entry.reply.is_some() {
                return Err(violation("RECORD", "a recorded command with reply"));
            }
            self.bump.reset();
            let op = VkOp(entry.header.opcode);
            let mut reader = Reader::new(entry.body, &self.bump, &self.objects);
            dispatch::dispatch_cmd(&self.fns, native, op, &mut reader)
                .map_err(|error| refused(op, &error))?;
        }
        Ok(())
    }

    fn end_recording(&self, native: vk::CommandBuffer) -> Outcome {
        // SAFETY:
        // - the command buffer is a live one of this device in the recording state, used by this thread only.
        outcome(unsafe { self.sync.device.end_command_buffer(native) })
    }
}

/// The command buffer that an operation names first, with its id.
fn command_buffer(
    reader: &mut Reader<'_, '_>,
    op: &'static str,
) -> Result<(u64, vk::CommandBuffer), StreamEnd> {
    let id = reader.u64().map_err(unreadable(op))?;
    let native = reader.find(ObjectKind::COMMAND_BUFFER, id).map_err(unreadable(op))?;
    Ok((id, vk::CommandBuffer::from_raw(native)))
}

/// Fills `copied` with recorded commands out of the client's memory.
fn copy_recording(
    windows: &Windows,
    address: IoAddress,
    size_bytes: u64,
    copied: &mut Vec<u8>,
) -> Result<(), StreamEnd> {
    const OP: &str = "RECORD";
    if size_bytes > MAX_RECORDING_BYTES {
        return Err(violation(OP, "recording is too long"));
    }
    let memory =
        windows.resolve(address, size_bytes).ok_or_else(|| violation(OP, "no window at the recording"))?;
    copied.resize(memory.len(), 0);
    memory.copy_out(0, copied).map_err(|_| violation(OP, "recording"))
}
