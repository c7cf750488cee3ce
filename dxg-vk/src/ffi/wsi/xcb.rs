//! Windows of an X server.
//!
//! *Why on the program's connection.* What the program asked of the server before it presents (that the window be shown, that it
//! have this size) comes first there. Only requests whose errors come back to us are sent, and no events are asked for, so that
//! the program's own see nothing of it.

// UNSAFETY: stands on a connection that the program keeps open.
#![expect(unsafe_code, reason = "the connection is the program's")]

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use ash::vk;
use tracing::debug;
use x11rb::connection::Connection as _;
use x11rb::connection::RequestConnection as _;
use x11rb::errors::ReplyError;
use x11rb::protocol::ErrorKind;
use x11rb::protocol::shm;
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xproto;
use x11rb::protocol::xproto::ConnectionExt as _;
use x11rb::xcb_ffi::XCBConnection;

use crate::wsi::Capabilities;
use crate::wsi::Picture;
use crate::wsi::PictureFormat;
use crate::wsi::Presenter;
use crate::wsi::Shown;
use crate::wsi::Window;
use crate::wsi::pixels;

/// Fewest images: one seen, one on its way, one drawn into.
const MIN_IMAGES: u32 = 3;

/// # Errors
/// The connection has failed.
///
/// # Safety
/// `connection` is open and stays so while the answer lives.
unsafe fn connect(connection: *mut c_void) -> Result<XCBConnection, vk::Result> {
    // SAFETY: the caller promises an open connection, which is not closed with this.
    let made = unsafe { XCBConnection::from_raw_xcb_connection(connection, false) };
    made.map_err(|error| {
        debug!(%error, "no use of the program's X connection");
        vk::Result::ERROR_SURFACE_LOST_KHR
    })
}

/// The visual of this number, with the depth that it belongs to.
fn visual_of(connection: &XCBConnection, visual: u32) -> Option<(u8, xproto::Visualtype)> {
    let depths = connection.setup().roots.iter().flat_map(|screen| &screen.allowed_depths);
    depths.into_iter().find_map(|depth| {
        let found = depth.visuals.iter().find(|known| known.visual_id == visual)?;
        Some((depth.depth, *found))
    })
}

/// The formats whose pixels are those of a visual, in this server's byte order.
fn formats_of(connection: &XCBConnection, depth: u8, visual: &xproto::Visualtype) -> &'static [vk::Format] {
    let setup = connection.setup();
    let in_words =
        setup.pixmap_formats.iter().any(|format| format.depth == depth && format.bits_per_pixel == 32);
    let is_direct =
        visual.class == xproto::VisualClass::TRUE_COLOR || visual.class == xproto::VisualClass::DIRECT_COLOR;
    if !in_words || !is_direct || setup.image_byte_order != xproto::ImageOrder::LSB_FIRST {
        return &[];
    }
    pixels::formats_of_masks(visual.red_mask, visual.green_mask, visual.blue_mask)
}

/// Whether windows with this visual can be presented to.
///
/// # Errors
/// The connection has failed.
///
/// # Safety
/// `connection` is open.
pub(super) unsafe fn shows(connection: *mut c_void, visual: u32) -> Result<bool, vk::Result> {
    // SAFETY: the caller promises an open connection.
    let connection = unsafe { connect(connection) }?;
    Ok(visual_of(&connection, visual)
        .is_some_and(|(depth, visual)| !formats_of(&connection, depth, &visual).is_empty()))
}

/// A window.
pub(super) struct XcbWindow {
    connection: Arc<XCBConnection>,
    window: xproto::Window,
}

impl fmt::Debug for XcbWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XcbWindow").field("window", &self.window).finish_non_exhaustive()
    }
}

fn lost<E>(_: E) -> vk::Result {
    vk::Result::ERROR_SURFACE_LOST_KHR
}

impl XcbWindow {
    /// # Errors
    /// The connection has failed.
    ///
    /// # Safety
    /// `connection` is open and stays so while the window lives.
    pub(super) unsafe fn new(connection: *mut c_void, window: xproto::Window) -> Result<Self, vk::Result> {
        // SAFETY: the caller promises an open connection.
        let connection = unsafe { connect(connection) }?;
        Ok(Self { connection: Arc::new(connection), window })
    }

