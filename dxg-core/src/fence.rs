//! Monitored fences: values that only grow, read by a load.

use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use dxg_ioctl::CallError;
use dxg_ioctl::FenceValue;
use dxg_ioctl::GpuVa;
use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::CreateSynchronizationObject2;
use dxg_ioctl::abi::DestroySynchronizationObject;
use dxg_ioctl::abi::OpenSyncObjectFromNtHandle2;
use dxg_ioctl::abi::ShareObjects;
use dxg_ioctl::abi::SignalSynchronizationObjectFromCpu;
use dxg_ioctl::abi::SynchronizationObjectFlags;
use dxg_ioctl::abi::SynchronizationObjectType;
use dxg_ioctl::abi::WaitForSynchronizationObjectFromCpu;
use dxg_wire::cell::CELL_BYTES;
use dxg_wire::cell::FenceCell;
use zerocopy::FromZeros;

use crate::Device;
use crate::Error;
use crate::Node;
use crate::WaitOutcome;
use crate::Window;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::view::View;
use crate::wait;

/// Bytes of the page of a fence that can be shared.
const FENCE_PAGE_BYTES: u64 = 4096;

/// Whether a fence may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Private,
    Shareable,
}

/// Where the value of a fence is.
#[derive(Debug)]
enum Value {
    /// A cell that the host publishes to and wakes sleepers of.
    Cell(FenceCell),
    /// A word that the device writes.
    Word(View),
}

/// What reading and waiting need of a fence, of whatever origin.
#[derive(Debug)]
pub(crate) struct FenceCore {
    pub(crate) device: Device,
    pub(crate) handle: RawHandle,
    value: Value,
}

impl FenceCore {
    /// A fence whose value the node mapped at `address`.
    pub(crate) fn new(device: &Device, handle: RawHandle, address: UserPtr) -> Result<Self, CallError> {
        let view = device.node().view(address, CELL_BYTES as u64)?;
        let value = match view {
            View::Window(memory) => Value::Cell(FenceCell::new(memory).map_err(|_| errno::FAULT)?),
            view => {
                // The only failure of a load is one of the address, so it is found here.
                view.load_u64(0).ok_or(errno::FAULT)?;
                Value::Word(view)
            }
        };
        Ok(Self { device: device.clone(), handle, value })
    }

    pub(crate) fn node(&self) -> &Node {
        self.device.node()
    }

    pub(crate) fn value(&self) -> FenceValue {
        FenceValue(match &self.value {
            Value::Cell(cell) => cell.value(),
            Value::Word(view) => view.load_u64(0).expect("loaded when the fence was made"),
        })
    }

    pub(crate) fn cell(&self) -> Option<&FenceCell> {
        match &self.value {
            Value::Cell(cell) => Some(cell),
            Value::Word(_) => None,
        }
    }
}

#[derive(Debug)]
struct Inner {
    core: FenceCore,
    gpu_va: GpuVa,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.core.node().free(DestroySynchronizationObject { sync_object: self.core.handle });
    }
}

/// A monitored fence. Clones are the same; it is destroyed with the last.
#[derive(Clone, Debug)]
pub struct Fence {
    inner: Arc<Inner>,
}

impl Fence {
    pub(crate) fn create(device: &Device, initial: FenceValue, sharing: Sharing) -> Result<Self, Error> {
        const OP: &str = "create fence";
        let mut args = CreateSynchronizationObject2::new_zeroed();
        args.device = device.handle();
        args.info.r#type = SynchronizationObjectType::MONITORED_FENCE;
        if sharing == Sharing::Shareable {
            args.info.flags =
                SynchronizationObjectFlags::SHARED | SynchronizationObjectFlags::NT_SECURITY_SHARING;
        }
        let mut fence = args.info.object.monitored_fence();
        fence.initial_fence_value = initial;
        args.info.object.set_monitored_fence(fence);
        device.node().request(&mut args, &mut Buffers::new()).op(OP)?;
        let made = args.info.object.monitored_fence();
        Self::adopt(
            device,
            args.sync_object,
            made.fence_cpu_virtual_address,
            made.fence_gpu_virtual_address,
            OP,
        )
    }

    pub(crate) fn open(device: &Device, descriptor: BorrowedFd<'_>) -> Result<Self, Error> {
        const OP: &str = "open shared fence";
        let mut args = OpenSyncObjectFromNtHandle2::new_zeroed();
        args.device = device.handle();
        args.flags = SynchronizationObjectFlags::SHARED | SynchronizationObjectFlags::NT_SECURITY_SHARING;
        let mut buffers = Buffers::new();
        args.nt_handle = buffers.lend_descriptor(descriptor);
        device.node().request(&mut args, &mut buffers).op(OP)?;
        let opened = args.fence.monitored_fence();
        Self::adopt(device, args.sync_object, opened.fence_value_cpu_va, opened.fence_value_gpu_va, OP)
    }

