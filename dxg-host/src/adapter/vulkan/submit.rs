//! Submissions: from the stream's batches to the driver's, with this host's own signals among them.
//!
//! *Why.* The guest sees completion in shared memory. Every batch that signals a timeline semaphore, and the last batch,
//! also signals the queue's own timeline; what its points mean is kept as milestones. A batch by itself suffices:
//! an application may wait for a semaphore of the first batch before it lets the second one run.

use std::ops::Range;
use std::sync::Arc;

use ash::vk;
use ash::vk::Handle;
use dxg_wire::cell::FenceCell;
use dxg_wire::generated::vulkan::ObjectKind;

use super::super::cell::Cell;
use super::completion::Milestone;
use super::feedback::Feedback;
use super::native::SubmitPath;
use super::native::SyncFns;
use super::queue::Queue;
use super::reader::ReadError;
use super::reader::Reader;
use super::shared::OwnSignal;
use super::shared::Shared;
use super::table::Table;

/// One batch: ranges of the arrays beside it.
struct Batch {
    flags: vk::SubmitFlags,
    waits: Range<usize>,
    command_buffers: Range<usize>,
    signals: Range<usize>,
}

/// A submission on its way to the driver. Kept between submissions for its memory.
#[derive(Default)]
pub(crate) struct Submission {
    batches: Vec<Batch>,
    waits: Vec<vk::SemaphoreSubmitInfo<'static>>,
    command_buffers: Vec<vk::CommandBufferSubmitInfo<'static>>,
    signals: Vec<vk::SemaphoreSubmitInfo<'static>>,
    milestones: Vec<Milestone>,
    awaited: Vec<(FenceCell, vk::Semaphore, u64)>,
}

/// What a device knows of semaphores with values, by id.
pub(crate) struct Timelines<'a> {
    /// The program's own timeline semaphores.
    pub(crate) feedback: &'a Table<Feedback>,
    /// Those that others have too.
    pub(crate) shared: &'a Table<Shared>,
}

/// Smallest encoding of a batch, of a semaphore and of a command buffer: what a count is checked against.
const BATCH_BYTES: usize = 16;
const SEMAPHORE_BYTES: usize = 24;
const COMMAND_BUFFER_BYTES: usize = 8;

