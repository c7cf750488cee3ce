//! Surfaces of a Wayland compositor.
//!
//! *Why `wl_shm`.* The images lie in memory that this process has a descriptor of, and the compositor maps that: nothing is copied on
//! the way to it, and every compositor has it.
//!
//! *Order.* A picture in FIFO mode waits for the compositor's word that the one before was seen (`wl_surface.frame`), which does
//! not come while the surface is hidden. The thread that presents waits then, and with it the program's next acquire, as
//! long as its timeout says.

// UNSAFETY: stands on objects of libwayland that the program keeps.
#![expect(unsafe_code, reason = "the connection and the surface are the program's")]

use std::ffi::c_void;
use std::fmt;
use std::os::fd::AsFd as _;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use ash::vk;
use parking_lot::Mutex;
use tracing::debug;

use crate::ffi::wayland::Buffer;
use crate::ffi::wayland::BufferLayout;
use crate::ffi::wayland::Connection;
use crate::ffi::wayland::Deadline;
use crate::ffi::wayland::Error;
use crate::ffi::wayland::Frame;
use crate::ffi::wayland::Shm;
use crate::ffi::wayland::Surface;
use crate::ffi::wayland::Waker;
use crate::wsi::Capabilities;
use crate::wsi::Picture;
use crate::wsi::PictureFormat;
use crate::wsi::Presenter;
use crate::wsi::Shown;
use crate::wsi::Window;
use crate::wsi::drm;

/// Fewest images: one seen, one on its way, one drawn into.
const MIN_IMAGES: u32 = 3;

/// How long to look for a released picture before looking whether something else is to be done.
const GLANCE: Duration = Duration::from_millis(10);

/// What the program is told.
fn code(error: Error) -> vk::Result {
    match error {
        Error::OutOfMemory => vk::Result::ERROR_OUT_OF_HOST_MEMORY,
        Error::NoLibrary => vk::Result::ERROR_INITIALIZATION_FAILED,
        Error::Broken | Error::NoShm => vk::Result::ERROR_SURFACE_LOST_KHR,
    }
}

fn refuse(error: Error) -> vk::Result {
    debug!(%error, "no use of the program's Wayland connection");
    code(error)
}

/// # Errors
/// There is no libwayland-client, or it is out of memory.
///
/// # Safety
/// `display` is connected and stays so while the answer lives.
unsafe fn connect(display: *mut c_void) -> Result<Arc<Connection>, vk::Result> {
    let display = NonNull::new(display).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
    // SAFETY: the caller's promise.
    let connection = unsafe { Connection::new(display) }.map_err(refuse)?;
    Ok(Arc::new(connection))
}

/// Whether surfaces on this display can be presented to.
///
/// # Errors
/// The connection has failed.
///
/// # Safety
/// `display` is connected.
pub(super) unsafe fn shows(display: *mut c_void) -> Result<bool, vk::Result> {
    // SAFETY: the caller's promise.
    let connection = unsafe { connect(display) }?;
    let shm = Shm::bind(&connection).map_err(refuse)?;
    Ok(!drm::formats(&shm.formats()).is_empty())
}

/// A surface.
pub(super) struct WaylandWindow {
    shared: Arc<Shared>,
}

/// What the window and its presenters share. Members end in this order: the connection last.
struct Shared {
    /// Pictures of swapchains that are gone, which the compositor may still show: without them the surface would be blank
    /// until the next swapchain presents.
    left: Mutex<Vec<Buffer>>,
    surface: Surface,
    shm: Shm,
    connection: Arc<Connection>,
}

impl fmt::Debug for WaylandWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaylandWindow").field("formats", &self.shared.shm.formats()).finish_non_exhaustive()
    }
}

impl WaylandWindow {
    /// # Errors
    /// The connection has failed, or the compositor has no shared memory.
    ///
    /// # Safety
    /// `display` is connected, `surface` is a surface on it, and both stay so while the window lives.
    pub(super) unsafe fn new(display: *mut c_void, surface: *mut c_void) -> Result<Self, vk::Result> {
        // SAFETY: the caller's promise.
        let connection = unsafe { connect(display) }?;
        let surface = NonNull::new(surface).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)?;
        // SAFETY: the caller's promise.
        let surface = unsafe { Surface::new(&connection, surface) }.map_err(refuse)?;
        let shm = Shm::bind(&connection).map_err(refuse)?;
        Ok(Self { shared: Arc::new(Shared { left: Mutex::default(), surface, shm, connection }) })
    }
}

impl Window for WaylandWindow {
    fn capabilities(&self) -> Result<Capabilities, vk::Result> {
        self.shared.connection.check().map_err(code)?;
        let composite_alpha = vk::CompositeAlphaFlagsKHR::OPAQUE | vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED;
        // The surface is as large as what is shown in it.
        Ok(Capabilities { extent: None, composite_alpha, min_images: MIN_IMAGES })
    }

    fn formats(&self) -> Result<Vec<vk::Format>, vk::Result> {
        self.shared.connection.check().map_err(code)?;
        Ok(drm::formats(&self.shared.shm.formats()))
    }

