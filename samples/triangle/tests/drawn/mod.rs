//! What the triangle draws.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use crate::screen::Screen;

pub(crate) const TRIANGLE: &str = env!("CARGO_BIN_EXE_triangle");

/// A picture: its width, and red, green and blue of each pixel.
pub(crate) type Picture = (usize, Vec<[u8; 3]>);

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn picture(path: &Path) -> Picture {
    let decoder = png::Decoder::new(BufReader::new(File::open(path).expect("the picture is there")));
    let mut reader = decoder.read_info().expect("the picture is a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("the picture fits memory")];
    let width = reader.next_frame(&mut bytes).expect("the picture is whole").width;
    (width as usize, bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
}

/// Draws on `screen` with the host's own driver and returns the last frame; `None` where the host has no Vulkan device.
pub(crate) fn draw(screen: &Screen, name: &str, arguments: &[&str]) -> Option<Picture> {
    draw_by(Command::new(TRIANGLE), screen, name, arguments)
}

/// As [`draw`], by a command that runs the triangle.
pub(crate) fn draw_by(
    mut command: Command,
    screen: &Screen,
    name: &str,
    arguments: &[&str],
) -> Option<Picture> {
    let path = file(name);
    command.args(arguments).arg("--screenshot").arg(&path);
    let output = screen.show(&mut command).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stderr);
    if text.contains("no Vulkan") {
        println!("skipped: {text}");
        return None;
    }
    assert!(output.status.success(), "{text}");
    Some(picture(&path))
}