    fn adopt(
        device: &Device,
        handle: RawHandle,
        address: UserPtr,
        gpu_va: GpuVa,
        op: &'static str,
    ) -> Result<Self, Error> {
        let core = FenceCore::new(device, handle, address).inspect_err(|_| {
            device.node().free(DestroySynchronizationObject { sync_object: handle });
        });
        Ok(Self { inner: Arc::new(Inner { core: core.op(op)?, gpu_va }) })
    }

    pub(crate) fn core(&self) -> &FenceCore {
        &self.inner.core
    }

    /// The handle, for requests that have no method here.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.inner.core.handle
    }

    /// Where the GPU sees the value.
    #[must_use]
    pub fn gpu_va(&self) -> GpuVa {
        self.inner.gpu_va
    }

    /// The value now: a load.
    #[must_use]
    pub fn value(&self) -> FenceValue {
        self.inner.core.value()
    }

    /// Waits until the value is at least `target`. `timeout` of `None` is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) when the node is lost before or during the wait.
    pub fn wait(&self, target: FenceValue, timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
        wait::for_all(&[(&self.inner.core, target)], timeout)
    }

    /// Raises the value from the CPU.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn signal(&self, value: FenceValue) -> Result<(), Error> {
        let objects = [self.handle()];
        let values = [value];
        let mut args = SignalSynchronizationObjectFromCpu::new_zeroed();
        args.device = self.inner.core.device.handle();
        args.object_count = 1;
        let mut buffers = Buffers::new();
        args.objects = buffers.input(&objects);
        args.fence_values = buffers.input(&values);
        self.inner.core.node().request(&mut args, &mut buffers).op("signal fence").map(drop)
    }

    /// Adds 1 to an eventfd once when the value is at least `target`, or when the node is lost. Returns at once.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn notify(&self, target: FenceValue, eventfd: BorrowedFd<'_>) -> Result<(), Error> {
        wait::notify(&[(&self.inner.core, target)], wait::How::All, eventfd).op("notify of fence")
    }

    /// The page that holds the value, for command streams that name it: its first bytes are the cell, and the rest is for
    /// whoever has the fence open. None over a kernel node.
    #[must_use]
    pub fn page(&self) -> Option<Window> {
        let cell = self.inner.core.cell()?;
        let host = self.inner.core.node().host()?;
        host.window_at(cell.address(), FENCE_PAGE_BYTES)
    }

    /// A descriptor that names the fence: whoever holds it can open the fence. The fence was made to be shared.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when it was not.
    pub fn share(&self) -> Result<OwnedFd, Error> {
        share(self.inner.core.node(), self.handle(), "share fence")
    }
}

/// Shares an object.
pub(crate) fn share(node: &Node, object: RawHandle, op: &'static str) -> Result<OwnedFd, Error> {
    let objects = [object];
    let mut shared = [0u64];
    let mut args = ShareObjects::new_zeroed();
    args.object_count = 1;
    let mut buffers = Buffers::new();
    args.objects = buffers.input(&objects);
    args.shared_handle = buffers.inout(&mut shared);
    node.request(&mut args, &mut buffers).op(op)?;
    // The number is in memory that `buffers` holds.
    let number = buffers.read_u64(args.shared_handle).op(op)?;
    node.take_descriptor(number, &mut buffers).op(op)
}

/// The fence of a queue: shows how far the queue is.
#[derive(Debug)]
pub struct QueueFence {
    core: FenceCore,
    gpu_va: Option<GpuVa>,
}

impl QueueFence {
    pub(crate) fn new(core: FenceCore, gpu_va: Option<GpuVa>) -> Self {
        Self { core, gpu_va }
    }

    /// The handle, for GPU waits.
    #[must_use]
    pub fn handle(&self) -> RawHandle {
        self.core.handle
    }

    /// Where the GPU sees the value, where the node says.
    #[must_use]
    pub fn gpu_va(&self) -> Option<GpuVa> {
        self.gpu_va
    }

    /// The value now: a load.
    #[must_use]
    pub fn value(&self) -> FenceValue {
        self.core.value()
    }

    /// Waits until the value is at least `target`. `timeout` of `None` is none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) when the node is lost before or during the wait.
    pub fn wait(&self, target: FenceValue, timeout: Option<Duration>) -> Result<WaitOutcome, Error> {
        wait::for_all(&[(&self.core, target)], timeout)
    }
}

/// The request that waits for fences, with lists lent to `buffers`.
pub(crate) fn cpu_wait<'a>(
    device: RawHandle,
    objects: &'a [RawHandle],
    values: &'a [FenceValue],
    buffers: &mut Buffers<'a>,
) -> Result<WaitForSynchronizationObjectFromCpu, CallError> {
    let mut args = WaitForSynchronizationObjectFromCpu::new_zeroed();
    args.device = device;
    args.object_count = u32::try_from(objects.len()).map_err(|_| errno::INVALID)?;
    args.objects = buffers.input(objects);
    args.fence_values = buffers.input(values);
    Ok(args)
}
