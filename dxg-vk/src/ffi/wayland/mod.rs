//! The part of libwayland-client that presenting needs, made safe.
//!
//! *Why.* The program gives us its `wl_display` and `wl_surface`, objects of the copy of libwayland-client that it has
//! loaded. Only calls into that same copy reach them, so the library is opened by its name at run time, which finds the
//! copy that is there; a driver that was linked with it could not be loaded where there is no Wayland.
//!
//! *Invariants.* Every object here lives on a queue of ours ([`Connection`]), so the program's queues see none of our
//! events, and we see none of theirs. No callback runs while an object is destroyed (`Connection::dispatching`).
//!
//! *Source.* Opcodes, signatures and versions: `wayland.xml` and `wayland-client-core.h`.

// UNSAFETY: functions of a C library are called, and it calls back.
#![expect(unsafe_code, reason = "libwayland-client is a C library")]

mod connection;
mod library;
mod objects;
mod proxy;
mod waker;

pub(crate) use self::connection::Connection;
pub(crate) use self::connection::Deadline;
pub(crate) use self::connection::Error;
pub(crate) use self::objects::Buffer;
pub(crate) use self::objects::BufferLayout;
pub(crate) use self::objects::Frame;
pub(crate) use self::objects::Shm;
pub(crate) use self::objects::Surface;
pub(crate) use self::waker::Waker;