    fn visual(&self) -> Result<(u8, xproto::Visualtype), vk::Result> {
        let attributes = self.connection.get_window_attributes(self.window).map_err(lost)?;
        let attributes = attributes.reply().map_err(lost)?;
        visual_of(&self.connection, attributes.visual).ok_or(vk::Result::ERROR_SURFACE_LOST_KHR)
    }

    /// Whether the server takes memory by descriptor: it is on this machine and new enough.
    fn has_shared_memory(&self) -> bool {
        let there = self.connection.extension_information(shm::X11_EXTENSION_NAME);
        if !matches!(there, Ok(Some(_))) {
            return false;
        }
        let version = self.connection.shm_query_version().ok().and_then(|asked| asked.reply().ok());
        version.is_some_and(|version| (version.major_version, version.minor_version) >= (1, 2))
    }

    /// Gives the server a picture's memory.
    fn attach(&self, picture: &Picture) -> Option<shm::Seg> {
        let segment = self.connection.generate_id().ok()?;
        let memory = picture.memory.try_clone().ok()?;
        let attached = self.connection.shm_attach_fd(segment, memory, true).ok()?;
        match attached.check() {
            Ok(()) => Some(segment),
            Err(error) => {
                debug!(%error, "the X server does not take shared memory; pictures are sent");
                None
            }
        }
    }
}

impl Window for XcbWindow {
    fn capabilities(&self) -> Result<Capabilities, vk::Result> {
        let geometry = self.connection.get_geometry(self.window).map_err(lost)?.reply().map_err(lost)?;
        let (width, height) = (u32::from(geometry.width), u32::from(geometry.height));
        let alpha = if geometry.depth == 32 {
            vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED
        } else {
            vk::CompositeAlphaFlagsKHR::OPAQUE
        };
        let composite_alpha = alpha | vk::CompositeAlphaFlagsKHR::INHERIT;
        Ok(Capabilities {
            extent: Some(vk::Extent2D { width, height }),
            composite_alpha,
            min_images: MIN_IMAGES,
        })
    }

    fn formats(&self) -> Result<Vec<vk::Format>, vk::Result> {
        let (depth, visual) = self.visual()?;
        Ok(formats_of(&self.connection, depth, &visual).to_vec())
    }

    fn present_modes(&self) -> &'static [vk::PresentModeKHR] {
        &[
            vk::PresentModeKHR::IMMEDIATE,
            vk::PresentModeKHR::MAILBOX,
            vk::PresentModeKHR::FIFO,
            vk::PresentModeKHR::FIFO_RELAXED,
        ]
    }

    fn wants_pictures(&self) -> bool {
        true
    }

    fn presenter(
        &self,
        format: PictureFormat,
        pictures: Vec<Picture>,
    ) -> Result<Box<dyn Presenter>, vk::Result> {
        let geometry = self.connection.get_geometry(self.window).map_err(lost)?.reply().map_err(lost)?;
        let context = self.connection.generate_id().map_err(lost)?;
        let made = self.connection.create_gc(context, self.window, &xproto::CreateGCAux::new());
        made.map_err(lost)?.check().map_err(lost)?;
        let is_shared = self.has_shared_memory();
        let pictures = pictures.into_iter().map(|picture| {
            let segment = if is_shared { self.attach(&picture) } else { None };
            (picture, segment)
        });
        Ok(Box::new(XcbPresenter {
            connection: Arc::clone(&self.connection),
            window: self.window,
            context,
            depth: geometry.depth,
            extent: format.extent,
            pictures: pictures.collect(),
            shown: Vec::new(),
        }))
    }
}

/// Shows pictures in a window.
struct XcbPresenter {
    connection: Arc<XCBConnection>,
    window: xproto::Window,
    context: xproto::Gcontext,
    depth: u8,
    extent: vk::Extent2D,
    pictures: Vec<(Picture, Option<shm::Seg>)>,
    shown: Vec<usize>,
}

/// A length as X has them.
fn short(length: u32) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// A place as X has them.
fn place(at: i32) -> i16 {
    i16::try_from(at).unwrap_or(i16::MAX)
}

