//! The host node: does in this process what the kernel's driver does in the kernel.
//!
//! *Why.* A virtual GPU of the daemon is a socket. Handle tables, message building, waiting and mapping happen here, over rings in
//! shared memory, so that the objects above cannot tell this node from the kernel's.
//!
//! *Where.* [`connect`] shakes hands; [`link`] is the session and its service thread; [`channel`] sends requests and
//! receives completions; [`table`] and [`objects`] are the handles. The requests themselves are in [`adapter`], [`device`],
//! [`alloc`], [`gpuva`], [`sync`], [`submit`], [`share`] and [`query`], each named after what it acts on.
//!
//! *Process.* A session belongs to the process that opened it. In a child after fork every request is ENOTTY, as for the
//! kernel's node, and dropping objects touches nothing.

mod adapter;
mod alloc;
mod channel;
mod connect;
mod create_alloc;
mod device;
mod events;
mod gpuva;
mod link;
mod lost;
mod message;
mod objects;
mod query;
mod share;
mod slot;
mod submit;
mod sync;
mod table;
mod windows;

use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::Weak;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use dxg_ioctl::CallError;
use dxg_ioctl::Ioctl;
use dxg_ioctl::Luid;
use dxg_ioctl::NtStatus;
use dxg_ioctl::RawHandle;
use dxg_ioctl::Request;
use dxg_ioctl::UserPtr;
use dxg_wire::messages::Channel as ChannelKind;
use dxg_wire::messages::Command;
use dxg_wire::messages::DestroyProcessCommand;
use dxg_wire::messages::Message as WireMessage;
use dxg_wire::session::Body;
use dxg_wire::session::BrokerMessage;
use dxg_wire::session::ClientMessage;
use dxg_wire::session::Features;
use dxg_wire::session::IoAddress;
use dxg_wire::session::Lease;
use dxg_wire::session::Leased;
use dxg_wire::session::Reason;
use dxg_wire::session::WindowRef;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::session_io::Message as SessionMessage;
use parking_lot::Mutex;
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

use self::link::Link;
use self::message::Message;
use self::objects::Objects;
use self::table::OwnTable;
use crate::Error;
use crate::Sleeper;
use crate::Window;
use crate::caller::CallerMemory;
use crate::errno;
use crate::error::Op;
use crate::signals;

pub use self::connect::ConnectOptions;
pub use self::lost::LostReason;

/// How long a node that is dropped waits for the host to have cleaned up.
const GOODBYE: Duration = Duration::from_millis(250);

/// Facts of a session that do not change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionInfo {
    pub(crate) features: Features,
    pub(crate) vgpu_uuid: [u8; 16],
    pub(crate) adapter_luid: Luid,
    pub(crate) quota_bytes: u64,
}

/// A session with one virtual GPU.
pub(crate) struct HostNode {
    link: Arc<Link>,
    service: Option<JoinHandle<()>>,
    opener: u32,
    pub(crate) info: SessionInfo,
    /// The host's handle of this process.
    process: RawHandle,
    /// The host's name of the virtual GPU.
    vgpu_luid: Luid,
    host_adapter: RawHandle,
    host_adapter_luid: Luid,
    compute_only: bool,
    /// One entry per reference that this process holds to the adapter.
    adapters: Mutex<OwnTable<()>>,
    objects: Objects,
}

/// A block of memory leased from the host.
#[derive(Debug)]
pub(crate) struct Leasehold {
    pub(crate) base: IoAddress,
    pub(crate) memory: SharedSlice,
    /// What the memory is a mapping of.
    pub(crate) descriptor: OwnedFd,
}

