//! Contexts and hardware queues: where the GPU's work is put in order.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use dxg_ioctl::CallError;
use dxg_ioctl::FenceValue;
use dxg_ioctl::GpuVa;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::ClientHint;
use dxg_ioctl::abi::CreateContextFlags;
use dxg_ioctl::abi::CreateContextVirtual;
use dxg_ioctl::abi::CreateHwQueue;
use dxg_ioctl::abi::CreateHwQueueFlags;
use dxg_ioctl::abi::DestroyContext;
use dxg_ioctl::abi::DestroyHwQueue;
use dxg_ioctl::abi::GetContextInProcessSchedulingPriority;
use dxg_ioctl::abi::GetContextSchedulingPriority;
use dxg_ioctl::abi::SetContextInProcessSchedulingPriority;
use dxg_ioctl::abi::SetContextSchedulingPriority;
use dxg_ioctl::abi::SignalFlags;
use dxg_ioctl::abi::SignalSynchronizationObjectFromGpu;
use dxg_ioctl::abi::SignalSynchronizationObjectFromGpu2;
use dxg_ioctl::abi::SubmitCommand;
use dxg_ioctl::abi::SubmitCommandToHwQueue;
use dxg_ioctl::abi::SubmitSignalSyncObjectsToHwQueue;
use dxg_ioctl::abi::SubmitWaitForSyncObjectsToHwQueue;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromGpu;
use zerocopy::FromZeros;

use crate::Device;
use crate::Error;
use crate::Fence;
use crate::QueueFence;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::fence::FenceCore;

/// What a context is made for.
#[derive(Debug)]
pub struct ContextOptions<'a> {
    /// The engine.
    pub node_ordinal: u32,
    /// Which of several linked GPUs, as a mask; 0 for all.
    pub engine_affinity: u32,
    /// Flags.
    pub flags: CreateContextFlags,
    /// Who asks, for the driver.
    pub client_hint: ClientHint,
    /// The driver's private data, replaced by its answer.
    pub private_data: &'a mut [u8],
}

impl Default for ContextOptions<'_> {
    fn default() -> Self {
        Self {
            node_ordinal: 0,
            engine_affinity: 0,
            flags: CreateContextFlags::empty(),
            client_hint: ClientHint(0),
            private_data: &mut [],
        }
    }
}

/// Commands for a context.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Where the commands lie for the GPU.
    pub commands: GpuVa,
    /// Their bytes.
    pub size_bytes: u32,
    /// The driver's private data.
    pub private_data: &'a [u8],
}

/// Commands for a hardware queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSubmission<'a> {
    /// The commands.
    pub submission: Submission<'a>,
    /// What the queue's fence will be when they are done.
    pub progress: FenceValue,
}

#[derive(Debug)]
struct Inner {
    device: Device,
    handle: RawHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.device.node().free(DestroyContext { context: self.handle });
    }
}

/// A context. Clones are the same; it is destroyed with the last, and its queues keep it alive.
#[derive(Clone, Debug)]
pub struct Context {
    inner: Arc<Inner>,
}

fn count(len: usize) -> Result<u32, CallError> {
    u32::try_from(len).map_err(|_| errno::INVALID)
}

fn split(fences: &[(&Fence, FenceValue)]) -> (Vec<RawHandle>, Vec<FenceValue>) {
    fences.iter().map(|(fence, value)| (fence.handle(), *value)).unzip()
}

impl Context {
    pub(crate) fn create(device: &Device, options: &mut ContextOptions<'_>) -> Result<Self, Error> {
        const OP: &str = "create context";
        let mut args = CreateContextVirtual::new_zeroed();
        args.device = device.handle();
        args.node_ordinal = options.node_ordinal;
        args.engine_affinity = options.engine_affinity;
        args.flags = options.flags;
        args.client_hint = options.client_hint;
        args.priv_drv_data_size = count(options.private_data.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.priv_drv_data = buffers.inout(&mut *options.private_data);
        device.node().request(&mut args, &mut buffers).op(OP)?;
        Ok(Self { inner: Arc::new(Inner { device: device.clone(), handle: args.context }) })
    }

    /// The device it belongs to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.inner.device
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.handle
    }

