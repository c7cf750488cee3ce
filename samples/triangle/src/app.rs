//! The window's life: when it is made, when a frame is drawn, when it ends.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalSize;
use winit::event::WindowEvent;
use winit::event_loop::ActiveEventLoop;
use winit::window::Window;
use winit::window::WindowId;

use crate::Options;
use crate::gpu::Drawn;
use crate::gpu::Gpu;
use crate::gpu::Last;
use crate::gpu::Renderer;
use crate::picture;

/// The program between two events.
pub(crate) struct App {
    options: Options,
    /// The renderer goes first: the surface must be gone before its window.
    open: Option<Open>,
    drawn: u64,
    started: Option<Instant>,
    outcome: Result<()>,
}

/// What is there while the window is.
struct Open {
    renderer: Renderer,
    window: Arc<Window>,
}

impl App {
    /// A program that has no window yet.
    pub(crate) fn new(options: Options) -> Self {
        Self { options, open: None, drawn: 0, started: None, outcome: Ok(()) }
    }

    /// The program's result, when the event loop is over.
    pub(crate) fn finish(self) -> Result<()> {
        if let (Ok(()), Some(started)) = (&self.outcome, self.started) {
            let seconds = started.elapsed().as_secs_f64();
            println!("{} frames in {seconds:.2} s", self.drawn);
        }
        self.outcome
    }

    fn open(&self, events: &ActiveEventLoop) -> Result<Open> {
        let attributes = Window::default_attributes()
            .with_title("triangle")
            .with_inner_size(PhysicalSize::new(self.options.width, self.options.height));
        let window = Arc::new(events.create_window(attributes).context("cannot make a window")?);
        let gpu = Gpu::new(&window)?;
        println!("{}", gpu.name());
        let renderer = Renderer::new(gpu, &self.options)?;
        Ok(Open { renderer, window })
    }

    /// Draws a frame; whether it was the last one.
    fn draw(&mut self) -> Result<bool> {
        let Some(Open { renderer, window }) = &mut self.open else { return Ok(false) };
        let is_last = self.options.frames.is_some_and(|frames| self.drawn + 1 >= frames);
        let last = if is_last && self.options.screenshot.is_some() { Last::Kept } else { Last::No };
        let PhysicalSize { width, height } = window.inner_size();
        // Tells winit that a present follows, so that Wayland paces the next redraw.
        let drawn = renderer.draw([width, height], self.drawn, last, || window.pre_present_notify())?;
        match drawn {
            // Nothing to draw on; the window asks again when it has a size.
            Drawn::NoRoom => return Ok(false),
            Drawn::Again => {}
            Drawn::Presented => self.drawn += 1,
        }
        if is_last && drawn == Drawn::Presented {
            if let Some(path) = &self.options.screenshot {
                picture::write(path, &renderer.kept()?)?;
                println!("frame {} -> {}", self.drawn, path.display());
            }
            return Ok(true);
        }
        window.request_redraw();
        Ok(false)
    }

    fn end(&mut self, events: &ActiveEventLoop, outcome: Result<()>) {
        if self.outcome.is_ok() {
            self.outcome = outcome;
        }
        self.open = None;
        events.exit();
    }
}

impl ApplicationHandler for App {
    fn resumed(&mut self, events: &ActiveEventLoop) {
        if self.open.is_some() {
            return;
        }
        match self.open(events) {
            Ok(open) => {
                open.window.request_redraw();
                self.open = Some(open);
                self.started = Some(Instant::now());
            }
            Err(error) => self.end(events, Err(error)),
        }
    }

    fn window_event(&mut self, events: &ActiveEventLoop, _: WindowId, event: WindowEvent) {
        match event {
            WindowEvent::CloseRequested => self.end(events, Ok(())),
            WindowEvent::Resized(_) | WindowEvent::Occluded(false) => {
                if let Some(open) = &mut self.open {
                    open.renderer.resized();
                    open.window.request_redraw();
                }
            }
            WindowEvent::RedrawRequested => match self.draw() {
                Ok(false) => {}
                Ok(true) => self.end(events, Ok(())),
                Err(error) => self.end(events, Err(error)),
            },
            _ => {}
        }
    }
}