impl HostNode {
    /// Connects to a virtual GPU.
    pub(crate) fn connect(path: &Path, options: &ConnectOptions) -> Result<Self, Error> {
        let (link, welcome) = connect::connect(path, options)?;
        let link = Arc::new(link);
        let serving = Arc::clone(&link);
        let service = signals::spawn_without_signals("dxg-node", move || serving.serve());
        let service = service.map_err(|error| Error::call("connect", errno::from_io(&error)))?;
        let adapter_luid = Luid { a: welcome.adapter_luid[0], b: welcome.adapter_luid[1] };
        // From here on a failure drops the node, which hangs up and ends the thread.
        let mut node = Self {
            link,
            service: Some(service),
            opener: process::id(),
            info: SessionInfo {
                features: welcome.features,
                vgpu_uuid: welcome.vgpu_uuid,
                adapter_luid,
                quota_bytes: welcome.quota_bytes,
            },
            process: RawHandle::NONE,
            vgpu_luid: adapter_luid,
            host_adapter: RawHandle::NONE,
            host_adapter_luid: Luid::default(),
            compute_only: false,
            adapters: Mutex::default(),
            objects: Objects::default(),
        };
        let io_space_bytes = u64::MAX - welcome.arena_base.0;
        node.start(welcome.arena_base, io_space_bytes).op("connect")?;
        Ok(node)
    }

    /// Ends the process on the host, as a driver does after it closed the adapters: what a front end left goes along. A host that
    /// does not answer in time is left, for hanging up says the same; so does a program that ends without dropping the node.
    fn say_goodbye(&self) {
        if self.process.is_none() || self.link.lost.is_set() {
            return;
        }
        let command: DestroyProcessCommand = self.command();
        let message = Message::new(DestroyProcessCommand::CHANNEL, self.vgpu_luid, command.as_bytes());
        let deadline = Instant::now() + GOODBYE;
        if let Err(error) = self.link.global.call_served_until(&message, &self.link.lost, deadline) {
            tracing::debug!(%error, "left without an answer");
        }
    }

    /// Sends an encoded command and answers the payload of its completion.
    fn send(&self, channel: ChannelKind, command: &[u8]) -> Result<Vec<u8>, CallError> {
        let message = Message::new(channel, self.vgpu_luid, command);
        match channel {
            ChannelKind::Global => self.link.global.call_served(&message, &self.link.lost),
            ChannelKind::Vgpu => {
                self.link.vgpu.call_led(&message, &self.link.lost, &|error| self.link.broken(error))
            }
        }
    }

    /// A command of zeroes with its header filled in.
    fn command<C: Command>(&self) -> C {
        C::for_process(self.process)
    }

    /// Sends a command without a tail and answers the fixed part of its reply.
    fn ask<C: Command>(&self, command: &C) -> Result<C::Reply, CallError>
    where
        C::Reply: FromBytes,
    {
        message::head(&self.send(C::CHANNEL, command.as_bytes())?)
    }

    /// The same for commands that answer a status and nothing else.
    fn ask_status<C: Command<Reply = NtStatus>>(&self, command: &C) -> Result<NtStatus, CallError> {
        errno::of_status(self.ask(command)?)
    }

    /// Sends a command with a tail and answers the payload of its completion.
    fn ask_long(&self, command: &impl WireMessage) -> Result<Vec<u8>, CallError> {
        self.send(ChannelKind::Vgpu, &command.encode().map_err(message::too_long)?)
    }

    /// The same for commands that answer a status and nothing else.
    fn ask_long_status(&self, command: &impl WireMessage) -> Result<NtStatus, CallError> {
        errno::of_status(message::head(&self.ask_long(command)?)?)
    }

    /// Answers a request of the kernel ABI by its number.
    pub(crate) fn request<R: Request>(
        &self,
        args: &mut R,
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        self.dispatch(R::IOCTL, args.as_mut_bytes(), memory)
    }

    /// Answers the request `ioctl` with the argument in `bytes`, which has the size that the number says.
    pub(crate) fn dispatch(
        &self,
        ioctl: Ioctl,
        bytes: &mut [u8],
        memory: &mut dyn CallerMemory,
    ) -> Result<NtStatus, CallError> {
        if process::id() != self.opener {
            return Err(errno::NOT_A_REQUEST);
        }
        // Without an adapter nothing is left to say; only its handles can still be given back.
        if !matches!(ioctl, Ioctl::CLOSE_ADAPTER) {
            self.link.lost.check()?;
        }
        self.serve(ioctl, bytes, memory)
    }