    /// Hands commands to the GPU.
    ///
    /// # Errors
    ///
    /// What the node answers. Errors of the commands themselves show in the device's state.
    pub fn submit(&self, submission: &Submission<'_>) -> Result<(), Error> {
        const OP: &str = "submit";
        let mut args = SubmitCommand::new_zeroed();
        args.command_buffer = submission.commands;
        args.command_length = submission.size_bytes;
        args.broadcast_context_count = 1;
        args.broadcast_context[0] = self.handle();
        args.priv_drv_data_size = count(submission.private_data.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.priv_drv_data = buffers.input(submission.private_data);
        self.device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Raises fences when the GPU has come this far in the context.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn signal(&self, fences: &[(&Fence, FenceValue)]) -> Result<(), Error> {
        const OP: &str = "signal from context";
        let (objects, values) = split(fences);
        let mut args = SignalSynchronizationObjectFromGpu::new_zeroed();
        args.context = self.handle();
        args.object_count = count(objects.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.objects = buffers.input(objects.as_slice());
        args.value.set_monitored_fence_values(buffers.input(values.as_slice()));
        self.device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Holds the context until all fences have at least their values.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn wait(&self, fences: &[(&Fence, FenceValue)]) -> Result<(), Error> {
        const OP: &str = "wait in context";
        let (objects, values) = split(fences);
        let mut args = WaitForSynchronizationObjectFromGpu::new_zeroed();
        args.context = self.handle();
        args.object_count = count(objects.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.objects = buffers.input(objects.as_slice());
        args.value.set_monitored_fence_values(buffers.input(values.as_slice()));
        self.device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Adds 1 to an eventfd once when the GPU has come this far in the context, or when the node is lost. Returns at once.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn notify(&self, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        let contexts = [self.handle()];
        let mut args = SignalSynchronizationObjectFromGpu2::new_zeroed();
        args.context_count = 1;
        args.flags = SignalFlags::ENQUEUE_CPU_EVENT;
        let mut buffers = Buffers::new();
        args.contexts = buffers.input(&contexts);
        args.value.set_cpu_event_handle(buffers.lend_descriptor(eventfd));
        self.device().node().request(&mut args, &mut buffers).op("notify from context").map(drop)
    }

    /// The scheduling priority among the contexts of this process.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn in_process_priority(&self) -> Result<i32, Error> {
        let mut args = GetContextInProcessSchedulingPriority { context: self.handle(), priority: 0 };
        self.device().node().request(&mut args, &mut Buffers::new()).op("get in-process priority")?;
        Ok(args.priority)
    }

    /// Sets the scheduling priority among the contexts of this process.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn set_in_process_priority(&self, priority: i32) -> Result<(), Error> {
        let mut args = SetContextInProcessSchedulingPriority { context: self.handle(), priority };
        self.device().node().request(&mut args, &mut Buffers::new()).op("set in-process priority").map(drop)
    }

    /// The scheduling priority among all contexts of the machine.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn priority(&self) -> Result<i32, Error> {
        let mut args = GetContextSchedulingPriority { context: self.handle(), priority: 0 };
        self.device().node().request(&mut args, &mut Buffers::new()).op("get priority")?;
        Ok(args.priority)
    }

    /// Sets the scheduling priority among all contexts of the machine.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn set_priority(&self, priority: i32) -> Result<(), Error> {
        let mut args = SetContextSchedulingPriority { context: self.handle(), priority };
        self.device().node().request(&mut args, &mut Buffers::new()).op("set priority").map(drop)
    }

    /// Makes a hardware queue; the driver's private data is replaced by its answer.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn create_hw_queue(
        &self,
        flags: CreateHwQueueFlags,
        private_data: &mut [u8],
    ) -> Result<HwQueue, Error> {
        const OP: &str = "create hardware queue";
        let node = self.device().node();
        let mut args = CreateHwQueue::new_zeroed();
        args.context = self.handle();
        args.flags = flags;
        args.priv_drv_data_size = count(private_data.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.priv_drv_data = buffers.inout(private_data);
        node.request(&mut args, &mut buffers).op(OP)?;
        let address: UserPtr = args.queue_progress_fence_cpu_va;
        let core = FenceCore::new(self.device(), args.queue_progress_fence, address)
            .inspect_err(|_| node.free(DestroyHwQueue { queue: args.queue }))
            .op(OP)?;
        let fence = QueueFence::new(core, Some(args.queue_progress_fence_gpu_va));
        Ok(HwQueue { inner: Arc::new(QueueInner { context: self.clone(), handle: args.queue, fence }) })
    }
}

#[derive(Debug)]
struct QueueInner {
    context: Context,
    handle: RawHandle,
    fence: QueueFence,
}

impl Drop for QueueInner {
    fn drop(&mut self) {
        self.context.device().node().free(DestroyHwQueue { queue: self.handle });
    }
}

/// A hardware queue. Clones are the same; it is destroyed with the last.
#[derive(Clone, Debug)]
pub struct HwQueue {
    inner: Arc<QueueInner>,
}

impl HwQueue {
    /// The context it belongs to.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.inner.context
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.handle
    }

    /// How far the queue is.
    #[must_use]
    pub fn progress(&self) -> &QueueFence {
        &self.inner.fence
    }

    /// Hands commands to the GPU.
    ///
    /// # Errors
    ///
    /// What the node answers. Errors of the commands themselves show in the device's state.
    pub fn submit(&self, work: &QueueSubmission<'_>) -> Result<(), Error> {
        const OP: &str = "submit to hardware queue";
        let mut args = SubmitCommandToHwQueue::new_zeroed();
        args.hwqueue = self.handle();
        args.hwqueue_progress_fence_id = work.progress;
        args.command_buffer = work.submission.commands;
        args.command_length = work.submission.size_bytes;
        args.priv_drv_data_size = count(work.submission.private_data.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.priv_drv_data = buffers.input(work.submission.private_data);
        self.context().device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Raises fences when the GPU has come this far in the queue.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn signal(&self, fences: &[(&Fence, FenceValue)]) -> Result<(), Error> {
        const OP: &str = "signal from hardware queue";
        let (objects, values) = split(fences);
        let queues = [self.handle()];
        let mut args = SubmitSignalSyncObjectsToHwQueue::new_zeroed();
        args.hwqueue_count = 1;
        args.object_count = count(objects.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.hwqueues = buffers.input(&queues);
        args.objects = buffers.input(objects.as_slice());
        args.fence_values = buffers.input(values.as_slice());
        self.context().device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }

    /// Holds the queue until all fences have at least their values.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn wait(&self, fences: &[(&Fence, FenceValue)]) -> Result<(), Error> {
        const OP: &str = "wait in hardware queue";
        let (objects, values) = split(fences);
        let mut args = SubmitWaitForSyncObjectsToHwQueue::new_zeroed();
        args.hwqueue = self.handle();
        args.object_count = count(objects.len()).op(OP)?;
        let mut buffers = Buffers::new();
        args.objects = buffers.input(objects.as_slice());
        args.fence_values = buffers.input(values.as_slice());
        self.context().device().node().request(&mut args, &mut buffers).op(OP).map(drop)
    }
}
