//! A triangle that turns in a window, drawn with Vulkan: `ash`, `ash-window` and `winit`, on X11 and Wayland.
//!
//! Plain Vulkan, nothing of ours: it runs on whatever driver the loader finds. Read `app.rs` for the window's life,
//! then `gpu/mod.rs` (instance and device), `gpu/swapchain.rs` (the images of the window), `gpu/frames.rs` (a frame).

mod app;
mod gpu;
mod picture;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use clap::ValueEnum;
use winit::event_loop::EventLoop;

use self::app::App;

/// Draws a turning triangle in a window until the window is closed.
#[derive(Clone, Parser)]
struct Options {
    /// Ends after this many frames instead of when the window is closed.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    frames: Option<u64>,
    /// Writes the last frame to this file, as PNG.
    #[arg(long, requires = "frames")]
    screenshot: Option<PathBuf>,
    /// Width of the window in pixels.
    #[arg(long, default_value_t = 640, value_parser = clap::value_parser!(u32).range(16..=8192))]
    width: u32,
    /// Height of the window in pixels.
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u32).range(16..=8192))]
    height: u32,
    /// How a frame gets to the screen.
    #[arg(long, value_enum, default_value_t = Pace::Fifo)]
    pace: Pace,
}

/// How a frame gets to the screen: the present modes by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pace {
    /// One after the other, at the screen's rate; every device has it.
    Fifo,
    /// The newest at the screen's rate.
    Mailbox,
    /// At once.
    Immediate,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let events = EventLoop::new().context(
        "no window system: neither WAYLAND_DISPLAY nor DISPLAY names one that answers; \
         without a screen, try `xvfb-run triangle --frames 60`",
    )?;
    let mut app = App::new(options);
    events.run_app(&mut app).context("the window system ended the program")?;
    app.finish()
}
