//! An object of the protocol, as we hold it.

use std::ffi::c_void;
use std::ptr;
use std::ptr::NonNull;
use std::sync::Arc;

use super::connection::Connection;
use super::connection::Error;
use super::library::Argument;
use super::library::DESTROYS;
use super::library::Interface;
use super::library::Opaque;

/// How an object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is a wrapper of an object that is not ours.
    Wrapper,
    /// By a request with this opcode.
    Request(u32),
    /// The compositor hears nothing of it.
    Silent,
}

/// An object on our queue.
pub(super) struct Proxy {
    pub(super) connection: Arc<Connection>,
    raw: NonNull<Opaque>,
    end: End,
}

// SAFETY: libwayland's proxies may be used from any thread, and what callbacks are given may too (`listen`).
unsafe impl Send for Proxy {}
// SAFETY: as above.
unsafe impl Sync for Proxy {}

impl Proxy {
    /// A wrapper of an object of the program's, whose new objects come to our queue.
    ///
    /// # Safety
    /// `object` is a proxy on the connection's display, and stays until the result is dropped.
    pub(super) unsafe fn wrap(connection: &Arc<Connection>, object: NonNull<Opaque>) -> Result<Self, Error> {
        // SAFETY: the caller's promise: a live proxy.
        let raw = unsafe { (connection.library.create_wrapper)(object.as_ptr()) };
        let raw = NonNull::new(raw).ok_or(Error::OutOfMemory)?;
        // SAFETY: the wrapper is new, and the queue is of its display.
        unsafe { (connection.library.set_queue)(raw.as_ptr(), connection.queue.as_ptr()) };
        Ok(Self { connection: Arc::clone(connection), raw, end: End::Wrapper })
    }

    /// The version of the interface that the object speaks.
    pub(super) fn version(&self) -> u32 {
        // SAFETY: the proxy is alive.
        unsafe { (self.connection.library.get_version)(self.raw.as_ptr()) }
    }

    /// The object as an argument.
    pub(super) fn argument(&self) -> Argument {
        Argument { object: self.raw.as_ptr() }
    }

    /// Makes a request that creates nothing.
    ///
    /// # Safety
    /// `opcode` is a request of the object's interface and version, without a new object, and `arguments` are what its
    /// signature says.
    pub(super) unsafe fn request(&self, opcode: u32, arguments: &mut [Argument]) {
        // SAFETY: the proxy is alive, the arguments are the caller's promise.
        unsafe {
            (self.connection.library.marshal)(
                self.raw.as_ptr(),
                opcode,
                ptr::null(),
                self.version(),
                0,
                arguments.as_mut_ptr(),
            )
        };
    }

    /// Makes a request that creates an object of `interface`, which ends by `end`.
    ///
    /// # Safety
    /// As [`Proxy::request`], but the request creates one object, which `arguments` hold a null for.
    pub(super) unsafe fn create(
        &self,
        opcode: u32,
        interface: &'static Interface,
        version: u32,
        end: End,
        arguments: &mut [Argument],
    ) -> Result<Self, Error> {
        // SAFETY: the proxy is alive, the arguments are the caller's promise.
        let raw = unsafe {
            (self.connection.library.marshal)(
                self.raw.as_ptr(),
                opcode,
                interface,
                version,
                0,
                arguments.as_mut_ptr(),
            )
        };
        let raw = NonNull::new(raw).ok_or(Error::OutOfMemory)?;
        Ok(Self { connection: Arc::clone(&self.connection), raw, end })
    }

    /// Has events call the functions of `listener` with `data`.
    ///
    /// An event that comes before this is lost; none can, while `Connection::dispatching` is held from before the object
    /// was made.
    ///
    /// # Safety
    /// - `listener` is a table with one function for each event of the object's interface and version, of its signature.
    /// - `data` is what they take it for, until this object is dropped, from any thread.
    pub(super) unsafe fn listen(&self, listener: &'static [*const c_void], data: *const c_void) {
        let (listener, data) = (listener.as_ptr().cast(), data.cast_mut());
        // Fails only for an object that has a listener, which a new one has not.
        // SAFETY: the proxy is alive; table and data are the caller's promise.
        unsafe { (self.connection.library.add_listener)(self.raw.as_ptr(), listener, data) };
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let library = self.connection.library;
        let _no_callback_runs = self.connection.dispatching.lock();
        match self.end {
            // SAFETY: the wrapper is alive and ours.
            End::Wrapper => unsafe { (library.wrapper_destroy)(self.raw.as_ptr()) },
            // SAFETY: the object is alive and ours.
            End::Silent => unsafe { (library.proxy_destroy)(self.raw.as_ptr()) },
            End::Request(opcode) => {
                let (raw, version) = (self.raw.as_ptr(), self.version());
                // SAFETY: the object is alive and ours, and the request has no arguments.
                unsafe { (library.marshal)(raw, opcode, ptr::null(), version, DESTROYS, ptr::null_mut()) };
            }
        }
    }
}
