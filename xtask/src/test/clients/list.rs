//! Which programs are run, and what of them is compared.

/// How a program is run.
pub(super) enum Program {
    /// One of the scripts in `tests/clients`, with its arguments.
    Script(&'static [&'static str]),
    /// Under an X server of its own; see `tests/clients/screen.py`. `{device}` stands for the device's name.
    Screen(Ending, &'static [&'static str]),
    /// As `Screen`, after a recording was made of a program on the machine's own driver.
    Replay { recorded: &'static [&'static str], replayed: &'static [&'static str] },
    /// A test of this workspace that runs the program in both ways by itself.
    Test(&'static str),
    /// A CUDA program: one of the scripts in `tests/clients`, with its arguments. There is no other driver to compare with: it
    /// compares what it computes with what it should be.
    Checked(&'static [&'static str]),
    /// The same of a program in `tests/clients/cuda/rust`.
    CheckedCrate(&'static str),
}

/// When the picture of a program under X is taken.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// When it ended.
    Last,
    /// When it no longer changes.
    Settled,
    /// It moves with the time, and what its pictures have in common is compared.
    Moving,
}

/// Whose version is printed.
pub(super) enum Origin {
    Debian(&'static str),
    Pypi(&'static str),
    /// The Rust registry.
    Crate(&'static str),
}

/// A program that others wrote.
pub(super) struct Client {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) origin: Origin,
    pub(super) program: Program,
    pub(super) environment: &'static [(&'static str, &'static str)],
    /// Words of the lines of its output that are compared.
    pub(super) lines: &'static [&'static str],
    /// Only against hanging.
    pub(super) limit_seconds: u32,
}

/// OpenGL over Vulkan.
const ZINK: &[(&str, &str)] = &[("LIBGL_ALWAYS_SOFTWARE", "1"), ("GALLIUM_DRIVER", "zink")];
const ZINK_WITHOUT_WINDOWS: &[(&str, &str)] =
    &[("LIBGL_ALWAYS_SOFTWARE", "1"), ("GALLIUM_DRIVER", "zink"), ("EGL_PLATFORM", "surfaceless")];

/// tinygrad without NVIDIA's compiler.
const TINYGRAD: &[(&str, &str)] = &[("DEV", "CUDA:PTX")];
/// Triton leaves the work of an assembler to the driver, and keeps no compiled kernels of another run.
const TRITON: &[(&str, &str)] = &[
    ("TRITON_PTXAS_PATH", "{scripts}/cuda/ptxas"),
    ("TRITON_PTXAS_BLACKWELL_PATH", "{scripts}/cuda/ptxas"),
    ("TRITON_CACHE_DIR", "{out}/triton-cache"),
    ("TRITON_ALWAYS_COMPILE", "1"),
];

pub(super) const ALL: &[Client] = &[
    Client {
        name: "vulkaninfo",
        what: "every property, feature, format and extension",
        origin: Origin::Debian("vulkan-tools"),
        program: Program::Test("vulkaninfo"),
        environment: &[],
        lines: &["skipped:"],
        limit_seconds: 1200,
    },
    Client {
        name: "vkcube",
        what: "60 pictures under X, the last one",
        origin: Origin::Debian("vulkan-tools"),
        program: Program::Screen(Ending::Last, &["vkcube", "--c", "60"]),
        environment: &[],
        lines: &["Selected GPU", "ended with", "shows"],
        limit_seconds: 300,
    },
    Client {
        name: "moderngl",
        what: "OpenGL through zink: four scenes, transform feedback, a compute shader",
        origin: Origin::Pypi("moderngl"),
        program: Program::Script(&["moderngl_scenes.py"]),
        environment: ZINK_WITHOUT_WINDOWS,
        lines: &["renderer:", "drawn", "error", "computed"],
        limit_seconds: 300,
    },
    Client {
        name: "glmark2",
        what: "OpenGL ES through zink: `--off-screen --validate`",
        origin: Origin::Debian("glmark2-es2-x11"),
        program: Program::Screen(Ending::Last, &["glmark2-es2", "--off-screen", "--validate"]),
        environment: ZINK,
        lines: &["Validation:", "GL_RENDERER", "ended with"],
        limit_seconds: 1200,
    },
    Client {
        name: "piglit",
        what: "OpenGL through zink: `spec@!opengl 3.1` and `spec@glsl-1.30`",
        origin: Origin::Debian("piglit"),
        program: Program::Script(&["piglit_tests.py", "spec@!opengl 3.1", "spec@glsl-1.30"]),
        environment: ZINK_WITHOUT_WINDOWS,
        lines: &["pass:", "fail:", "crash:", "skip:"],
        limit_seconds: 7200,
    },
    Client {
        name: "wgpu",
        what: "squares with depth and 4 samples, a compute shader",
        origin: Origin::Pypi("wgpu"),
        program: Program::Script(&["wgpu_scenes.py"]),
        environment: &[],
        lines: &["device:", "drawn", "computed"],
        limit_seconds: 300,
    },
    Client {
        name: "taichi",
        what: "a Julia set and numbers",
        origin: Origin::Pypi("taichi"),
        program: Program::Script(&["taichi_kernels.py"]),
        environment: &[],
        lines: &["back end", "drawn", "computed"],
        limit_seconds: 300,
    },
    Client {
        name: "gfxrecon-replay",
        what: "a recording of vkcube, screenshots of 8 pictures",
        origin: Origin::Debian("gfxreconstruct"),
        program: Program::Replay {
            recorded: &["vkcube", "--c", "60"],
            replayed: &["gfxrecon-replay", "--screenshots", "1,2,10,20,30,40,50,59"],
        },
        environment: &[],
        lines: &["ended with", "Total frames"],
        limit_seconds: 300,
    },
    Client {
        name: "testvulkan",
        what: "SDL's windows: a colour that changes with the time",
        origin: Origin::Debian("libsdl2-tests"),
        program: Program::Screen(Ending::Moving, &["/usr/libexec/installed-tests/SDL2/testvulkan"]),
        environment: &[],
        lines: &["moves over", "background", "ended by itself", "moved", "only"],
        limit_seconds: 300,
    },
    Client {
        name: "vkd3d-triangle",
        what: "Direct3D 12 on Vulkan: a triangle",
        origin: Origin::Debian("vkd3d-demos"),
        program: Program::Screen(Ending::Settled, &["vkd3d-triangle"]),
        environment: &[],
        lines: &["settled", "ended by itself"],
        limit_seconds: 300,
    },
    Client {
        name: "vkd3d-gears",
        what: "Direct3D 12 on Vulkan: gears that turn with the time of day, which stands still",
        origin: Origin::Debian("vkd3d-demos"),
        program: Program::Screen(
            Ending::Settled,
            &["faketime", "--exclude-monotonic", "-f", "2020-01-01 00:00:00", "vkd3d-gears"],
        ),
        environment: &[],
        lines: &["settled", "ended by itself"],
        limit_seconds: 300,
    },
    Client {
        name: "mpv",
        what: "a paused test video through `--vo=gpu --gpu-api=vulkan`",
        origin: Origin::Debian("mpv"),
        program: Program::Screen(
            Ending::Settled,
            &[
                "mpv",
                "--no-config",
                "--vo=gpu",
                "--gpu-api=vulkan",
                // It refuses a device without a GPU unless that is named.
                "--vulkan-device={device}",
                "--no-audio",
                "--no-osc",
                "--osd-level=0",
                "--pause",
                "--geometry=480x360+0+0",
                "av://lavfi:testsrc2=size=480x360:rate=25:duration=10",
            ],
        ),
        environment: &[],
        lines: &["settled", "ended by itself", "VO: [gpu]"],
        limit_seconds: 300,
    },
    Client {
        name: "mpv-next",
        what: "a paused test video through `--vo=gpu-next --gpu-api=vulkan`",
        origin: Origin::Debian("mpv"),
        program: Program::Screen(
            Ending::Settled,
            &[
                "mpv",
                "--no-config",
                "--vo=gpu-next",
                "--gpu-api=vulkan",
                // It refuses a device without a GPU unless that is named.
                "--vulkan-device={device}",
                "--no-audio",
                "--no-osc",
                "--osd-level=0",
                "--pause",
                "--geometry=480x360+0+0",
                "av://lavfi:testsrc2=size=480x360:rate=25:duration=10",
            ],
        ),
        environment: &[],
        lines: &["settled", "ended by itself", "VO: [gpu-next]"],
        limit_seconds: 300,
    },
    Client {
        name: "tinygrad-train",
        what: "CUDA: a network of three layers learns to tell two spirals apart, in a JIT of CUDA graphs",
        origin: Origin::Pypi("tinygrad"),
        program: Program::Checked(&["cuda/tinygrad_train.py"]),
        environment: TINYGRAD,
        lines: &["device:", "told apart", "learned"],
        limit_seconds: 600,
    },
    Client {
        name: "tinygrad-two",
        what: "CUDA: the same twice at once, on one virtual GPU",
        origin: Origin::Pypi("tinygrad"),
        program: Program::Checked(&["cuda/twice.py", "tinygrad_train.py"]),
        environment: TINYGRAD,
        lines: &["learned", "ended with"],
        limit_seconds: 600,
    },
    Client {
        name: "tinygrad-ops",
        what: "CUDA: 106 operations against numpy",
        origin: Origin::Pypi("tinygrad"),
        program: Program::Checked(&["cuda/tinygrad_ops.py"]),
        environment: TINYGRAD,
        lines: &["device:", "as numpy says", "operations:"],
        limit_seconds: 600,
    },
    Client {
        name: "tinygrad-tiny",
        what: "CUDA: `test/test_tiny.py` of its source distribution",
        origin: Origin::Pypi("tinygrad"),
        program: Program::Checked(&["cuda/own_tests.py", "tinygrad", "test/test_tiny.py"]),
        environment: TINYGRAD,
        lines: &["Ran ", "OK", "FAILED"],
        limit_seconds: 1200,
    },
    Client {
        name: "taichi-cuda",
        what: "CUDA: atomics, a Julia set, a matrix product, a sparse field, random numbers against numpy",
        origin: Origin::Pypi("taichi"),
        program: Program::Checked(&["cuda/taichi_cuda.py"]),
        environment: &[],
        lines: &["back end", "right"],
        limit_seconds: 600,
    },
    Client {
        name: "triton",
        what: "CUDA: vector addition, softmax, matrix products, a histogram against numpy",
        origin: Origin::Pypi("triton"),
        program: Program::Checked(&["cuda/triton_kernels.py"]),
        environment: TRITON,
        lines: &["target:", "right"],
        limit_seconds: 600,
    },
    Client {
        name: "cudarc",
        what: "CUDA: memory, a launch, three streams, events",
        origin: Origin::Crate("cudarc"),
        program: Program::CheckedCrate("cudarc"),
        environment: &[],
        lines: &["device:", "right"],
        limit_seconds: 300,
    },
    Client {
        name: "cust",
        what: "CUDA: buffers, unified memory, occupancy, a stream",
        origin: Origin::Crate("cust"),
        program: Program::CheckedCrate("cust"),
        environment: &[],
        lines: &["device:", "right"],
        limit_seconds: 300,
    },
];