impl Submission {
    /// Reads the batches of a submission; the queue and sequence before them are read already.
    ///
    /// # Errors
    /// When the bytes are no submission or name objects that are not there.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader<'_, '_>,
        timelines: &Timelines<'_>,
        queue: &mut Queue,
        sequence: u64,
    ) -> Result<(), ReadError> {
        let Timelines { feedback, shared } = timelines;
        self.clear();
        // A value that was waited for is reached when the batch is complete, also where the queue that raised it has not
        // been looked at since.
        let mut waited = Vec::new();
        let mut waits_for_timelines = false;
        let batch_count = count(reader, BATCH_BYTES)?;
        for index in 0..batch_count {
            let flags = vk::SubmitFlags::from_raw(reader.u32()?);
            let waits = self.waits.len();
            for _ in 0..count(reader, SEMAPHORE_BYTES)? {
                let (wait, id) = semaphore(reader)?;
                if let Ok(shared) = shared.get(id) {
                    self.wait_for_shared(shared, wait);
                    continue;
                }
                if let Ok(feedback) = feedback.get(id) {
                    waits_for_timelines = true;
                    feedback.will_wait(wait.value);
                    waited.push((Arc::clone(&feedback.cell), wait.value));
                }
                self.waits.push(wait);
            }
            let command_buffers = self.command_buffers.len();
            for _ in 0..count(reader, COMMAND_BUFFER_BYTES)? {
                let native = vk::CommandBuffer::from_raw(reader.handle(ObjectKind::COMMAND_BUFFER)?);
                self.command_buffers.push(vk::CommandBufferSubmitInfo::default().command_buffer(native));
            }
            let signals = self.signals.len();
            let mut milestone = Vec::new();
            let mut own = Vec::new();
            for _ in 0..count(reader, SEMAPHORE_BYTES)? {
                let (signal, id) = semaphore(reader)?;
                if let Ok(shared) = shared.get(id) {
                    milestone.push((Arc::clone(&shared.cell), signal.value));
                    own.push((shared, signal.value));
                    continue;
                }
                if let Ok(feedback) = feedback.get(id) {
                    feedback.will_signal(signal.value);
                    milestone.push((Arc::clone(&feedback.cell), signal.value));
                }
                self.signals.push(signal);
            }
            let is_last = index.saturating_add(1) == batch_count;
            if is_last || !milestone.is_empty() {
                waited.append(&mut milestone);
                let point = self.own_signal(queue, std::mem::take(&mut waited), is_last.then_some(sequence));
                let timeline = queue.progress.timeline().semaphore();
                own.into_iter().for_each(|(shared, value)| {
                    shared.will_signal(OwnSignal { value, timeline, point });
                });
            }
            self.batches.push(Batch {
                flags,
                waits: waits..self.waits.len(),
                command_buffers: command_buffers..self.command_buffers.len(),
                signals: signals..self.signals.len(),
            });
        }
        if self.batches.is_empty() {
            self.own_signal(queue, Vec::new(), Some(sequence));
            self.batches.push(Batch {
                flags: vk::SubmitFlags::empty(),
                waits: 0..0,
                command_buffers: 0..0,
                signals: 0..self.signals.len(),
            });
        }
        if waits_for_timelines {
            queue.note_wait();
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.batches.clear();
        self.waits.clear();
        self.command_buffers.clear();
        self.signals.clear();
        self.milestones.clear();
        self.awaited.clear();
    }

    /// Waits for a semaphore that others signal too: not at all for a value that is reached, for the queue where this device
    /// signals it, else for its proxy.
    fn wait_for_shared(&mut self, shared: &Shared, wait: vk::SemaphoreSubmitInfo<'static>) {
        if shared.seen.value() >= wait.value {
            return;
        }
        if let Some(own) = shared.own_signal(wait.value) {
            self.waits.push(wait.semaphore(own.timeline).value(own.point));
            return;
        }
        self.awaited.push((shared.seen.clone(), shared.proxy, wait.value));
        self.waits.push(wait.semaphore(shared.proxy));
    }

    /// Values of shared semaphores that somebody must watch before this can run.
    pub(crate) fn awaited(&mut self) -> Vec<(FenceCell, vk::Semaphore, u64)> {
        std::mem::take(&mut self.awaited)
    }

    fn own_signal(
        &mut self,
        queue: &mut Queue,
        signals: Vec<(Arc<Cell>, u64)>,
        sequence: Option<u64>,
    ) -> u64 {
        let point = queue.next_point();
        self.milestones.push(Milestone { point, signals, sequence });
        self.signals.push(
            vk::SemaphoreSubmitInfo::default()
                .semaphore(queue.progress.timeline().semaphore())
                .value(point)
                .stage_mask(vk::PipelineStageFlags2::ALL_COMMANDS),
        );
        point
    }

    /// Gives what was read to the driver.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn submit(&mut self, fns: &SyncFns, queue: &Queue) -> Result<(), vk::Result> {
        match fns.submit {
            SubmitPath::Submit2(submit2) => self.submit2(submit2, queue.native),
            SubmitPath::Submit => self.submit1(&fns.device, queue.native),
        }?;
        queue.progress.submitted(self.milestones.drain(..));
        Ok(())
    }

    fn submit2(&self, submit2: vk::PFN_vkQueueSubmit2, queue: vk::Queue) -> Result<(), vk::Result> {
        let infos: Vec<vk::SubmitInfo2<'_>> = self
            .batches
            .iter()
            .map(|batch| {
                vk::SubmitInfo2::default()
                    .flags(batch.flags)
                    .wait_semaphore_infos(of(&self.waits, &batch.waits))
                    .command_buffer_infos(of(&self.command_buffers, &batch.command_buffers))
                    .signal_semaphore_infos(of(&self.signals, &batch.signals))
            })
            .collect();
        let count = u32::try_from(infos.len()).map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        // SAFETY:
        // - `infos` and all it points to live until the call returns; every handle in it is of a live object of this
        //   device, out of its tables.
        // - the queue is used by the thread of this stream only.
        unsafe { submit2(queue, count, infos.as_ptr(), vk::Fence::null()) }.result()
    }

    fn submit1(&self, device: &ash::Device, queue: vk::Queue) -> Result<(), vk::Result> {
        let handles =
            |infos: &[vk::SemaphoreSubmitInfo<'_>]| infos.iter().map(|info| info.semaphore).collect();
        let values = |infos: &[vk::SemaphoreSubmitInfo<'_>]| infos.iter().map(|info| info.value).collect();
        let waits: Vec<vk::Semaphore> = handles(&self.waits);
        let wait_values: Vec<u64> = values(&self.waits);
        let wait_stages: Vec<vk::PipelineStageFlags> =
            self.waits.iter().map(|info| stages1(info.stage_mask)).collect();
        let signals: Vec<vk::Semaphore> = handles(&self.signals);
        let signal_values: Vec<u64> = values(&self.signals);
        let command_buffers: Vec<vk::CommandBuffer> =
            self.command_buffers.iter().map(|info| info.command_buffer).collect();
        let mut timelines: Vec<vk::TimelineSemaphoreSubmitInfo<'_>> = self
            .batches
            .iter()
            .map(|batch| {
                vk::TimelineSemaphoreSubmitInfo::default()
                    .wait_semaphore_values(of(&wait_values, &batch.waits))
                    .signal_semaphore_values(of(&signal_values, &batch.signals))
            })
            .collect();
        let infos: Vec<vk::SubmitInfo<'_>> = self
            .batches
            .iter()
            .zip(&mut timelines)
            .map(|(batch, timeline)| {
                vk::SubmitInfo::default()
                    .wait_semaphores(of(&waits, &batch.waits))
                    .wait_dst_stage_mask(of(&wait_stages, &batch.waits))
                    .command_buffers(of(&command_buffers, &batch.command_buffers))
                    .signal_semaphores(of(&signals, &batch.signals))
                    .push_next(timeline)
            })
            .collect();
        // SAFETY:
        // - `infos` and all it points to live until the call returns; every handle in it is of a live object of this
        //   device, out of its tables.
        // - the queue is used by the thread of this stream only.
        unsafe { device.queue_submit(queue, &infos, vk::Fence::null()) }
    }
}

/// A range of an array that was filled together with it.
fn of<'a, T>(all: &'a [T], range: &Range<usize>) -> &'a [T] {
    all.get(range.clone()).unwrap_or_default()
}

