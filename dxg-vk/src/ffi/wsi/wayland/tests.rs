//! Presenting, against a compositor that does what the test tells it.

use std::os::fd::OwnedFd;

use dxg_wire::shm::Access;
use dxg_wire::shm::Mapping;
use dxg_wire::shm::Populate;
use dxg_wire::shm::SharedSlice;
use dxg_wire::shm::create_sealed;
use wayland_client::Connection as Program;
use wayland_client::Dispatch;
use wayland_client::EventQueue;
use wayland_client::Proxy as _;
use wayland_client::QueueHandle;
use wayland_client::globals::GlobalListContents;
use wayland_client::globals::registry_queue_init;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_server::protocol::wl_shm::Format;

use super::compositor::Compositor;
use super::compositor::Order;
use super::compositor::Told;
use super::*;

const WIDTH: u32 = 8;
const HEIGHT: u32 = 4;
const ROW_BYTES: u32 = 64;
/// Pictures begin here in their memory, each a little later than the one before.
const FIRST_BYTE: usize = 128;
const EVERYTHING: [i32; 4] = [0, 0, i32::MAX, i32::MAX];

/// A program that has a surface, and hears nothing that is not its own.
struct App;

impl Dispatch<WlRegistry, GlobalListContents> for App {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: <WlRegistry as wayland_client::Proxy>::Event,
        _: &GlobalListContents,
        _: &Program,
        _: &QueueHandle<Self>,
    ) {
    }
}

impl Dispatch<WlCompositor, ()> for App {
    fn event(
        _: &mut Self,
        _: &WlCompositor,
        _: <WlCompositor as wayland_client::Proxy>::Event,
        (): &(),
        _: &Program,
        _: &QueueHandle<Self>,
    ) {
    }
}

impl Dispatch<WlSurface, ()> for App {
    fn event(
        _: &mut Self,
        _: &WlSurface,
        _: <WlSurface as wayland_client::Proxy>::Event,
        (): &(),
        _: &Program,
        _: &QueueHandle<Self>,
    ) {
    }
}

/// A compositor, and a window of a program on it. Members end in this order.
struct Scene {
    window: WaylandWindow,
    queue: EventQueue<App>,
    _surface: WlSurface,
    _program: Program,
    compositor: Compositor,
}

fn scene(version: u32) -> Scene {
    let (compositor, socket) = Compositor::start(version);
    let program = Program::from_socket(socket).unwrap();
    let (globals, queue) = registry_queue_init::<App>(&program).unwrap();
    let handle = queue.handle();
    let global: WlCompositor = globals.bind(&handle, 1..=version, ()).unwrap();
    let surface = global.create_surface(&handle, ());
    let (display, object) = (program.backend().display_ptr(), surface.id().as_ptr());
    // SAFETY: the program's connection and surface are members after the window.
    let window = unsafe { WaylandWindow::new(display.cast(), object.cast()) }.unwrap();
    Scene { window, queue, _surface: surface, _program: program, compositor }
}

/// A picture of one colour but for its last pixel, which is one more.
fn picture(number: usize, colour: u32) -> Picture {
    let memory: OwnedFd = create_sealed("picture", 4096).unwrap();
    let mapping = Mapping::map(memory.as_fd(), 0, 4096, Access::ReadWrite, Populate::Lazy).unwrap();
    let mapping = SharedSlice::whole(&mapping);
    let start = FIRST_BYTE + number * 4;
    mapping.write(start, &colour).unwrap();
    let last = start + (HEIGHT as usize - 1) * ROW_BYTES as usize + (WIDTH as usize - 1) * 4;
    mapping.write(last, &(colour + 1)).unwrap();
    Picture { memory, memory_bytes: 4096, offset_bytes: start as u64, row_bytes: ROW_BYTES, mapping }
}

fn format(mode: vk::PresentModeKHR) -> PictureFormat {
    PictureFormat {
        format: vk::Format::B8G8R8A8_UNORM,
        extent: vk::Extent2D { width: WIDTH, height: HEIGHT },
        composite_alpha: vk::CompositeAlphaFlagsKHR::OPAQUE,
        mode,
    }
}

fn presenter(scene: &Scene, mode: vk::PresentModeKHR) -> Box<dyn Presenter> {
    let pictures = (0..3).map(|number| picture(number, 0x10_0000 * (number as u32 + 1))).collect();
    scene.window.presenter(format(mode), pictures).unwrap()
}

