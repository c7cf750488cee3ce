//! A compositor that does what a test tells it, and tells what it was asked.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::Sender;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::poll;
use wayland_server::Client;
use wayland_server::DataInit;
use wayland_server::Dispatch;
use wayland_server::Display;
use wayland_server::DisplayHandle;
use wayland_server::GlobalDispatch;
use wayland_server::New;
use wayland_server::Resource as _;
use wayland_server::WEnum;
use wayland_server::backend::ClientData;
use wayland_server::protocol::wl_buffer;
use wayland_server::protocol::wl_buffer::WlBuffer;
use wayland_server::protocol::wl_callback::WlCallback;
use wayland_server::protocol::wl_compositor;
use wayland_server::protocol::wl_compositor::WlCompositor;
use wayland_server::protocol::wl_shm;
use wayland_server::protocol::wl_shm::Format;
use wayland_server::protocol::wl_shm::WlShm;
use wayland_server::protocol::wl_shm_pool;
use wayland_server::protocol::wl_shm_pool::WlShmPool;
use wayland_server::protocol::wl_surface;
use wayland_server::protocol::wl_surface::WlSurface;

/// What a test tells the compositor.
pub(super) enum Order {
    /// It is time for the next frame: all that wait for it are told.
    Frame,
    /// The oldest picture that it has is the program's again.
    Release,
    /// To be gone.
    Die,
}

/// What the compositor tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// A picture is to be seen.
    Commit(Commit),
    /// A picture is gone: its offset in its memory.
    Destroyed(i32),
    /// The order for a frame is being carried out.
    Framing,
}

/// A picture, and how it was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commit {
    /// Its first and its last pixel.
    pub(super) pixels: [u32; 2],
    pub(super) size: [i32; 2],
    pub(super) format: Format,
    /// In the buffer's pixels.
    pub(super) damage: Vec<[i32; 4]>,
    /// In the surface's units.
    pub(super) surface_damage: Vec<[i32; 4]>,
    /// How many frame callbacks came with it.
    pub(super) frames: usize,
}

/// A compositor on a thread of its own, with one client.
pub(super) struct Compositor {
    orders: Sender<Order>,
    wake: UnixStream,
    pub(super) told: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
}

impl Compositor {
    /// Starts one whose surfaces have this version, and the client's end of its connection.
    pub(super) fn start(version: u32) -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (wake, woken) = UnixStream::pair().unwrap();
        let (orders, to_do) = channel();
        let (tell, told) = channel();
        let thread = std::thread::spawn(move || {
            let state = State { tell, frames: Vec::new(), held: VecDeque::new(), next: Pending::default() };
            serve(state, version, ours, &woken, &to_do);
        });
        (Self { orders, wake, told, thread: Some(thread) }, theirs)
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        rustix::io::write(&self.wake, &[0]).unwrap();
    }

    /// The next picture, when what is told before it is of no interest.
    pub(super) fn commit(&self) -> Commit {
        loop {
            if let Told::Commit(commit) = self.told.recv().unwrap() {
                return commit;
            }
        }
    }
}

impl Drop for Compositor {
    fn drop(&mut self) {
        // It may be gone by order.
        let _ = self.orders.send(Order::Die);
        let _ = rustix::io::write(&self.wake, &[0]);
        let _ = self.thread.take().unwrap().join();
    }
}

/// What a surface was asked since its last commit.
#[derive(Default)]
struct Pending {
    buffer: Option<WlBuffer>,
    damage: Vec<[i32; 4]>,
    surface_damage: Vec<[i32; 4]>,
    frames: Vec<WlCallback>,
}

struct State {
    tell: Sender<Told>,
    /// Who waits for the next frame.
    frames: Vec<WlCallback>,
    /// Pictures that were not released, the oldest first.
    held: VecDeque<WlBuffer>,
    next: Pending,
}

struct NoData;

impl ClientData for NoData {}