    /// The memory at an address that this node answered. EFAULT when it is none.
    pub(crate) fn view(&self, address: UserPtr, size_bytes: u64) -> Result<SharedSlice, CallError> {
        let found = self.link.windows.read().at_address(address.0, size_bytes);
        found.map(|(memory, _)| memory).ok_or(errno::FAULT)
    }

    /// The memory of a window at an address of this process, and its IO address; `None` unless one window has it all.
    pub(crate) fn window_at(&self, address: u64, len: u64) -> Option<Window> {
        let (memory, io_address) = self.link.windows.read().at_address(address, len)?;
        Some(Window { memory, io_address })
    }

    /// The memory of a locked allocation. EINVAL when it is not locked.
    pub(crate) fn locked_view(&self, handle: RawHandle) -> Result<SharedSlice, CallError> {
        let allocation = self.objects.allocation(handle)?;
        match allocation.system_memory {
            Some(address) => self.view(address, allocation.size_bytes),
            None => allocation.lock.lock().memory.clone().ok_or(errno::INVALID),
        }
    }

    /// Whether a session is over, and why.
    pub(crate) fn lost_reason(&self) -> Option<LostReason> {
        self.link.lost.reason().cloned()
    }

    /// Whether this is the process that opened the session.
    fn check_process(&self) -> Result<(), CallError> {
        if process::id() == self.opener { Ok(()) } else { Err(errno::NOT_A_REQUEST) }
    }

    /// Asks the host for a block of memory and maps it.
    pub(crate) fn lease(&self, size_bytes: u64, op: &'static str) -> Result<Leasehold, Error> {
        self.check_process().op(op)?;
        let answer = self
            .link
            .ask(ClientMessage::LEASE, |request| Lease { request, reserved: 0, size_bytes }, &[])
            .op(op)?;
        let leased: Leased = answer.body();
        if answer.kind != BrokerMessage::LEASED.0 {
            return Err(Error::refused(op, leased.reason, String::new()));
        }
        // A block that is of no use is given back; one that overlaps another would take that with it.
        let useless = |what| {
            let _ = self.link.tell(ClientMessage::RELEASE, &WindowRef { base: leased.base });
            Error::protocol(op, what)
        };
        if leased.size_bytes < size_bytes {
            return Err(useless("the leased block is smaller than asked"));
        }
        let descriptor = answer.into_fd().ok_or_else(|| useless("the leased block has no memory"))?;
        let memory = windows::map(leased.base, leased.size_bytes, descriptor.as_fd(), Populate::Lazy)
            .map_err(|_| useless("the leased block cannot be mapped"))?;
        let inserted = self.link.windows.write().insert(leased.base, memory.clone());
        inserted.map_err(|_| Error::protocol(op, "the leased block overlaps another window"))?;
        Ok(Leasehold { base: leased.base, memory, descriptor })
    }

    /// Makes the first `len` bytes of a leased block known at one more address, where the block is mapped too.
    pub(crate) fn alias(&self, base: IoAddress, at: UserPtr, len: u64) {
        self.link.windows.write().alias(base, at.0, len);
    }

    /// Gives a leased block back.
    pub(crate) fn release(&self, base: IoAddress) {
        if self.check_process().is_ok() {
            self.link.windows.write().remove(base);
            // After a loss there is nobody to tell.
            let _ = self.link.tell(ClientMessage::RELEASE, &WindowRef { base });
        }
    }

    /// Ends the session as if the host had: for a front end that cannot go on.
    pub(crate) fn give_up(&self, reason: Reason, text: &str) {
        self.link.lose(LostReason { reason, text: text.to_owned() });
        self.link.hang_up();
    }

    /// Wakes a sleeper when the session is lost.
    pub(crate) fn wake_when_lost(&self, sleeper: Weak<dyn Sleeper>) {
        self.link.wake_when_lost(sleeper);
    }

