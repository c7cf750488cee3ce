//! The functions and interfaces of libwayland-client, found at run time.

use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::mem;
use std::sync::OnceLock;

/// `wl_display`, `wl_proxy`, `wl_event_queue`: seen by the library only.
#[repr(C)]
pub(super) struct Opaque {
    nothing: [u8; 0],
}

/// `struct wl_interface`.
#[repr(C)]
pub(super) struct Interface {
    /// What the registry calls it.
    pub(super) name: *const c_char,
    version: c_int,
    method_count: c_int,
    methods: *const c_void,
    event_count: c_int,
    events: *const c_void,
}

/// `union wl_argument`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Argument {
    /// A signed number, or a file descriptor, which the library duplicates.
    pub(super) int: i32,
    /// An unsigned number.
    pub(super) uint: u32,
    /// A string that lives through the call.
    pub(super) string: *const c_char,
    /// An object; null where a new one is to be made, or for none.
    pub(super) object: *mut Opaque,
}

/// `WL_MARSHAL_FLAG_DESTROY`: the request ends the object.
pub(super) const DESTROYS: u32 = 1;

/// `wl_proxy_marshal_array_flags`.
type Marshal =
    unsafe extern "C" fn(*mut Opaque, u32, *const Interface, u32, u32, *mut Argument) -> *mut Opaque;

/// What the library has that we use.
pub(super) struct Library {
    pub(super) create_queue: unsafe extern "C" fn(*mut Opaque) -> *mut Opaque,
    pub(super) queue_destroy: unsafe extern "C" fn(*mut Opaque),
    pub(super) dispatch_queue_pending: unsafe extern "C" fn(*mut Opaque, *mut Opaque) -> c_int,
    pub(super) prepare_read_queue: unsafe extern "C" fn(*mut Opaque, *mut Opaque) -> c_int,
    pub(super) read_events: unsafe extern "C" fn(*mut Opaque) -> c_int,
    pub(super) cancel_read: unsafe extern "C" fn(*mut Opaque),
    pub(super) flush: unsafe extern "C" fn(*mut Opaque) -> c_int,
    pub(super) get_error: unsafe extern "C" fn(*mut Opaque) -> c_int,
    pub(super) get_fd: unsafe extern "C" fn(*mut Opaque) -> c_int,
    pub(super) create_wrapper: unsafe extern "C" fn(*mut Opaque) -> *mut Opaque,
    pub(super) wrapper_destroy: unsafe extern "C" fn(*mut Opaque),
    pub(super) set_queue: unsafe extern "C" fn(*mut Opaque, *mut Opaque),
    pub(super) get_version: unsafe extern "C" fn(*mut Opaque) -> u32,
    pub(super) add_listener: unsafe extern "C" fn(*mut Opaque, *const c_void, *mut c_void) -> c_int,
    pub(super) proxy_destroy: unsafe extern "C" fn(*mut Opaque),
    pub(super) marshal: Marshal,
    pub(super) registry: &'static Interface,
    pub(super) shm: &'static Interface,
    pub(super) shm_pool: &'static Interface,
    pub(super) buffer: &'static Interface,
    pub(super) callback: &'static Interface,
}

// SAFETY: the interfaces are constants of the library, which is never closed; the rest are function pointers.
unsafe impl Send for Library {}
// SAFETY: as above; libwayland's functions may be called from any thread.
unsafe impl Sync for Library {}

impl Library {
    /// The library, opened once and for good; `None` where the process cannot have one new enough (1.20).
    pub(super) fn get() -> Option<&'static Self> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        LIBRARY.get_or_init(Self::open).as_ref()
    }

    fn open() -> Option<Self> {
        // SAFETY: the name is a C string, and the library's initialisers ask nothing of us.
        let handle =
            unsafe { libc::dlopen(c"libwayland-client.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            tracing::warn!("libwayland-client.so.0 cannot be loaded");
            return None;
        }
        let library = Self::resolve(handle);
        if library.is_none() {
            tracing::warn!("libwayland-client.so.0 is older than 1.20");
        }
        library
    }

    fn resolve(handle: *mut c_void) -> Option<Self> {
        /// The symbol of this name as what the field is.
        macro_rules! symbol {
            ($name:literal) => {{
                let address = find(handle, $name)?;
                // SAFETY:
                // - Both are one pointer wide.
                // - The library's header declares the symbol with the type that the field has.
                unsafe { mem::transmute_copy(&address) }
            }};
        }
        Some(Self {
            create_queue: symbol!(c"wl_display_create_queue"),
            queue_destroy: symbol!(c"wl_event_queue_destroy"),
            dispatch_queue_pending: symbol!(c"wl_display_dispatch_queue_pending"),
            prepare_read_queue: symbol!(c"wl_display_prepare_read_queue"),
            read_events: symbol!(c"wl_display_read_events"),
            cancel_read: symbol!(c"wl_display_cancel_read"),
            flush: symbol!(c"wl_display_flush"),
            get_error: symbol!(c"wl_display_get_error"),
            get_fd: symbol!(c"wl_display_get_fd"),
            create_wrapper: symbol!(c"wl_proxy_create_wrapper"),
            wrapper_destroy: symbol!(c"wl_proxy_wrapper_destroy"),
            set_queue: symbol!(c"wl_proxy_set_queue"),
            get_version: symbol!(c"wl_proxy_get_version"),
            add_listener: symbol!(c"wl_proxy_add_listener"),
            proxy_destroy: symbol!(c"wl_proxy_destroy"),
            marshal: symbol!(c"wl_proxy_marshal_array_flags"),
            registry: symbol!(c"wl_registry_interface"),
            shm: symbol!(c"wl_shm_interface"),
            shm_pool: symbol!(c"wl_shm_pool_interface"),
            buffer: symbol!(c"wl_buffer_interface"),
            callback: symbol!(c"wl_callback_interface"),
        })
    }
}

/// The address of a symbol.
fn find(handle: *mut c_void, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: `handle` is an open library, `name` a C string.
    let address = unsafe { libc::dlsym(handle, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
