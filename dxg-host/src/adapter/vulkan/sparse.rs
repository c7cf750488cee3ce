//! Sparse binding: the client's bind batches, with this host's own signals among them.

use std::sync::Arc;

use ash::vk;

use super::super::cell::Cell;
use super::chain::Chain;
use super::chain::array;
use super::completion::Milestone;
use super::queue::Queue;

/// A bind submission on its way to the driver.
pub(crate) struct Binding {
    infos: Vec<vk::BindSparseInfo<'static>>,
    extras: Vec<Extra>,
    milestones: Vec<Milestone>,
}

/// What one batch points to in place of the client's arrays. Boxed: the driver sees its address.
struct Extra {
    semaphores: Vec<vk::Semaphore>,
    values: Vec<u64>,
    timeline: Box<vk::TimelineSemaphoreSubmitInfo<'static>>,
}

/// One batch as it was read: the native structure, and the cells of the timeline semaphores that it signals.
pub(crate) struct Read {
    pub(crate) info: vk::BindSparseInfo<'static>,
    pub(crate) signals: Vec<(Arc<Cell>, u64)>,
}

/// The cells of the timeline semaphores that a batch signals, with the values they get.
pub(crate) fn signals(
    info: &vk::BindSparseInfo<'static>,
    cell: impl Fn(vk::Semaphore, u64) -> Option<Arc<Cell>>,
) -> Vec<(Arc<Cell>, u64)> {
    semaphores(info)
        .iter()
        .zip(signal_values(info))
        .filter_map(|(semaphore, value)| Some((cell(*semaphore, value)?, value)))
        .collect()
}

/// The semaphores that a batch waits for with a value.
pub(crate) fn waits(info: &vk::BindSparseInfo<'static>) -> Vec<(vk::Semaphore, u64)> {
    // SAFETY:
    // - the chain was decoded for this operation and is used by nothing else now.
    let mut chain = unsafe { Chain::new(info.p_next) };
    let Some(timeline) = chain.find::<vk::TimelineSemaphoreSubmitInfo<'_>>() else { return Vec::new() };
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    let semaphores = unsafe { array(info.p_wait_semaphores, info.wait_semaphore_count) };
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    let values = unsafe { array(timeline.p_wait_semaphore_values, timeline.wait_semaphore_value_count) };
    semaphores.iter().copied().zip(values.iter().copied()).collect()
}

fn semaphores(info: &vk::BindSparseInfo<'static>) -> &'static [vk::Semaphore] {
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    unsafe { array(info.p_signal_semaphores, info.signal_semaphore_count) }
}

/// The values that a batch gives to the semaphores it signals, in their order.
fn signal_values(info: &vk::BindSparseInfo<'static>) -> Vec<u64> {
    // SAFETY:
    // - the chain was decoded for this operation and is used by nothing else now.
    let mut chain = unsafe { Chain::new(info.p_next) };
    let Some(timeline) = chain.find::<vk::TimelineSemaphoreSubmitInfo<'_>>() else { return Vec::new() };
    // SAFETY:
    // - the decoder made the array with as many elements as it wrote into the count.
    unsafe { array(timeline.p_signal_semaphore_values, timeline.signal_semaphore_value_count) }.to_vec()
}

impl Binding {
    /// Adds this host's signals to what was read.
    pub(crate) fn new(batches: Vec<Read>, queue: &mut Queue, sequence: u64) -> Self {
        let mut this = Self { infos: Vec::new(), extras: Vec::new(), milestones: Vec::new() };
        let count = batches.len().max(1);
        let waits = batches.iter().any(|batch| batch.info.wait_semaphore_count != 0);
        let mut batches = batches;
        if batches.is_empty() {
            batches.push(Read { info: vk::BindSparseInfo::default(), signals: Vec::new() });
        }
        for (index, Read { info, signals }) in batches.into_iter().enumerate() {
            let is_last = index.saturating_add(1) == count;
            if is_last || !signals.is_empty() {
                let point = queue.next_point();
                let sequence = is_last.then_some(sequence);
                this.milestones.push(Milestone { point, signals, sequence });
                this.push_signalling(info, queue.progress.timeline().semaphore(), point);
            } else {
                this.infos.push(info);
            }
        }
        if waits {
            queue.note_wait();
        }
        this
    }

    fn push_signalling(&mut self, info: vk::BindSparseInfo<'static>, semaphore: vk::Semaphore, point: u64) {
        let mut semaphores = semaphores(&info).to_vec();
        let mut values = signal_values(&info);
        values.resize(semaphores.len(), 0);
        semaphores.push(semaphore);
        values.push(point);
        let mut extra = Extra { semaphores, values, timeline: Box::default() };
        let count = u32::try_from(extra.semaphores.len()).unwrap_or(u32::MAX);
        let mut info = info;
        // SAFETY:
        // - the chain was decoded for this operation and is used by nothing else now.
        let mut chain = unsafe { Chain::new(info.p_next) };
        if let Some(timeline) = chain.find::<vk::TimelineSemaphoreSubmitInfo<'_>>() {
            timeline.signal_semaphore_value_count = count;
            timeline.p_signal_semaphore_values = extra.values.as_ptr();
        } else {
            extra.timeline.p_next = info.p_next;
            extra.timeline.signal_semaphore_value_count = count;
            extra.timeline.p_signal_semaphore_values = extra.values.as_ptr();
            info.p_next = (&raw const *extra.timeline).cast();
        }
        info.signal_semaphore_count = count;
        info.p_signal_semaphores = extra.semaphores.as_ptr();
        self.infos.push(info);
        self.extras.push(extra);
    }

    /// Gives the batches to the driver.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn submit(self, device: &ash::Device, queue: &Queue) -> Result<(), vk::Result> {
        // SAFETY:
        // - `infos` was decoded into memory that outlives the call, or points into `extras`, which does as well;
        // - the queue is used by the thread of this stream only.
        unsafe { device.queue_bind_sparse(queue.native, &self.infos, vk::Fence::null()) }?;
        queue.progress.submitted(self.milestones);
        drop(self.extras);
        Ok(())
    }
}