fn serve(mut state: State, version: u32, client: UnixStream, woken: &UnixStream, orders: &Receiver<Order>) {
    let mut display = Display::<State>::new().unwrap();
    let mut handle = display.handle();
    handle.create_global::<State, WlShm, ()>(1, ());
    handle.create_global::<State, WlCompositor, ()>(version, ());
    handle.insert_client(client, Arc::new(NoData)).unwrap();
    loop {
        display.dispatch_clients(&mut state).unwrap();
        while let Ok(order) = orders.try_recv() {
            match order {
                Order::Frame => {
                    // A test that is over listens no more.
                    let _ = state.tell.send(Told::Framing);
                    state.frames.drain(..).for_each(|frame| frame.done(0));
                }
                Order::Release => state.held.pop_front().unwrap().release(),
                Order::Die => return,
            }
        }
        display.flush_clients().unwrap();
        let backend = display.backend().poll_fd();
        let mut fds = [PollFd::new(&backend, PollFlags::IN), PollFd::new(woken, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        if !fds[1].revents().is_empty() {
            rustix::io::read(woken, &mut [0; 1]).unwrap();
        }
    }
}

/// Memory that a client has given.
struct Memory(Arc<File>);

/// A picture in it.
struct Place {
    file: Arc<File>,
    offset: i32,
    size: [i32; 2],
    stride: i32,
    format: Format,
}

impl Place {
    fn pixel(&self, x: i32, y: i32) -> u32 {
        let mut bytes = [0; 4];
        let at = self.offset + y * self.stride + x * 4;
        self.file.read_exact_at(&mut bytes, u64::try_from(at).unwrap()).unwrap();
        u32::from_le_bytes(bytes)
    }
}

impl State {
    fn commit(&mut self) {
        let pending = std::mem::take(&mut self.next);
        let frames = pending.frames.len();
        self.frames.extend(pending.frames);
        let Some(buffer) = pending.buffer else { return };
        let place = buffer.data::<Place>().unwrap();
        let [width, height] = place.size;
        let commit = Commit {
            pixels: [place.pixel(0, 0), place.pixel(width - 1, height - 1)],
            size: place.size,
            format: place.format,
            damage: pending.damage,
            surface_damage: pending.surface_damage,
            frames,
        };
        self.held.push_back(buffer);
        let _ = self.tell.send(Told::Commit(commit));
    }
}

/// What a compositor must answer and this one has nothing to say to.
macro_rules! ignore {
    ($($interface:ty),*) => {
        $(impl Dispatch<$interface, ()> for State {
            fn request(
                _: &mut Self,
                _: &Client,
                _: &$interface,
                _: <$interface as wayland_server::Resource>::Request,
                (): &(),
                _: &DisplayHandle,
                _: &mut DataInit<'_, Self>,
            ) {
            }
        })*
    };
}

ignore!(WlCallback);

impl GlobalDispatch<WlShm, ()> for State {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        shm: New<WlShm>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        let shm = init.init(shm, ());
        for format in [Format::Argb8888, Format::Xrgb8888, Format::Abgr8888, Format::Xbgr8888, Format::Nv12] {
            shm.format(format);
        }
    }
}

impl GlobalDispatch<WlCompositor, ()> for State {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        compositor: New<WlCompositor>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(compositor, ());
    }
}

impl Dispatch<WlCompositor, ()> for State {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlCompositor,
        request: wl_compositor::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_compositor::Request::CreateSurface { id } = request {
            init.init(id, ());
        }
    }
}

impl Dispatch<WlShm, ()> for State {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlShm,
        request: wl_shm::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm::Request::CreatePool { id, fd, .. } = request {
            let fd: OwnedFd = fd;
            init.init(id, Memory(Arc::new(File::from(fd))));
        }
    }
}

impl Dispatch<WlShmPool, Memory> for State {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlShmPool,
        request: wl_shm_pool::Request,
        memory: &Memory,
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm_pool::Request::CreateBuffer { id, offset, width, height, stride, format } = request {
            let WEnum::Value(format) = format else { panic!("a format that was not offered") };
            let place = Place { file: Arc::clone(&memory.0), offset, size: [width, height], stride, format };
            init.init(id, place);
        }
    }
}

impl Dispatch<WlBuffer, Place> for State {
    fn request(
        state: &mut Self,
        _: &Client,
        buffer: &WlBuffer,
        request: wl_buffer::Request,
        place: &Place,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        if matches!(request, wl_buffer::Request::Destroy) {
            state.held.retain(|held| held != buffer);
            let _ = state.tell.send(Told::Destroyed(place.offset));
        }
    }
}

impl Dispatch<WlSurface, ()> for State {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &WlSurface,
        request: wl_surface::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match request {
            wl_surface::Request::Attach { buffer, .. } => state.next.buffer = buffer,
            wl_surface::Request::Damage { x, y, width, height } => {
                state.next.surface_damage.push([x, y, width, height]);
            }
            wl_surface::Request::DamageBuffer { x, y, width, height } => {
                state.next.damage.push([x, y, width, height]);
            }
            wl_surface::Request::Frame { callback } => state.next.frames.push(init.init(callback, ())),
            wl_surface::Request::Commit => state.commit(),
            _ => {}
        }
    }
}
