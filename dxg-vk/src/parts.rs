//! Parts of a long recording: the host has the first ones while the program records the next.
//!
//! *Invariants.* The host gets a first part, any number of next ones and a last one, or is told that there will be none. After a
//! part that could not be sent none is, for it would not follow on what the host has.

use ash::vk;
use dxg_wire::codec::Encoder;
use dxg_wire::generated::vulkan::VkOp;
use dxg_wire::vulkan::op;
use dxg_wire::vulkan::part;

use crate::ffi::guard::contain;
use crate::stream::Stream;

/// What the host has of a recording that is not ended.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    has_first: bool,
    /// Why the next one could not be sent: the rest of the recording is lost.
    failure: Option<vk::Result>,
}

/// A recording, as far as it was not sent.
#[derive(Debug)]
pub(crate) struct Recording<'a> {
    /// The command buffer.
    pub(crate) id: u64,
    /// `VkCommandBufferBeginInfo`, encoded.
    pub(crate) begin: &'a Encoder,
    /// The entries; none after they were sent.
    pub(crate) entries: &'a mut Encoder,
}

impl Parts {
    /// Sends what there is as one part, if there was no failure before. The end of the recording says what was the matter.
    pub(crate) fn send(&mut self, stream: &Stream, recording: Recording<'_>) {
        if self.failure.is_some() {
            recording.entries.clear();
            return;
        }
        let which = if self.has_first { part::NEXT } else { part::FIRST };
        // There is nothing that takes the failure at once.
        let _ = self.send_as(stream, recording, which);
    }

    /// Ends a recording of which the host has parts; `None` where it has none.
    pub(crate) fn end(
        &mut self,
        stream: &Stream,
        recording: Recording<'_>,
    ) -> Option<Result<(), vk::Result>> {
        if let Some(failure) = self.failure {
            // Until the command buffer is reset, by itself or with its pool, the host has what came before.
            return Some(Err(failure));
        }
        self.has_first.then(|| {
            self.send_as(stream, recording, part::LAST)?;
            *self = Self::default();
            Ok(())
        })
    }

    /// Gives up what the host has.
    ///
    /// # Errors
    /// Device lost.
    pub(crate) fn abandon(&mut self, stream: &Stream, id: u64) -> Result<(), vk::Result> {
        if std::mem::take(self).has_first {
            stream.post_later(VkOp(op::RECORD_ABANDON), |encoder| encoder.u64(id))?;
        }
        Ok(())
    }

    /// The host has nothing any more: the pool was reset.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    fn send_as(&mut self, stream: &Stream, recording: Recording<'_>, which: u32) -> Result<(), vk::Result> {
        let Recording { id, begin, entries } = recording;
        let sent = contain(|| {
            let piece = stream.stage(entries.as_slice())?;
            let position = stream.post(VkOp(op::RECORD_PART), |encoder| {
                encoder.u64(id);
                encoder.u32(which);
                if which == part::FIRST {
                    encoder.bytes(begin.as_slice());
                }
                encoder.u64(piece.block.io_base().0 + piece.offset_bytes);
                encoder.u64(entries.len() as u64);
            })?;
            stream.heap.give(piece, position);
            Ok(())
        });
        entries.clear();
        match sent {
            Ok(()) => self.has_first = true,
            Err(failure) => self.failure = Some(failure),
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::fake_host::Act;
    use crate::fake_host::FakeHost;

    const ID: u64 = 1 << 32 | 1;
    const NO_MEMORY: vk::Result = vk::Result::ERROR_OUT_OF_DEVICE_MEMORY;
    /// Entries that fit no block that is there already.
    const LARGE_BYTES: usize = 2 << 20;

    /// Opcodes and second words of what the host got: which part it is.
    type Log = Arc<Mutex<Vec<(u16, u32)>>>;

    fn host() -> (FakeHost, Stream, Log) {
        let log = Log::default();
        let seen = Arc::clone(&log);
        let (host, stream) = FakeHost::start(4096, move |op, body| {
            let which = body.get(8..12).map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()));
            seen.lock().push((op, which));
            Act::Reply(Vec::new())
        });
        (host, stream, log)
    }

    fn entries() -> Encoder {
        let mut encoder = Encoder::new();
        encoder.bytes(&vec![0; LARGE_BYTES]);
        encoder
    }

    fn with<R>(run: impl FnOnce(Recording<'_>) -> R) -> R {
        run(Recording { id: ID, begin: &Encoder::new(), entries: &mut entries() })
    }

    #[test]
    fn recording_goes_as_a_first_next_ones_and_a_last_part() {
        let (_host, stream, log) = host();
        let mut parts = Parts::default();
        with(|recording| parts.send(&stream, recording));
        with(|recording| parts.send(&stream, recording));
        assert_eq!(with(|recording| parts.end(&stream, recording)), Some(Ok(())));
        assert_eq!(with(|recording| parts.end(&stream, recording)), None);
        stream.drain().unwrap();
        assert_eq!(*log.lock(), [part::FIRST, part::NEXT, part::LAST].map(|which| (op::RECORD_PART, which)));
    }

    #[test]
    fn first_part_without_memory_is_the_result_of_the_end_and_the_host_hears_of_nothing() {
        let (host, stream, log) = host();
        let mut parts = Parts::default();
        host.refuse_leases();
        with(|recording| parts.send(&stream, recording));
        host.grant_leases();
        with(|recording| parts.send(&stream, recording));
        assert_eq!(with(|recording| parts.end(&stream, recording)), Some(Err(NO_MEMORY)));
        parts.abandon(&stream, ID).unwrap();
        stream.drain().unwrap();
        assert_eq!(*log.lock(), []);
        // The next recording is a new one.
        with(|recording| parts.send(&stream, recording));
        assert_eq!(with(|recording| parts.end(&stream, recording)), Some(Ok(())));
        stream.drain().unwrap();
        assert_eq!(log.lock().len(), 2);
    }

    #[test]
    fn later_part_without_memory_leaves_the_host_with_what_it_has_until_the_reset() {
        let (host, stream, log) = host();
        let mut parts = Parts::default();
        with(|recording| parts.send(&stream, recording));
        host.refuse_leases();
        with(|recording| parts.send(&stream, recording));
        host.grant_leases();
        with(|recording| parts.send(&stream, recording));
        assert_eq!(with(|recording| parts.end(&stream, recording)), Some(Err(NO_MEMORY)));
        parts.abandon(&stream, ID).unwrap();
        stream.drain().unwrap();
        assert_eq!(*log.lock(), [(op::RECORD_PART, part::FIRST), (op::RECORD_ABANDON, 0)]);
    }

    #[test]
    fn last_part_without_memory_is_the_result_of_the_end() {
        let (host, stream, log) = host();
        let mut parts = Parts::default();
        with(|recording| parts.send(&stream, recording));
        host.refuse_leases();
        assert_eq!(with(|recording| parts.end(&stream, recording)), Some(Err(NO_MEMORY)));
        host.grant_leases();
        parts.forget();
        parts.abandon(&stream, ID).unwrap();
        stream.drain().unwrap();
        assert_eq!(*log.lock(), [(op::RECORD_PART, part::FIRST)]);
    }
}
