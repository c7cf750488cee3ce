//! The rows of the table: what is measured, against what, and what is aimed at.

use std::fmt;

use anyhow::Result;
use anyhow::bail;
use dxg_tests_vulkan::bench::kernels::Kernel;

use crate::calls::Form;
use crate::calls::HostMemory;
use crate::calls::Way;
use crate::modules;
use crate::modules::Text;

/// A row of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    /// With what it is compared.
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) base: Option<Side>,
    pub(crate) ours: Side,
    pub(crate) aim: Option<Aim>,
}

/// One of the two numbers of a row.
pub(crate) struct Side {
    pub(crate) number: Number,
    /// Cores that the daemon may use; all where this is `None`.
    pub(crate) cores: Option<usize>,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// At least so many times what it is compared with.
    Times(f64),
    /// At most so much, whatever it is compared with.
    Most(f64),
}

impl Aim {
    pub(crate) fn is_met(self, base: Option<f64>, ours: f64) -> bool {
        match self {
            Self::Times(times) => base.is_some_and(|base| ours >= base * times),
            Self::Most(most) => ours <= most,
        }
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Times(times) => format!(">= {times:.2} x"),
            Self::Most(most) => format!("<= {most:.0}"),
        };
        f.pad(&text)
    }
}

/// One number, measured in a process of its own.
#[derive(Clone)]
pub(crate) enum Number {
    Vulkan(Kernel),
    Cuda(Kernel),
    TwoProcesses(Kernel),
    PlainSaxpy,
    PlainCopy,
    LaunchAndWait,
    LaunchAfterRest,
    Launches,
    EmptyKernels(Form),
    SmallKernels(Form),
    Copy(Way, HostMemory),
    Allocate(usize),
    Module(String, Text),
}

const KERNELS: [(&str, Kernel); 4] = [
    ("matmul", Kernel::TiledMatmul),
    ("saxpy", Kernel::Saxpy),
    ("mandelbrot", Kernel::Mandelbrot),
    ("nbody", Kernel::NBody),
];

impl Number {
    /// Whether it is measured over the driver.
    pub(crate) fn is_cuda(&self) -> bool {
        !matches!(self, Self::Vulkan(_) | Self::PlainSaxpy | Self::PlainCopy)
    }

    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let kernel = |name: &str| KERNELS.iter().find(|(known, _)| *known == name).map(|(_, kernel)| *kernel);
        let number = match text.split_once(':') {
            Some(("vulkan", name)) => kernel(name).map(Self::Vulkan),
            Some(("cuda", name)) => kernel(name).map(Self::Cuda),
            Some(("two", name)) => kernel(name).map(Self::TwoProcesses),
            Some(("allocate", size_bytes)) => Some(Self::Allocate(size_bytes.parse()?)),
            Some(("new", case)) => Some(Self::Module(case.to_owned(), Text::New)),
            Some(("known", case)) => Some(Self::Module(case.to_owned(), Text::Known)),
            _ => SIMPLE.iter().find(|(name, _)| *name == text).map(|(_, number)| number.clone()),
        };
        let Some(number) = number else { bail!("nothing is named `{text}`") };
        Ok(number)
    }
}

/// Branches of graphs that have them.
const BRANCHES: usize = 4;

const SIMPLE: [(&str, Number); 14] = [
    ("plain_saxpy", Number::PlainSaxpy),
    ("plain_copy", Number::PlainCopy),
    ("launch_wait", Number::LaunchAndWait),
    ("launch_rest", Number::LaunchAfterRest),
    ("launches", Number::Launches),
    ("empty_single", Number::EmptyKernels(Form::Single)),
    ("empty_chain", Number::EmptyKernels(Form::Graph(1))),
    ("empty_branches", Number::EmptyKernels(Form::Graph(BRANCHES))),
    ("small_chain", Number::SmallKernels(Form::Graph(1))),
    ("small_branches", Number::SmallKernels(Form::Graph(BRANCHES))),
    ("h2d", Number::Copy(Way::ToDevice, HostMemory::Pageable)),
    ("d2h", Number::Copy(Way::FromDevice, HostMemory::Pageable)),
    ("h2d_pinned", Number::Copy(Way::ToDevice, HostMemory::Pinned)),
    ("d2h_pinned", Number::Copy(Way::FromDevice, HostMemory::Pinned)),
];

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            |kernel: &Kernel| KERNELS.iter().find(|(_, known)| known == kernel).map_or("", |(name, _)| name);
        let simple = match self {
            Self::Vulkan(kernel) => return write!(f, "vulkan:{}", name(kernel)),
            Self::Cuda(kernel) => return write!(f, "cuda:{}", name(kernel)),
            Self::TwoProcesses(kernel) => return write!(f, "two:{}", name(kernel)),
            Self::Allocate(size_bytes) => return write!(f, "allocate:{size_bytes}"),
            Self::Module(case, Text::New) => return write!(f, "new:{case}"),
            Self::Module(case, Text::Known) => return write!(f, "known:{case}"),
            Self::PlainSaxpy => "plain_saxpy",
            Self::PlainCopy => "plain_copy",
            Self::LaunchAndWait => "launch_wait",
            Self::LaunchAfterRest => "launch_rest",
            Self::Launches => "launches",
            Self::EmptyKernels(Form::Single) => "empty_single",
            Self::EmptyKernels(Form::Graph(1)) => "empty_chain",
            Self::EmptyKernels(Form::Graph(_)) => "empty_branches",
            Self::SmallKernels(Form::Graph(2..)) => "small_branches",
            Self::SmallKernels(_) => "small_chain",
            Self::Copy(Way::ToDevice, HostMemory::Pageable) => "h2d",
            Self::Copy(Way::FromDevice, HostMemory::Pageable) => "d2h",
            Self::Copy(Way::ToDevice, HostMemory::Pinned) => "h2d_pinned",
            Self::Copy(Way::FromDevice, HostMemory::Pinned) => "d2h_pinned",
        };
        f.write_str(simple)
    }
}

