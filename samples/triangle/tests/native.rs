//! The triangle on the host's own driver: the same picture on X11 and on Wayland, and errors that say what to do.

mod screen;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use self::screen::Screen;

const TRIANGLE: &str = env!("CARGO_BIN_EXE_triangle");

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// A picture's width and its pixels.
fn picture(path: &Path) -> (usize, Vec<[u8; 3]>) {
    let decoder = png::Decoder::new(BufReader::new(File::open(path).expect("the picture is there")));
    let mut reader = decoder.read_info().expect("the picture is a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("the picture fits memory")];
    let width = reader.next_frame(&mut bytes).expect("the picture is whole").width;
    (width as usize, bytes.chunks_exact(3).map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect())
}

/// Draws `frames` frames on `screen` and returns the last one; `None` where the host has no Vulkan device.
fn draw(screen: &Screen, name: &str, arguments: &[&str]) -> Option<(usize, Vec<[u8; 3]>)> {
    let path = file(name);
    let mut command = Command::new(TRIANGLE);
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

#[test]
fn triangle_has_its_colours_at_its_corners() {
    let Some(screen) = Screen::x11() else { return };
    let size = ["--frames", "1", "--width", "320", "--height", "320"];
    let Some((width, pixels)) = draw(&screen, "corners.png", &size) else { return };
    assert_eq!((width, pixels.len()), (320, 320 * 320));
    let at = |x: usize, y: usize| pixels[y * width + x];
    let (top, right, left) = (at(160, 54), at(252, 213), at(68, 213));
    assert!(top[0] > 200 && top[1] < 90 && top[2] < 90, "{top:?}");
    assert!(right[1] > 200 && right[0] < 90 && right[2] < 90, "{right:?}");
    assert!(left[2] > 200 && left[0] < 90 && left[1] < 90, "{left:?}");
    let background = [5, 5, 13];
    for corner in [at(0, 0), at(319, 0), at(0, 319), at(319, 319), at(160, 260)] {
        assert_eq!(corner, background);
    }
}

#[test]
fn picture_on_wayland_is_the_picture_on_x11() {
    let (Some(x11), Some(wayland)) = (Screen::x11(), Screen::wayland("same")) else { return };
    let arguments = ["--frames", "40"];
    let Some(one) = draw(&x11, "x11.png", &arguments) else { return };
    let Some(other) = draw(&wayland, "wayland.png", &arguments) else { return };
    assert_eq!((one.0, one.1.len()), (640, 640 * 480));
    assert!(one == other, "the pictures differ");
    let first = draw(&x11, "first.png", &["--frames", "1"]).expect("there was a device before");
    assert!(first != one, "the triangle does not turn");
}

#[test]
fn without_a_window_system_the_error_says_what_to_do() {
    let mut command = Command::new(TRIANGLE);
    for variable in ["DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"] {
        command.env_remove(variable);
    }
    let output = command.args(["--frames", "1"]).output().expect("the program starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("DISPLAY") && text.contains("xvfb-run"), "{text}");
}

#[test]
fn without_a_driver_the_error_says_what_to_do() {
    let Some(screen) = Screen::x11() else { return };
    let mut command = Command::new(TRIANGLE);
    command.args(["--frames", "1"]);
    for variable in ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"] {
        command.env(variable, "/nonexistent/driver.json");
    }
    let output = screen.show(&mut command).output().expect("the program starts");
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("no Vulkan"), "{text}");
}
