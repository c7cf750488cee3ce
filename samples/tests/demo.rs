//! The samples do what they say, over a private daemon.

mod staged;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::process::Output;

const SHARE: &str = env!("CARGO_BIN_EXE_share");
const ADAPTERS: &str = env!("CARGO_BIN_EXE_adapters");
const MANDELBROT: &str = env!("CARGO_BIN_EXE_mandelbrot");

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("dxgctl starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    format!("{stdout}{stderr}")
}

/// A picture's pixels.
fn pixels(path: &Path) -> Vec<u8> {
    let decoder =
        png::Decoder::new(std::io::BufReader::new(fs::File::open(path).expect("the picture is there")));
    let mut reader = decoder.read_info().expect("the picture is a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("the picture fits memory")];
    reader.next_frame(&mut pixels).expect("the picture is whole");
    pixels
}

#[test]
fn share_passes_memory_and_fence_between_two_processes() {
    let Some(prefix) = staged::prefix() else { return };
    let text = succeed(&mut staged::run_private(&prefix, &[SHARE]));
    assert!(text.contains("saw 65536 answers at fence value 2"), "{text}");
}

#[test]
fn adapters_lists_the_node_of_the_private_daemon() {
    let Some(prefix) = staged::prefix() else { return };
    let text = succeed(&mut staged::run_private(&prefix, &[ADAPTERS]));
    assert!(text.contains("Host node") && text.contains("created, execution state"), "{text}");
}

#[test]
fn two_mandelbrots_at_once_draw_the_picture_that_the_native_driver_draws() {
    let Some(prefix) = staged::prefix() else { return };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mandelbrot");
    fs::create_dir_all(&dir).expect("the folder can be made");
    let file = |name: &str| dir.join(name).to_str().expect("the folder's name is text").to_owned();
    let (native, one, other) = (file("native.png"), file("one.png"), file("other.png"));
    let native_run =
        Command::new(MANDELBROT).args(["--size", "256", "--out", &native]).output().expect("it starts");
    if !native_run.status.success() {
        println!("skipped: no Vulkan device on this host");
        return;
    }
    let both = format!(
        "'{MANDELBROT}' --size 256 --out '{one}' & first=$!; '{MANDELBROT}' --size 256 --out '{other}' && wait $first"
    );
    succeed(&mut staged::run_private(&prefix, &["sh", "-c", &both]));
    let native = pixels(Path::new(&native));
    assert_eq!(native.len(), 256 * 192 * 4);
    assert!(pixels(Path::new(&one)) == native, "{one} differs from the native picture");
    assert!(pixels(Path::new(&other)) == native, "{other} differs from the native picture");
}

#[test]
fn run_returns_the_commands_exit_status() {
    let Some(prefix) = staged::prefix() else { return };
    let code =
        |script: &str| staged::run_private(&prefix, &["sh", "-c", script]).status().expect("it runs").code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 42"), Some(42));
    assert_eq!(code("kill -9 $$"), Some(137));
    let missing = staged::run_private(&prefix, &["/nonexistent/program"]).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nonexistent/program"));
}

#[test]
fn run_private_leaves_no_runtime_directory() {
    let Some(prefix) = staged::prefix() else { return };
    let text = succeed(&mut staged::run_private(
        &prefix,
        &["sh", "-c", "echo dir=$DXG_RUNTIME_DIR; ls $DXG_RUNTIME_DIR"],
    ));
    let dir =
        text.lines().find_map(|line| line.strip_prefix("dir=")).expect("the command sees the directory");
    assert!(text.contains("vgpu"), "{text}");
    assert!(!Path::new(dir).exists(), "{dir} is left");
}