fn row(name: &str, what: &'static str, unit: &'static str, base: Option<Number>, ours: Number) -> Row {
    let side = |number| Side { number, cores: None };
    Row { name: name.to_owned(), what, unit, base: base.map(side), ours: side(ours), aim: None }
}

impl Row {
    fn aim(mut self, aim: Aim) -> Self {
        self.aim = Some(aim);
        self
    }

    fn cores(mut self, base: usize, ours: Option<usize>) -> Self {
        if let Some(side) = &mut self.base {
            side.cores = Some(base);
        }
        self.ours.cores = ours;
        self
    }
}

/// Everything that is measured.
pub(crate) fn all() -> Result<Vec<Row>> {
    use Kernel::Mandelbrot;
    use Kernel::NBody;
    use Kernel::Saxpy;
    use Kernel::TiledMatmul;
    use Number::Cuda;
    use Number::Vulkan;

    let against_vulkan = |name: &str, unit, kernel| {
        row(name, "the same kernel through native Vulkan", unit, Some(Vulkan(kernel)), Cuda(kernel))
    };
    let copy = |name: &str, way, memory| {
        row(name, "64 MiB; memcpy", "GB/s", Some(Number::PlainCopy), Number::Copy(way, memory))
    };
    let scaled = |name: &str, what| row(name, what, "Gpairs/s", Some(Cuda(NBody)), Cuda(NBody));
    let mut rows = vec![
        against_vulkan("matmul", "GFLOP/s", TiledMatmul).aim(Aim::Times(4.0)),
        against_vulkan("saxpy", "GB/s", Saxpy),
        row("saxpy_memory", "the same in Rust on all cores", "GB/s", Some(Number::PlainSaxpy), Cuda(Saxpy))
            .aim(Aim::Times(0.7)),
        against_vulkan("mandelbrot", "Mpix/s", Mandelbrot).aim(Aim::Times(0.5)),
        against_vulkan("nbody", "Gpairs/s", NBody),
        row("launch_wait", "empty kernel, launch + wait, at once again", "us", None, Number::LaunchAndWait)
            .aim(Aim::Most(25.0)),
        row("launch_rest", "the same after 5 ms of rest", "us", None, Number::LaunchAfterRest),
        row("launches", "empty kernels, one wait for 10,000", "k/s", None, Number::Launches),
        row(
            "graph_chain",
            "100 empty kernels as a graph, one wait; singly",
            "k/s",
            Some(Number::EmptyKernels(Form::Single)),
            Number::EmptyKernels(Form::Graph(1)),
        ),
        row(
            "graph_empty_branches",
            "100 empty kernels in 4 branches; in a chain",
            "k/s",
            Some(Number::EmptyKernels(Form::Graph(1))),
            Number::EmptyKernels(Form::Graph(BRANCHES)),
        ),
        row(
            "graph_branches",
            "100 kernels of a block in 4 branches; in a chain",
            "k/s",
            Some(Number::SmallKernels(Form::Graph(1))),
            Number::SmallKernels(Form::Graph(BRANCHES)),
        ),
        copy("copy_h2d", Way::ToDevice, HostMemory::Pageable),
        copy("copy_d2h", Way::FromDevice, HostMemory::Pageable),
        copy("copy_h2d_pinned", Way::ToDevice, HostMemory::Pinned),
        copy("copy_d2h_pinned", Way::FromDevice, HostMemory::Pinned),
        row("allocate_64k", "cuMemAlloc + cuMemFree of 64 KiB", "us", None, Number::Allocate(64 << 10)),
        row("allocate_64m", "cuMemAlloc + cuMemFree of 64 MiB", "us", None, Number::Allocate(64 << 20)),
        scaled("cores_2", "n-body on two cores; on one").cores(1, Some(2)).aim(Aim::Times(1.8)),
        scaled("cores_all", "n-body on all cores; on one").cores(1, None),
        row(
            "processes_2",
            "n-body in two processes, sum; in one",
            "Gpairs/s",
            Some(Cuda(NBody)),
            Number::TwoProcesses(NBody),
        ),
    ];
    for case in modules::cases()? {
        let number = |text| Number::Module(case.clone(), text);
        let name = format!("module {case}");
        let what = "load and make ready, new text; known text";
        rows.push(row(&name, what, "ms", Some(number(Text::Known)), number(Text::New)).aim(Aim::Most(5.0)));
    }
    Ok(rows)
}
