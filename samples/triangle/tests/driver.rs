//! The triangle over the driver: the picture of the host's own driver, and the same on the screen.

mod drawn;
mod screen;
#[path = "../../tests/staged/mod.rs"]
mod staged;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process_group;

use self::drawn::Picture;
use self::drawn::TRIANGLE;
use self::drawn::draw;
use self::drawn::draw_by;
use self::screen::Screen;
use self::staged::PATIENCE;

/// What the triangle clears its window with.
const BACKGROUND: [u8; 3] = [5, 5, 13];

/// The triangle over the driver of `prefix`.
fn triangle(prefix: &Path) -> Command {
    staged::run_private(prefix, &[TRIANGLE])
}

/// Draws natively and over the driver.
fn both(prefix: &Path, screen: &Screen, name: &str, arguments: &[&str]) -> Option<(Picture, Picture)> {
    let native = draw(screen, &format!("{name}-native.png"), arguments)?;
    let over = draw_by(triangle(prefix), screen, &format!("{name}-over.png"), arguments);
    Some((native, over.expect("the driver has a device where the host has one")))
}

#[test]
fn picture_on_x11_is_the_native_drivers() {
    let (Some(prefix), Some(screen)) = (staged::prefix(), Screen::x11()) else { return };
    for pace in ["fifo", "mailbox", "immediate"] {
        let arguments = ["--frames", "40", "--pace", pace];
        let Some((native, over)) = both(&prefix, &screen, "x11", &arguments) else { return };
        assert!(native == over, "the pictures differ ({pace})");
    }
}

#[test]
fn picture_on_wayland_is_the_native_drivers() {
    let (Some(prefix), Some(screen)) = (staged::prefix(), Screen::wayland("over")) else { return };
    for pace in ["fifo", "mailbox"] {
        let arguments = ["--frames", "40", "--pace", pace];
        let Some((native, over)) = both(&prefix, &screen, "wayland", &arguments) else { return };
        assert!(native == over, "the pictures differ ({pace})");
    }
}

#[test]
fn window_that_becomes_larger_gets_a_swapchain_that_fits() {
    let (Some(prefix), Some(screen)) = (staged::prefix(), Screen::wayland("larger")) else { return };
    let arguments = ["--frames", "40", "--fullscreen"];
    let Some((native, over)) = both(&prefix, &screen, "larger", &arguments) else { return };
    assert_eq!((over.0, over.1.len()), (800, 800 * 600));
    assert!(native == over, "the pictures differ");
}

/// The part of `screen` that holds the background's colour, if it is of this size.
fn window((width, pixels): &Picture, size: [usize; 2]) -> Option<Vec<[u8; 3]>> {
    let places = || pixels.iter().enumerate().filter(|(_, pixel)| **pixel == BACKGROUND).map(|(at, _)| at);
    let (left, right) = (places().map(|at| at % width).min()?, places().map(|at| at % width).max()?);
    let (top, bottom) = (places().min()? / width, places().max()? / width);
    if [right + 1 - left, bottom + 1 - top] != size {
        return None;
    }
    let rows = pixels.chunks_exact(*width).skip(top).take(size[1]);
    Some(rows.flat_map(|row| &row[left..=right]).copied().collect())
}

/// Draws the same frame again and again until it is what `screen` shows.
fn is_seen(screen: &Screen, name: &str) {
    let Some(prefix) = staged::prefix() else { return };
    let Some((width, frame)) = draw(screen, name, &["--frames", "1", "--still"]) else { return };
    let size = [width, frame.len() / width];
    let mut command = triangle(&prefix);
    // Long enough for the screen to be looked at, and an end should nobody end it.
    command.args(["--still", "--frames", "100000"]).process_group(0);
    let mut program = screen.show(&mut command).spawn().expect("the program starts");
    let deadline = Instant::now() + PATIENCE;
    let outcome = loop {
        let seen = window(&screen.picture(), size);
        // A compositor may draw its pointer over the window.
        let other = |seen: Vec<[u8; 3]>| seen.iter().zip(&frame).filter(|(a, b)| a != b).count();
        match seen.map(other) {
            Some(other) if other * 200 < frame.len() => break Ok(()),
            other if Instant::now() > deadline => break Err(other),
            _ => {}
        }
        if let Some(status) = program.try_wait().expect("it is our child") {
            panic!("the program ended: {status}");
        }
    };
    // The command and the triangle that it runs.
    kill_process_group(Pid::from_child(&program), Signal::TERM).expect("it is our child's group");
    program.wait().expect("it is our child");
    assert_eq!(outcome, Ok(()), "pixels that differ, where there is a window at all");
}

#[test]
fn window_of_an_x_server_shows_the_frame() {
    if let Some(screen) = Screen::x11() {
        is_seen(&screen, "x11-seen.png");
    }
}

#[test]
fn surface_of_a_compositor_shows_the_frame() {
    if let Some(screen) = Screen::nested("seen") {
        is_seen(&screen, "wayland-seen.png");
    }
}
