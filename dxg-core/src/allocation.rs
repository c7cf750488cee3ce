//! Allocations: memory of the device.

use std::sync::Arc;

use dxg_ioctl::RawHandle;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::DestroyAllocation2;
use dxg_ioctl::abi::DestroyAllocation2Flags;
use dxg_ioctl::abi::Lock2;
use dxg_ioctl::abi::Unlock2;
use zerocopy::FromZeros;

use crate::AdoptedMemory;
use crate::Device;
use crate::Error;
use crate::SystemMemory;
use crate::Window;
use crate::caller::Buffers;
use crate::errno;
use crate::error::Op;
use crate::resource;
use crate::resource::DestroyFlags;
use crate::resource::Owner;
use crate::view::View;

/// What an allocation is made of.
#[derive(Clone, Debug)]
pub enum Backing {
    /// What the driver makes of its private data.
    Driver,
    /// A standard allocation of so many bytes (a multiple of the page size) that other adapters can use too. Alone in its call.
    CrossAdapter {
        /// Its bytes.
        size_bytes: u64,
    },
    /// A standard allocation over memory of this process. Alone in its call.
    Heap(Arc<SystemMemory>),
    /// Memory of this process, described to the driver by the private data.
    System(Arc<SystemMemory>),
    /// As [`Heap`](Self::Heap), over memory that the program had already.
    AdoptedHeap(Arc<AdoptedMemory>),
    /// As [`System`](Self::System), over memory that the program had already.
    AdoptedSystem(Arc<AdoptedMemory>),
}

impl Backing {
    /// The memory of this process, where it is that.
    pub(crate) fn own_memory(&self) -> Option<(UserPtr, u64)> {
        match self {
            Self::Driver | Self::CrossAdapter { .. } => None,
            Self::Heap(memory) | Self::System(memory) => Some((memory.address(), memory.size_bytes())),
            Self::AdoptedHeap(memory) | Self::AdoptedSystem(memory) => {
                Some((memory.user_address(), memory.size_bytes()))
            }
        }
    }
}

/// What an allocation is made of, for the driver.
#[derive(Clone, Debug)]
pub struct AllocationOptions {
    /// What it is made of.
    pub backing: Backing,
    /// The driver's private data, replaced by its answer. Empty for standard allocations.
    pub private_data: Vec<u8>,
}

impl AllocationOptions {
    /// A standard allocation of so many bytes, a multiple of the page size.
    #[must_use]
    pub fn cross_adapter(size_bytes: u64) -> Self {
        Self { backing: Backing::CrossAdapter { size_bytes }, private_data: Vec::new() }
    }

    /// A standard allocation over memory of this process.
    #[must_use]
    pub fn heap(memory: Arc<SystemMemory>) -> Self {
        Self { backing: Backing::Heap(memory), private_data: Vec::new() }
    }

    /// An allocation that the driver makes of its private data.
    #[must_use]
    pub fn driver(private_data: Vec<u8>) -> Self {
        Self { backing: Backing::Driver, private_data }
    }
}

#[derive(Debug)]
struct Inner {
    device: Device,
    handle: RawHandle,
    owner: Owner,
    backing: Backing,
    private_data: Vec<u8>,
    destroy_flags: DestroyFlags,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Owner::Itself = self.owner {
            let handles = [self.handle];
            let mut args = DestroyAllocation2::new_zeroed();
            args.device = self.device.handle();
            args.alloc_count = 1;
            args.flags = self.destroy_flags.get();
            let mut buffers = Buffers::new();
            args.allocations = buffers.input(&handles);
            if let Err(error) = self.device.node().request(&mut args, &mut buffers) {
                tracing::debug!(handle = %self.handle, %error, "allocation not destroyed");
            }
        }
    }
}

/// An allocation. Clones are the same; it is destroyed with the last, or with its resource.
#[derive(Clone, Debug)]
pub struct Allocation {
    inner: Arc<Inner>,
}

impl Allocation {
    pub(crate) fn create(device: &Device, options: AllocationOptions) -> Result<Self, Error> {
        let made = resource::make(device, resource::Group::alone(options), "create allocation")?;
        made.allocations.into_iter().next().ok_or(errno::INVALID).op("create allocation")
    }

    pub(crate) fn new(device: &Device, handle: RawHandle, owner: Owner, options: AllocationOptions) -> Self {
        let AllocationOptions { backing, private_data } = options;
        let destroy_flags = DestroyFlags::default();
        let inner = Inner { device: device.clone(), handle, owner, backing, private_data, destroy_flags };
        Self { inner: Arc::new(inner) }
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

    /// How it is destroyed when the last handle to it is dropped. For an allocation of a resource the resource says that.
    pub fn set_destroy_flags(&self, flags: DestroyAllocation2Flags) {
        self.inner.destroy_flags.set(flags);
    }

    /// The driver's private data, as the driver left it.
    #[must_use]
    pub fn private_data(&self) -> &[u8] {
        &self.inner.private_data
    }

    /// Makes its memory visible to the CPU for as long as the result lives.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn map(&self) -> Result<MappedAllocation, Error> {
        const OP: &str = "lock allocation";
        let node = self.device().node();
        let mut args = Lock2::new_zeroed();
        args.device = self.device().handle();
        args.allocation = self.handle();
        node.request(&mut args, &mut Buffers::new()).op(OP)?;
        let view = match &self.inner.backing {
            Backing::Heap(memory) | Backing::System(memory) => Ok(View::Window(memory.memory().clone())),
            Backing::AdoptedHeap(memory) | Backing::AdoptedSystem(memory) => {
                node.view(memory.user_address(), memory.size_bytes())
            }
            Backing::Driver | Backing::CrossAdapter { .. } => node.locked_view(self.handle(), args.data),
        };
        // From here on it is locked, and unlocked when this is dropped.
        let mut mapped = MappedAllocation { allocation: self.clone(), view: None };
        mapped.view = Some(view.op(OP)?);
        Ok(mapped)
    }
}

/// An allocation whose memory the CPU sees. The device may write it at any time, so bytes are copied.
#[derive(Debug)]
pub struct MappedAllocation {
    allocation: Allocation,
    /// Always there once the value is out of [`Allocation::map`].
    view: Option<View>,
}

impl MappedAllocation {
    /// What is mapped.
    #[must_use]
    pub fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// Bytes that the CPU sees.
    #[must_use]
    pub fn len(&self) -> usize {
        self.view.as_ref().map_or(0, View::len)
    }

    /// Never: an allocation has at least one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory as host and process see it, for command streams that name it; none over a kernel node.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        let Some(View::Window(memory)) = &self.view else { return None };
        let host = self.allocation.device().node().host()?;
        host.window_at(memory.as_ptr().addr() as u64, memory.len() as u64)
    }

    /// Copies bytes from `at` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) past the end.
    pub fn read(&self, at: usize, into: &mut [u8]) -> Result<(), Error> {
        let done = self.view.as_ref().and_then(|view| view.read(at, into));
        done.ok_or_else(|| Error::invalid("read allocation", "past the end of the allocation"))
    }

    /// Copies bytes to `at` on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) past the end.
    pub fn write(&self, at: usize, from: &[u8]) -> Result<(), Error> {
        let done = self.view.as_ref().and_then(|view| view.write(at, from));
        done.ok_or_else(|| Error::invalid("write allocation", "past the end of the allocation"))
    }
}

impl Drop for MappedAllocation {
    fn drop(&mut self) {
        self.view = None;
        let device = self.allocation.device();
        device.node().free(Unlock2 { device: device.handle(), allocation: self.allocation.handle() });
    }
}