fn rect(x: i32, y: i32, width: u32, height: u32) -> vk::RectLayerKHR {
    vk::RectLayerKHR { offset: vk::Offset2D { x, y }, extent: vk::Extent2D { width, height }, layer: 0 }
}

/// Waits until pictures are back.
fn back(presenter: &mut Box<dyn Presenter>) -> Vec<usize> {
    loop {
        assert_eq!(presenter.wait_released(), Shown::Optimal);
        let back = presenter.released();
        if !back.is_empty() {
            return back;
        }
    }
}

#[test]
fn picture_is_read_where_it_lies() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    assert_eq!(presenter.show(1, &[]), Shown::Optimal);
    let commit = scene.compositor.commit();
    assert_eq!(commit.pixels, [0x20_0000, 0x20_0001]);
    assert_eq!((commit.size, commit.format), ([8, 4], Format::Xrgb8888));
    assert_eq!((commit.damage, commit.surface_damage), (vec![EVERYTHING], vec![]));
    assert_eq!(commit.frames, 1);
}

#[test]
fn window_offers_what_the_compositor_takes() {
    let scene = scene(4);
    let rgba = [vk::Format::R8G8B8A8_SRGB, vk::Format::R8G8B8A8_UNORM];
    let bgra = [vk::Format::B8G8R8A8_SRGB, vk::Format::B8G8R8A8_UNORM];
    assert_eq!(scene.window.formats().unwrap(), [bgra, rgba].concat());
    assert_eq!(scene.window.capabilities().unwrap().extent, None);
    let wrong = PictureFormat { format: vk::Format::R8_UNORM, ..format(vk::PresentModeKHR::FIFO) };
    let refused = scene.window.presenter(wrong, Vec::new()).err();
    assert_eq!(refused, Some(vk::Result::ERROR_INITIALIZATION_FAILED));
}

#[test]
fn alpha_counts_when_it_was_asked_for() {
    let scene = scene(4);
    let composite_alpha = vk::CompositeAlphaFlagsKHR::PRE_MULTIPLIED;
    let format = PictureFormat { composite_alpha, ..format(vk::PresentModeKHR::FIFO) };
    let mut presenter = scene.window.presenter(format, vec![picture(0, 7)]).unwrap();
    presenter.show(0, &[]);
    assert_eq!(scene.compositor.commit().format, Format::Argb8888);
}

#[test]
fn damage_is_told_in_the_buffers_pixels() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::MAILBOX);
    presenter.show(0, &[rect(1, 2, 3, 1), rect(0, 0, u32::MAX, 1)]);
    let commit = scene.compositor.commit();
    assert_eq!(commit.damage, [[1, 2, 3, 1], [0, 0, i32::MAX, 1]]);
    assert_eq!(commit.surface_damage, [[0; 4]; 0]);
}

#[test]
fn all_of_a_surface_too_old_for_damage_in_pixels_is_damaged() {
    let scene = scene(3);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::MAILBOX);
    presenter.show(0, &[rect(1, 2, 3, 1)]);
    let commit = scene.compositor.commit();
    assert_eq!((commit.damage, commit.surface_damage), (vec![], vec![EVERYTHING]));
}

#[test]
fn picture_comes_back_when_it_is_released() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::MAILBOX);
    presenter.show(2, &[]);
    presenter.show(0, &[]);
    assert_eq!((scene.compositor.commit().frames, scene.compositor.commit().frames), (0, 0));
    assert_eq!(presenter.released(), [0_usize; 0]);
    scene.compositor.order(Order::Release);
    assert_eq!(back(&mut presenter), [2]);
    scene.compositor.order(Order::Release);
    assert_eq!(back(&mut presenter), [0]);
    assert_eq!(presenter.released(), [0_usize; 0]);
}

#[test]
fn fifo_shows_a_picture_when_the_one_before_was_seen() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    presenter.show(0, &[]);
    assert_eq!(scene.compositor.commit().pixels[0], 0x10_0000);
    std::thread::scope(|scope| {
        let second = scope.spawn(|| presenter.show(1, &[]));
        scene.compositor.order(Order::Frame);
        assert_eq!(scene.compositor.told.recv().unwrap(), Told::Framing);
        assert_eq!(second.join().unwrap(), Shown::Optimal);
    });
    assert_eq!(scene.compositor.commit().pixels[0], 0x20_0000);
}

