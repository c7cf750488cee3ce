//! The objects that presenting needs: shared memory, buffers, the surface and its frames.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::ffi::c_char;
use std::ffi::c_void;
use std::os::fd::AsRawFd as _;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::connection::Connection;
use super::connection::Deadline;
use super::connection::Error;
use super::library::Argument;
use super::library::Opaque;
use super::proxy::End;
use super::proxy::Proxy;

/// Where a request's new object goes.
const NEW: Argument = Argument { object: ptr::null_mut() };

/// Waits until the compositor has handled all that was requested before.
fn round_trip(connection: &Arc<Connection>, display: &Proxy) -> Result<(), Error> {
    let done = Box::new(AtomicBool::new(false));
    // `wl_display.sync`.
    let callback = Frame::new(display, 0, done)?;
    connection.wait(Deadline::Never, None, || callback.is_done())?;
    Ok(())
}

/// What the registry has told.
#[derive(Default)]
struct Globals {
    /// The name of `wl_shm`.
    shm: Mutex<Option<u32>>,
}

extern "C" fn on_global(
    globals: *const Globals,
    _registry: *mut Opaque,
    name: u32,
    interface: *const c_char,
    _version: u32,
) {
    // SAFETY: the event's string is a C string that lives through the call.
    let interface = unsafe { CStr::from_ptr(interface) };
    if interface == c"wl_shm" {
        // SAFETY: `globals` is what was given with the listener, and outlives the registry's proxy.
        let globals = unsafe { &*globals };
        *globals.shm.lock() = Some(name);
    }
}

extern "C" fn on_global_remove(_globals: *const Globals, _registry: *mut Opaque, _name: u32) {}

extern "C" fn on_format(formats: *const Mutex<BTreeSet<u32>>, _shm: *mut Opaque, format: u32) {
    // SAFETY: `formats` is what was given with the listener, and outlives the proxy.
    unsafe { &*formats }.lock().insert(format);
}

/// An event that tells only that it has come: `wl_callback.done`, with a number.
extern "C" fn on_done(done: *const AtomicBool, _callback: *mut Opaque, _data: u32) {
    // SAFETY: `done` is what was given with the listener, and outlives the proxy.
    unsafe { &*done }.store(true, Ordering::Release);
}

/// `wl_buffer.release`.
extern "C" fn on_release(is_busy: *const AtomicBool, _buffer: *mut Opaque) {
    // SAFETY: `is_busy` is what was given with the listener, and outlives the proxy.
    unsafe { &*is_busy }.store(false, Ordering::Release);
}

/// A table of event functions: one pointer for each event, in the protocol's order.
struct Table<const N: usize>([*const c_void; N]);

// SAFETY: the pointers are functions.
unsafe impl<const N: usize> Sync for Table<N> {}

static REGISTRY: Table<2> = Table([on_global as *const c_void, on_global_remove as *const c_void]);
static SHM: Table<1> = Table([on_format as *const c_void]);
static CALLBACK: Table<1> = Table([on_done as *const c_void]);
static BUFFER: Table<1> = Table([on_release as *const c_void]);

/// The compositor's shared memory. Fields are dropped in this order.
pub(crate) struct Shm {
    proxy: Proxy,
    formats: Box<Mutex<BTreeSet<u32>>>,
}

impl Shm {
    /// Asks the compositor for its shared memory and the formats it takes; two round trips.
    ///
    /// # Errors
    /// [`Error::NoShm`], [`Error::Broken`], [`Error::OutOfMemory`].
    pub(crate) fn bind(connection: &Arc<Connection>) -> Result<Self, Error> {
        // SAFETY: the display is a proxy, and outlives the connection and all that holds it.
        let display = unsafe { Proxy::wrap(connection, connection.display) }?;
        let library = connection.library;
        let globals = Box::new(Globals::default());
        let dispatching = connection.dispatching.lock();
        // SAFETY: `wl_display.get_registry` creates a registry and takes nothing else.
        let registry = unsafe { display.create(1, library.registry, 1, End::Silent, &mut [NEW]) }?;
        // SAFETY: the table has the registry's two events; `globals` is dropped after the proxy.
        unsafe { registry.listen(&REGISTRY.0, (&raw const *globals).cast()) };
        drop(dispatching);
        round_trip(connection, &display)?;
        let name = globals.shm.lock().ok_or(Error::NoShm)?;

        let formats = Box::new(Mutex::new(BTreeSet::new()));
        let mut arguments =
            [Argument { uint: name }, Argument { string: library.shm.name }, Argument { uint: 1 }, NEW];
        let dispatching = connection.dispatching.lock();
        // SAFETY: `wl_registry.bind` takes a name, an interface's name and version, and creates the object.
        let proxy = unsafe { registry.create(0, library.shm, 1, End::Silent, &mut arguments) }?;
        // SAFETY: the table has the one event; `formats` is dropped after the proxy.
        unsafe { proxy.listen(&SHM.0, (&raw const *formats).cast()) };
        drop(dispatching);
        round_trip(connection, &display)?;
        Ok(Self { proxy, formats })
    }

    /// The formats that buffers may have, as `wl_shm` numbers them.
    pub(crate) fn formats(&self) -> BTreeSet<u32> {
        self.formats.lock().clone()
    }

