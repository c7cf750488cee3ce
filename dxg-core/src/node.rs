//! A node: what answers requests, whichever kind it is.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use dxg_ioctl::CallError;
use dxg_ioctl::Ioctl;
use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::Request;
use dxg_ioctl::UserPtr;
use dxg_ioctl::abi::ADAPTERS_MAX;
use dxg_ioctl::abi::AdapterInfo;
use dxg_ioctl::abi::EnumAdapters3;
use dxg_ioctl::abi::EnumAdaptersFilter;
use dxg_ioctl::abi::OpenAdapterFromLuid;
use zerocopy::FromZeros;

use crate::Adapter;
use crate::ConnectOptions;
use crate::Error;
use crate::LostReason;
use crate::Streams;
use crate::caller::Buffers;
use crate::caller::CallerMemory;
use crate::errno;
use crate::error::Op;
use crate::host::HostNode;
use crate::kernel::KernelNode;
use crate::view::View;

/// What is behind a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The kernel's device file.
    Kernel,
    /// A virtual GPU of the daemon.
    Host,
}

enum Kind {
    Kernel(KernelNode),
    Host(Box<HostNode>),
}

/// An open node. Clones are the same node; it closes when the last of them and of its objects is gone.
#[derive(Clone)]
pub struct Node {
    kind: Arc<Kind>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("transport", &self.transport()).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens a device file of the kernel's driver.
    ///
    /// # Errors
    ///
    /// What the system says about the file.
    pub fn open_kernel(path: &Path) -> Result<Self, Error> {
        let node = KernelNode::open(path).op("open node")?;
        Ok(Self { kind: Arc::new(Kind::Kernel(node)) })
    }

    /// Connects to a virtual GPU by its socket.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when nobody listens, the host's own reason when it refuses.
    pub fn connect(socket: &Path) -> Result<Self, Error> {
        Self::connect_with(socket, &ConnectOptions::default())
    }

    /// The same with sizes of the caller's choice.
    ///
    /// # Errors
    ///
    /// As [`Node::connect`].
    pub fn connect_with(socket: &Path, options: &ConnectOptions) -> Result<Self, Error> {
        let node = HostNode::connect(socket, options)?;
        Ok(Self { kind: Arc::new(Kind::Host(Box::new(node))) })
    }

    /// What is behind it.
    #[must_use]
    pub fn transport(&self) -> Transport {
        match &*self.kind {
            Kind::Kernel(_) => Transport::Kernel,
            Kind::Host(_) => Transport::Host,
        }
    }

    /// Opens every adapter of the node, compute-only ones too.
    ///
    /// # Errors
    ///
    /// What the node answers.
    pub fn adapters(&self) -> Result<Vec<Adapter>, Error> {
        let mut infos = vec![AdapterInfo::new_zeroed(); ADAPTERS_MAX];
        let mut args = EnumAdapters3::new_zeroed();
        args.filter = EnumAdaptersFilter::INCLUDE_COMPUTE_ONLY;
        args.adapter_count = ADAPTERS_MAX as u32;
        let mut buffers = Buffers::new();
        args.adapters = buffers.inout(infos.as_mut_slice());
        self.request(&mut args, &mut buffers).op("list adapters")?;
        drop(buffers);
        infos.truncate(args.adapter_count as usize);
        Ok(infos.iter().map(|info| Adapter::new(self, info.adapter_handle, info.adapter_luid)).collect())
    }

    /// Opens the first adapter.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub fn first_adapter(&self) -> Result<Adapter, Error> {
        let none = Err(errno::NOT_FOUND).op("open first adapter");
        self.adapters()?.into_iter().next().map_or(none, Ok)
    }

    /// Opens an adapter by its LUID.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when the node has no such adapter.
    pub fn adapter(&self, luid: Luid) -> Result<Adapter, Error> {
        // The handle starts as none: with one in place an unknown LUID would be success.
        let mut args = OpenAdapterFromLuid { adapter_luid: luid, adapter_handle: RawHandle::NONE };
        self.request(&mut args, &mut Buffers::new()).op("open adapter")?;
        Ok(Adapter::new(self, args.adapter_handle, luid))
    }

    /// API command streams and leased memory; none over a kernel node.
    #[must_use]
    pub fn streams(&self) -> Option<Streams> {
        Streams::of(self)
    }

    /// Whether the node is lost: the host, its worker or its device is gone. A kernel node only learns it call by call.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.host().is_some_and(HostNode::is_lost)
    }

    /// Why the node is lost.
    #[must_use]
    pub fn lost_reason(&self) -> Option<LostReason> {
        self.host().and_then(HostNode::lost_reason)
    }

    /// Answers a request in the form of the kernel ABI: its number, its argument, and the memory that the argument points to.
    /// For front ends that serve programs; `docs/requests.md` says what becomes of each request.
    ///
    /// Existing system memory is looked for in what this process leased; no address is ever followed.
    ///
    /// # Errors
    ///
    /// The errno that a kernel would answer. ENOTTY for what is no request, or not of that size, and over a kernel node, whose
    /// kernel takes requests with addresses from the program itself.
    pub fn answer(
        &self,
        request: Ioctl,
        argument: &mut [u8],
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        match &*self.kind {
            Kind::Kernel(_) => Err(errno::NOT_A_REQUEST),
            Kind::Host(node) => node.dispatch(request, argument, memory),
        }
    }

    /// Sends a request; what it points to is in `buffers`.
    pub(crate) fn request<R: Request>(
        &self,
        args: &mut R,
        buffers: &mut Buffers<'_>,
    ) -> Result<NtStatus, CallError> {
        match &*self.kind {
            Kind::Kernel(node) => node.request(args, buffers),
            Kind::Host(node) => node.request(args, buffers),
        }
    }

    /// Sends a request that frees something. A failure is logged: there is nobody to tell.
    pub(crate) fn free<R: Request>(&self, mut args: R) {
        if let Err(error) = self.request(&mut args, &mut Buffers::new())
            && !self.is_lost()
        {
            tracing::debug!(op = R::NAME, %error, "not freed");
        }
    }

    /// The memory at an address that a request answered, for an object that outlives the view.
    pub(crate) fn view(&self, address: UserPtr, size_bytes: u64) -> Result<View, CallError> {
        match &*self.kind {
            Kind::Kernel(node) => node.view(address, Some(size_bytes)).map(View::Kernel),
            Kind::Host(node) => node.view(address, size_bytes).map(View::Window),
        }
    }

    /// The memory of an allocation that was locked at `address`, for a lock that outlives the view.
    pub(crate) fn locked_view(&self, allocation: RawHandle, address: UserPtr) -> Result<View, CallError> {
        match &*self.kind {
            Kind::Kernel(node) => node.view(address, None).map(View::Kernel),
            Kind::Host(node) => node.locked_view(allocation).map(View::Window),
        }
    }

    /// The descriptor whose number a request answered.
    pub(crate) fn take_descriptor(
        &self,
        number: u64,
        buffers: &mut Buffers<'_>,
    ) -> Result<OwnedFd, CallError> {
        match &*self.kind {
            Kind::Kernel(node) => node.adopt(number),
            Kind::Host(_) => buffers.take_installed(number).ok_or(errno::BAD_DESCRIPTOR),
        }
    }

    /// Whether both are the same node.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kind, &other.kind)
    }

    /// The session, where there is one.
    pub(crate) fn host(&self) -> Option<&HostNode> {
        match &*self.kind {
            Kind::Kernel(_) => None,
            Kind::Host(node) => Some(node),
        }
    }
}