/// Stages of the first synchronization interface; those it lacks become all commands.
fn stages1(stages: vk::PipelineStageFlags2) -> vk::PipelineStageFlags {
    match u32::try_from(stages.as_raw()) {
        Ok(0) => vk::PipelineStageFlags::TOP_OF_PIPE,
        Ok(bits) => vk::PipelineStageFlags::from_raw(bits),
        Err(_) => vk::PipelineStageFlags::ALL_COMMANDS,
    }
}

/// A count of things of at least `bytes` bytes each.
pub(crate) fn count(reader: &mut Reader<'_, '_>, bytes: usize) -> Result<usize, ReadError> {
    let count = usize::try_from(reader.u32()?).map_err(|_| ReadError::Count)?;
    match count.checked_mul(bytes) {
        Some(total) if total <= reader.decoder().remaining() => Ok(count),
        _ => Err(ReadError::Count),
    }
}

/// A semaphore to wait for or to signal, and its id.
fn semaphore(reader: &mut Reader<'_, '_>) -> Result<(vk::SemaphoreSubmitInfo<'static>, u64), ReadError> {
    let id = reader.u64()?;
    let native = vk::Semaphore::from_raw(reader.find(ObjectKind::SEMAPHORE, id)?);
    let value = reader.u64()?;
    let stages = vk::PipelineStageFlags2::from_raw(reader.u64()?);
    Ok((vk::SemaphoreSubmitInfo::default().semaphore(native).value(value).stage_mask(stages), id))
}

#[cfg(test)]
mod tests {
    use ash::vk;

    use super::stages1;

    #[test]
    fn stages_that_the_old_interface_lacks_become_all_commands() {
        assert_eq!(stages1(vk::PipelineStageFlags2::COMPUTE_SHADER), vk::PipelineStageFlags::COMPUTE_SHADER);
        assert_eq!(stages1(vk::PipelineStageFlags2::COPY), vk::PipelineStageFlags::ALL_COMMANDS);
        assert_eq!(stages1(vk::PipelineStageFlags2::NONE), vk::PipelineStageFlags::TOP_OF_PIPE);
    }
}