    /// Whether a session is over.
    pub(crate) fn is_lost(&self) -> bool {
        self.link.lost.is_set()
    }

    /// Sends a session message and waits for its answer.
    pub(crate) fn ask_broker<B: Body>(
        &self,
        kind: ClientMessage,
        body: impl FnOnce(u32) -> B,
    ) -> Result<SessionMessage, CallError> {
        self.check_process()?;
        self.link.ask(kind, body, &[])
    }

    /// Sends a session message that has no answer.
    pub(crate) fn tell_broker<B: Body>(&self, kind: ClientMessage, body: &B) {
        if self.check_process().is_ok() {
            // After a loss there is nobody to tell.
            let _ = self.link.tell(kind, body);
        }
    }
}

macro_rules! requests {
    ($($request:ident => $handler:ident,)*) => {
        /// Every request that this node answers.
        #[cfg(test)]
        const SERVED: &[Ioctl] = &[$(Ioctl::$request,)*];

        impl HostNode {
            fn serve(
                &self,
                ioctl: Ioctl,
                bytes: &mut [u8],
                memory: &mut dyn CallerMemory,
            ) -> Result<NtStatus, CallError> {
                match ioctl {
                    $(Ioctl::$request => with(bytes, |args| self.$handler(args, memory)),)*
                    _ => Err(errno::NOT_A_REQUEST),
                }
            }
        }
    };
}