#[test]
fn hidden_surface_holds_the_next_picture_until_it_is_hurried() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    let hurry = presenter.hurry().unwrap();
    presenter.show(0, &[]);
    assert_eq!(scene.compositor.commit().pixels[0], 0x10_0000);
    std::thread::scope(|scope| {
        let rest = scope.spawn(|| [presenter.show(1, &[]), presenter.show(2, &[])]);
        hurry();
        assert_eq!(rest.join().unwrap(), [Shown::Optimal; 2]);
    });
    assert_eq!(scene.compositor.commit().pixels[0], 0x20_0000);
    assert_eq!(scene.compositor.commit().pixels[0], 0x30_0000);
}

#[test]
fn death_of_the_compositor_is_the_loss_of_the_surface_for_who_waits_too() {
    let scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    presenter.show(0, &[]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| presenter.show(1, &[]));
        scene.compositor.order(Order::Die);
        assert_eq!(waiting.join().unwrap(), Shown::SurfaceLost);
    });
    assert_eq!(presenter.show(2, &[]), Shown::SurfaceLost);
    assert_eq!(presenter.wait_released(), Shown::SurfaceLost);
    assert_eq!(presenter.released(), [0_usize; 0]);
    let lost = Some(vk::Result::ERROR_SURFACE_LOST_KHR);
    assert_eq!(scene.window.capabilities().err(), lost);
    assert_eq!(scene.window.formats().err(), lost);
}

#[test]
fn acquire_that_waits_for_a_picture_hears_of_the_compositors_death() {
    use crate::wsi::chain::Chain;
    let scene = scene(4);
    let presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    let chain = Chain::new(1, vk::PresentModeKHR::FIFO, presenter).unwrap();
    assert_eq!(chain.acquire(None, true).unwrap().image, 0);
    chain.present(0, Box::new(|| Ok(())), Box::new(|| true), Vec::new(), 0).unwrap();
    scene.compositor.commit();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| chain.acquire(None, true));
        scene.compositor.order(Order::Die);
        assert_eq!(waiting.join().unwrap(), Err(vk::Result::ERROR_SURFACE_LOST_KHR));
    });
}

#[test]
fn swapchain_of_a_hidden_surface_ends() {
    use crate::wsi::chain::Chain;
    let scene = scene(4);
    let presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    let chain = Chain::new(3, vk::PresentModeKHR::FIFO, presenter).unwrap();
    for image in 0..3 {
        chain.present(image, Box::new(|| Ok(())), Box::new(|| true), Vec::new(), 0).unwrap();
    }
    drop(chain);
    let shown = [(); 3].map(|()| scene.compositor.commit().pixels[0]);
    assert_eq!(shown, [0x10_0000, 0x20_0000, 0x30_0000]);
}

#[test]
fn picture_that_is_seen_outlives_its_swapchain() {
    let scene = scene(4);
    let mut old = presenter(&scene, vk::PresentModeKHR::MAILBOX);
    old.show(1, &[]);
    scene.compositor.commit();
    drop(old);
    let gone = |number: usize| Told::Destroyed(i32::try_from(FIRST_BYTE + number * 4).unwrap());
    assert_eq!(scene.compositor.told.recv().unwrap(), gone(0));
    assert_eq!(scene.compositor.told.recv().unwrap(), gone(2));
    scene.compositor.order(Order::Release);
    let mut new = presenter(&scene, vk::PresentModeKHR::MAILBOX);
    new.show(0, &[]);
    scene.compositor.commit();
    // Whatever comes of ours runs callbacks, the release of the old picture's too.
    scene.compositor.order(Order::Release);
    assert_eq!(back(&mut new), [0]);
    new.show(2, &[]);
    assert_eq!(scene.compositor.told.recv().map(|told| matches!(told, Told::Commit(_))), Ok(true));
    new.show(1, &[]);
    assert_eq!(scene.compositor.told.recv().unwrap(), gone(1));
}

#[test]
fn programs_queue_hears_nothing_of_presenting() {
    let mut scene = scene(4);
    let mut presenter = presenter(&scene, vk::PresentModeKHR::FIFO);
    presenter.show(0, &[]);
    scene.compositor.commit();
    scene.compositor.order(Order::Frame);
    scene.compositor.order(Order::Release);
    // The program's own reading brings our events too, to our queue.
    assert_eq!(scene.queue.roundtrip(&mut App).unwrap(), 0);
    assert_eq!(presenter.released(), [0]);
}