impl XcbPresenter {
    /// Has the server read a part of a picture; it has when this returns.
    fn put(&self, picture: &Picture, segment: shm::Seg, part: vk::Rect2D) -> Result<(), ReplyError> {
        let put = self.connection.shm_put_image(
            self.window,
            self.context,
            short(picture.row_bytes / 4),
            short(self.extent.height),
            short(part.offset.x.cast_unsigned()),
            short(part.offset.y.cast_unsigned()),
            short(part.extent.width),
            short(part.extent.height),
            place(part.offset.x),
            place(part.offset.y),
            self.depth,
            u8::from(xproto::ImageFormat::Z_PIXMAP),
            false,
            segment,
            u32::try_from(picture.offset_bytes).unwrap_or_default(),
        )?;
        put.check()
    }

    /// Sends the rows of a part of a picture, as many as fit in a request at a time.
    fn send(&self, picture: &Picture, part: vk::Rect2D) -> Result<(), ReplyError> {
        const REQUEST_BYTES: usize = 64;
        let row_bytes = part.extent.width as usize * 4;
        let most = self.connection.maximum_request_bytes().saturating_sub(REQUEST_BYTES);
        let rows_at_once = u32::try_from((most / row_bytes.max(1)).max(1)).unwrap_or(1);
        let mut done = 0;
        while done < part.extent.height {
            let rows = rows_at_once.min(part.extent.height - done);
            let mut bytes = vec![0_u8; row_bytes * rows as usize];
            for (row, to) in bytes.chunks_exact_mut(row_bytes.max(1)).enumerate() {
                let from_row = part.offset.y.cast_unsigned() as usize + done as usize + row;
                let start = usize::try_from(picture.offset_bytes).unwrap_or_default()
                    + from_row * picture.row_bytes as usize
                    + part.offset.x.cast_unsigned() as usize * 4;
                if picture.mapping.copy_out(start, to).is_err() {
                    to.fill(0);
                }
            }
            let put = self.connection.put_image(
                xproto::ImageFormat::Z_PIXMAP,
                self.window,
                self.context,
                short(part.extent.width),
                short(rows),
                place(part.offset.x),
                place(part.offset.y + done.cast_signed()),
                0,
                self.depth,
                &bytes,
            )?;
            put.check()?;
            done += rows;
        }
        Ok(())
    }

    fn window_extent(&self) -> Result<vk::Extent2D, ReplyError> {
        let geometry = self.connection.get_geometry(self.window)?.reply()?;
        Ok(vk::Extent2D { width: u32::from(geometry.width), height: u32::from(geometry.height) })
    }

    fn try_show(&self, image: usize, damage: &[vk::RectLayerKHR]) -> Result<Shown, ReplyError> {
        let Some((picture, segment)) = self.pictures.get(image) else { return Ok(Shown::OutOfDate) };
        let part = pixels::bounds(damage, self.extent);
        if part.extent.width > 0 && part.extent.height > 0 {
            match segment {
                Some(segment) => self.put(picture, *segment, part)?,
                None => self.send(picture, part)?,
            }
        }
        let extent = self.window_extent()?;
        Ok(if extent == self.extent { Shown::Optimal } else { Shown::Suboptimal })
    }
}

impl Presenter for XcbPresenter {
    fn show(&mut self, image: usize, damage: &[vk::RectLayerKHR]) -> Shown {
        self.shown.push(image);
        self.try_show(image, damage).unwrap_or_else(|error| {
            debug!(%error, "the X server did not show a picture");
            match error {
                ReplyError::X11Error(error)
                    if !matches!(error.error_kind, ErrorKind::Window | ErrorKind::Drawable) =>
                {
                    Shown::OutOfDate
                }
                _ => Shown::SurfaceLost,
            }
        })
    }

    fn released(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.shown)
    }
}

impl Drop for XcbPresenter {
    fn drop(&mut self) {
        // A server or window that is gone has forgotten these.
        for segment in self.pictures.iter().filter_map(|(_, segment)| *segment) {
            if let Ok(detached) = self.connection.shm_detach(segment) {
                let _ = detached.check();
            }
        }
        if let Ok(freed) = self.connection.free_gc(self.context) {
            let _ = freed.check();
        }
    }
}