    /// Gives the compositor `size_bytes` of `memory`; `None` for a size that the protocol cannot say.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn pool(&self, memory: BorrowedFd<'_>, size_bytes: u64) -> Result<Option<Pool>, Error> {
        let Ok(size) = i32::try_from(size_bytes) else { return Ok(None) };
        let mut arguments = [NEW, Argument { int: memory.as_raw_fd() }, Argument { int: size }];
        let interface = self.proxy.connection.library.shm_pool;
        // SAFETY: `wl_shm.create_pool` creates a pool of a descriptor and a size.
        let proxy = unsafe { self.proxy.create(0, interface, 1, End::Request(1), &mut arguments) }?;
        Ok(Some(Pool { proxy }))
    }
}

/// Memory that the compositor sees.
pub(crate) struct Pool {
    proxy: Proxy,
}

/// How a picture lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferLayout {
    /// First byte of the first row.
    pub(crate) offset_bytes: i32,
    /// In pixels.
    pub(crate) width: i32,
    /// In pixels.
    pub(crate) height: i32,
    /// From one row to the next.
    pub(crate) stride_bytes: i32,
    /// As `wl_shm` numbers them.
    pub(crate) format: u32,
}

impl Pool {
    /// A picture in the memory; it stays when the pool goes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn buffer(&self, layout: &BufferLayout) -> Result<Buffer, Error> {
        let mut arguments = [
            NEW,
            Argument { int: layout.offset_bytes },
            Argument { int: layout.width },
            Argument { int: layout.height },
            Argument { int: layout.stride_bytes },
            Argument { uint: layout.format },
        ];
        let is_busy = Box::new(AtomicBool::new(false));
        let connection = &self.proxy.connection;
        let dispatching = connection.dispatching.lock();
        // SAFETY: `wl_shm_pool.create_buffer` creates a buffer of four numbers and a format.
        let proxy =
            unsafe { self.proxy.create(0, connection.library.buffer, 1, End::Request(0), &mut arguments) }?;
        // SAFETY: the table has the one event; `is_busy` is dropped after the proxy.
        unsafe { proxy.listen(&BUFFER.0, (&raw const *is_busy).cast()) };
        drop(dispatching);
        Ok(Buffer { proxy, is_busy })
    }
}

/// A picture that the compositor can show. Fields are dropped in this order.
pub(crate) struct Buffer {
    proxy: Proxy,
    is_busy: Box<AtomicBool>,
}

impl Buffer {
    /// Whether the compositor may still read it.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }
}

/// A moment that the compositor tells once. Fields are dropped in this order.
pub(crate) struct Frame {
    _proxy: Proxy,
    done: Box<AtomicBool>,
}

impl Frame {
    /// Makes the request `opcode` of `parent`, which creates a `wl_callback` and takes nothing else.
    fn new(parent: &Proxy, opcode: u32, done: Box<AtomicBool>) -> Result<Self, Error> {
        let connection = &parent.connection;
        let dispatching = connection.dispatching.lock();
        // SAFETY: both callers name such a request.
        let proxy =
            unsafe { parent.create(opcode, connection.library.callback, 1, End::Silent, &mut [NEW]) }?;
        // SAFETY: the table has the one event; `done` is dropped after the proxy.
        unsafe { proxy.listen(&CALLBACK.0, (&raw const *done).cast()) };
        drop(dispatching);
        Ok(Self { _proxy: proxy, done })
    }

    /// Whether it has come.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }
}

/// A rectangle of a picture: left, top, width, height.
pub(crate) type Area = [i32; 4];

/// The program's surface.
pub(crate) struct Surface {
    proxy: Proxy,
    version: u32,
}

impl Surface {
    /// Wraps the program's surface.
    ///
    /// # Safety
    /// `surface` is a `wl_surface` on the connection's display, and stays until the result is dropped.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) unsafe fn new(connection: &Arc<Connection>, surface: NonNull<c_void>) -> Result<Self, Error> {
        // SAFETY: the caller's promise.
        let proxy = unsafe { Proxy::wrap(connection, surface.cast()) }?;
        let version = proxy.version();
        Ok(Self { proxy, version })
    }

    /// Asks to be told when it is a good time for the next picture after the next commit.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub(crate) fn frame(&self) -> Result<Frame, Error> {
        Frame::new(&self.proxy, 3, Box::new(AtomicBool::new(false)))
    }

    /// Shows `buffer`, of which `damage` has changed; all of it where `damage` is empty.
    pub(crate) fn show(&self, buffer: &Buffer, damage: &[Area]) {
        buffer.is_busy.store(true, Ordering::Release);
        let mut arguments = [buffer.proxy.argument(), Argument { int: 0 }, Argument { int: 0 }];
        // SAFETY: `wl_surface.attach` takes a buffer and two numbers.
        unsafe { self.proxy.request(1, &mut arguments) };
        // `damage_buffer` came with version 4. The older `damage` counts in the surface's own units, which we do not know,
        // so all is damaged.
        const DAMAGE_BUFFER_SINCE: u32 = 4;
        let (opcode, areas): (u32, &[Area]) = match (self.version >= DAMAGE_BUFFER_SINCE, damage) {
            (false, _) => (2, &[[0, 0, i32::MAX, i32::MAX]]),
            (true, []) => (9, &[[0, 0, i32::MAX, i32::MAX]]),
            (true, some) => (9, some),
        };
        for area in areas {
            // SAFETY: both requests take four numbers, and the surface is of a version that has them.
            unsafe { self.proxy.request(opcode, &mut area.map(|int| Argument { int })) };
        }
        // SAFETY: `wl_surface.commit` takes nothing.
        unsafe { self.proxy.request(6, &mut []) };
    }
}