    fn present_modes(&self) -> &'static [vk::PresentModeKHR] {
        // A compositor never shows half of one picture and half of another, so there is no immediate mode.
        &[vk::PresentModeKHR::MAILBOX, vk::PresentModeKHR::FIFO]
    }

    fn wants_pictures(&self) -> bool {
        true
    }

    fn presenter(
        &self,
        format: PictureFormat,
        pictures: Vec<Picture>,
    ) -> Result<Box<dyn Presenter>, vk::Result> {
        let shared = &self.shared;
        let number = drm::number(format.format, format.composite_alpha, &shared.shm.formats());
        let number = number.ok_or(vk::Result::ERROR_INITIALIZATION_FAILED)?;
        let buffers = pictures.iter().map(|picture| buffer(&shared.shm, format.extent, picture, number));
        let buffers = buffers.collect::<Result<Vec<_>, _>>()?;
        shared.connection.flush().map_err(code)?;
        let waker = Waker::new().map_err(|_| vk::Result::ERROR_OUT_OF_HOST_MEMORY)?;
        Ok(Box::new(WaylandPresenter {
            shared: Arc::clone(shared),
            buffers: buffers.into_iter().map(|buffer| Slot { buffer, is_out: false }).collect(),
            frame: None,
            pace: if format.mode == vk::PresentModeKHR::FIFO { Pace::Frames } else { Pace::AtOnce },
            hurry: Arc::new(waker),
        }))
    }
}

/// Gives the compositor a picture's memory.
fn buffer(shm: &Shm, extent: vk::Extent2D, picture: &Picture, format: u32) -> Result<Buffer, vk::Result> {
    let layout = || {
        Some(BufferLayout {
            offset_bytes: i32::try_from(picture.offset_bytes).ok()?,
            width: i32::try_from(extent.width).ok()?,
            height: i32::try_from(extent.height).ok()?,
            stride_bytes: i32::try_from(picture.row_bytes).ok()?,
            format,
        })
    };
    // The protocol has no numbers for more than 2 GiB.
    let layout = layout().ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?;
    let pool = shm.pool(picture.memory.as_fd(), picture.memory_bytes).map_err(code)?;
    pool.ok_or(vk::Result::ERROR_OUT_OF_DEVICE_MEMORY)?.buffer(&layout).map_err(code)
}

/// When a picture may follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// When the compositor says that it is time.
    Frames,
    /// At once; the compositor shows the newest.
    AtOnce,
}

/// An image, and whether it is the compositor's.
struct Slot {
    buffer: Buffer,
    is_out: bool,
}

impl Slot {
    fn is_back(&self) -> bool {
        self.is_out && !self.buffer.is_busy()
    }
}

/// Shows pictures in a surface.
struct WaylandPresenter {
    buffers: Vec<Slot>,
    /// What tells that the last picture was seen.
    frame: Option<Frame>,
    pace: Pace,
    hurry: Arc<Waker>,
    shared: Arc<Shared>,
}

impl WaylandPresenter {
    fn try_show(&mut self, image: usize, damage: &[vk::RectLayerKHR]) -> Result<(), Error> {
        let connection = &self.shared.connection;
        connection.check()?;
        if let Some(frame) = self.frame.take() {
            connection.wait(Deadline::Never, Some(&self.hurry), || frame.is_done())?;
        }
        if self.pace == Pace::Frames {
            self.frame = Some(self.shared.surface.frame()?);
        }
        let Some(slot) = self.buffers.get_mut(image) else { return Ok(()) };
        let damage: Vec<_> = damage.iter().map(area).collect();
        slot.is_out = true;
        self.shared.surface.show(&slot.buffer, &damage);
        connection.flush()?;
        self.shared.left.lock().retain(Buffer::is_busy);
        Ok(())
    }
}

/// A rectangle as Wayland has them.
fn area(rect: &vk::RectLayerKHR) -> [i32; 4] {
    let length = |length| i32::try_from(length).unwrap_or(i32::MAX);
    [rect.offset.x, rect.offset.y, length(rect.extent.width), length(rect.extent.height)]
}

impl Presenter for WaylandPresenter {
    fn show(&mut self, image: usize, damage: &[vk::RectLayerKHR]) -> Shown {
        match self.try_show(image, damage) {
            Ok(()) => Shown::Optimal,
            Err(error) => {
                debug!(%error, "the compositor did not show a picture");
                Shown::SurfaceLost
            }
        }
    }

    fn released(&mut self) -> Vec<usize> {
        // A broken connection releases nothing; showing and waiting say that it is.
        let _ = self.shared.connection.wait(Deadline::Now, None, || false);
        let back = self.buffers.iter_mut().enumerate().filter(|(_, slot)| slot.is_back());
        back.map(|(image, slot)| {
            slot.is_out = false;
            image
        })
        .collect()
    }

    fn wait_released(&mut self) -> Shown {
        let deadline = Instant::now().checked_add(GLANCE).map_or(Deadline::Now, Deadline::At);
        let is_back = || self.buffers.iter().any(Slot::is_back);
        match self.shared.connection.wait(deadline, Some(&self.hurry), is_back) {
            Ok(_) => Shown::Optimal,
            Err(_) => Shown::SurfaceLost,
        }
    }

    fn hurry(&self) -> Option<Box<dyn Fn() + Send + Sync>> {
        let waker = Arc::clone(&self.hurry);
        Some(Box::new(move || waker.wake()))
    }
}

impl Drop for WaylandPresenter {
    fn drop(&mut self) {
        let busy = self.buffers.drain(..).map(|slot| slot.buffer).filter(Buffer::is_busy);
        let mut left = self.shared.left.lock();
        left.retain(Buffer::is_busy);
        left.extend(busy);
        drop(left);
        // A connection that is broken needs nothing any more.
        let _ = self.shared.connection.flush();
    }
}

#[cfg(test)]
mod compositor;
#[cfg(test)]
mod tests;