requests! {
    OPEN_ADAPTER_FROM_LUID => open_adapter_from_luid,
    ENUM_ADAPTERS2 => enum_adapters_2,
    ENUM_ADAPTERS3 => enum_adapters_3,
    CLOSE_ADAPTER => close_adapter,
    QUERY_ADAPTER_INFO => query_adapter_info,
    QUERY_VIDEO_MEMORY_INFO => query_video_memory_info,
    CHANGE_VIDEO_MEMORY_RESERVATION => change_video_memory_reservation,
    QUERY_STATISTICS => query_statistics,
    QUERY_CLOCK_CALIBRATION => query_clock_calibration,
    FLUSH_HEAP_TRANSITIONS => flush_heap_transitions,
    ESCAPE => escape,
    ENUM_PROCESSES => enum_processes,
    IS_FEATURE_ENABLED => is_feature_enabled,
    CREATE_DEVICE => create_device,
    DESTROY_DEVICE => destroy_device,
    GET_DEVICE_STATE => get_device_state,
    MARK_DEVICE_AS_ERROR => mark_device_as_error,
    CREATE_CONTEXT_VIRTUAL => create_context_virtual,
    DESTROY_CONTEXT => destroy_context,
    GET_CONTEXT_SCHEDULING_PRIORITY => get_context_scheduling_priority,
    SET_CONTEXT_SCHEDULING_PRIORITY => set_context_scheduling_priority,
    GET_CONTEXT_IN_PROCESS_SCHEDULING_PRIORITY => get_context_in_process_scheduling_priority,
    SET_CONTEXT_IN_PROCESS_SCHEDULING_PRIORITY => set_context_in_process_scheduling_priority,
    CREATE_HW_QUEUE => create_hw_queue,
    DESTROY_HW_QUEUE => destroy_hw_queue,
    CREATE_PAGING_QUEUE => create_paging_queue,
    DESTROY_PAGING_QUEUE => destroy_paging_queue,
    CREATE_ALLOCATION => create_allocation,
    DESTROY_ALLOCATION2 => destroy_allocation,
    LOCK2 => lock_allocation,
    UNLOCK2 => unlock_allocation,
    INVALIDATE_CACHE => invalidate_cache,
    OFFER_ALLOCATIONS => offer_allocations,
    RECLAIM_ALLOCATIONS2 => reclaim_allocations,
    QUERY_ALLOCATION_RESIDENCY => query_allocation_residency,
    GET_ALLOCATION_PRIORITY => get_allocation_priority,
    SET_ALLOCATION_PRIORITY => set_allocation_priority,
    MAKE_RESIDENT => make_resident,
    EVICT => evict,
    RESERVE_GPU_VIRTUAL_ADDRESS => reserve_gpu_virtual_address,
    MAP_GPU_VIRTUAL_ADDRESS => map_gpu_virtual_address,
    UPDATE_GPU_VIRTUAL_ADDRESS => update_gpu_virtual_address,
    FREE_GPU_VIRTUAL_ADDRESS => free_gpu_virtual_address,
    UPDATE_ALLOC_PROPERTY => update_allocation_property,
    CREATE_SYNCHRONIZATION_OBJECT => create_synchronization_object,
    DESTROY_SYNCHRONIZATION_OBJECT => destroy_synchronization_object,
    SIGNAL_SYNCHRONIZATION_OBJECT => signal_synchronization_object,
    SIGNAL_SYNCHRONIZATION_OBJECT_FROM_CPU => signal_from_cpu,
    SIGNAL_SYNCHRONIZATION_OBJECT_FROM_GPU => signal_from_gpu,
    SIGNAL_SYNCHRONIZATION_OBJECT_FROM_GPU2 => signal_from_gpu_2,
    SUBMIT_SIGNAL_SYNC_OBJECTS_TO_HW_QUEUE => signal_from_hw_queue,
    WAIT_FOR_SYNCHRONIZATION_OBJECT => wait_for_synchronization_object,
    WAIT_FOR_SYNCHRONIZATION_OBJECT_FROM_CPU => wait_from_cpu,
    WAIT_FOR_SYNCHRONIZATION_OBJECT_FROM_GPU => wait_from_gpu,
    SUBMIT_WAIT_FOR_SYNC_OBJECTS_TO_HW_QUEUE => wait_from_hw_queue,
    SUBMIT_COMMAND => submit_command,
    SUBMIT_COMMAND_TO_HW_QUEUE => submit_command_to_hw_queue,
    SHARE_OBJECTS => share_objects,
    OPEN_SYNC_OBJECT_FROM_NT_HANDLE2 => open_sync_object_from_nt_handle,
    QUERY_RESOURCE_INFO_FROM_NT_HANDLE => query_resource_info_from_nt_handle,
    OPEN_RESOURCE_FROM_NT_HANDLE => open_resource_from_nt_handle,
    SHARE_OBJECT_WITH_HOST => share_object_with_host,
    CREATE_SYNC_FILE => create_sync_file,
    WAIT_SYNC_FILE => wait_sync_file,
    OPEN_SYNC_OBJECT_FROM_SYNC_FILE => open_sync_object_from_sync_file,
}

/// Runs a handler on a typed copy of the argument and puts the copy back.
fn with<R: Request>(
    bytes: &mut [u8],
    handler: impl FnOnce(&mut R) -> Result<NtStatus, CallError>,
) -> Result<NtStatus, CallError> {
    let mut args = R::read_from_bytes(bytes).map_err(|_| errno::NOT_A_REQUEST)?;
    let result = handler(&mut args);
    args.write_to(bytes).map_err(|_| errno::NOT_A_REQUEST)?;
    result
}

impl Drop for HostNode {
    fn drop(&mut self) {
        if process::id() != self.opener {
            // The socket and the thread are the parent's.
            return;
        }
        self.say_goodbye();
        // The end of the session frees everything on the host at once.
        self.link.close();
        if let Some(service) = self.service.take() {
            let _ = service.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use dxg_ioctl::request::Support;

    use super::*;

    #[test]
    fn node_serves_exactly_the_requests_that_the_driver_serves() {
        let driver = Ioctl::table().iter().filter(|row| row.support == Support::Driver);
        let mut expected: Vec<Ioctl> = driver.map(|row| row.ioctl).collect();
        let mut served = SERVED.to_vec();
        expected.sort();
        served.sort();
        assert_eq!(served.len(), 65);
        assert_eq!(served, expected);
    }
}
