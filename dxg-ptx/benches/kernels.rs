//! How fast native code is: tiled matrix product, saxpy, mandelbrot, a reduction by shuffles, an empty kernel; and how long
//! compiling takes.
//!
//! Workloads: `matmul` 512 x 512 in tiles of 16; `saxpy` of 8 M elements, as a share of what a plain copy moves; `mandelbrot`
//! 1024 x 1024 with 256 iterations; `reduce` of 8 M elements. Each on 1, 2 and all threads. `DXG_PTX_CASES` names a directory
//! of modules to compile. Run with `cargo bench -p dxg-ptx`; `--quick` is short, `--compile` stops after compiling.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Placement;
use dxg_ptx::ir::FuncId;
use dxg_ptx::native::NativeProgram;

const WORDS: usize = 3 << 20;
const PAGE_BYTES: usize = 4096;
const ELEMENTS: usize = 8 << 20;

struct Arena {
    words: Vec<AtomicU64>,
    stop: AtomicBool,
}

impl Arena {
    fn new() -> Self {
        // 72 MB and what is left of the first page, all touched.
        let words = (0..WORDS * 3 + PAGE_BYTES / 8).map(|_| AtomicU64::new(0x3f80_0000_3f80_0000)).collect();
        Self { words, stop: AtomicBool::new(false) }
    }

    /// An address; the first one starts a page.
    fn at(&self, bytes: u64) -> u64 {
        (self.words.as_ptr().expose_provenance() as u64).next_multiple_of(PAGE_BYTES as u64) + bytes
    }
}

impl Host for Arena {
    fn memory(&self) -> Range<u64> {
        self.at(0)..self.at(8 * 3 * WORDS as u64)
    }

    fn is_mapped(&self, _address: u64, _bytes: u64) -> bool {
        true
    }

    fn print(&self, _text: &[u8]) {}

    fn allocate(&self, _bytes: u64) -> u64 {
        0
    }

    fn release(&self, _address: u64) -> bool {
        false
    }

    fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

/// A parameter block.
#[derive(Default)]
struct Params(Vec<u8>);

impl Params {
    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend_from_slice(bytes);
        self
    }

    fn word(self, value: u32) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn float(self, value: f32) -> Self {
        self.put(&value.to_le_bytes())
    }

    fn address(self, value: u64) -> Self {
        self.put(&value.to_le_bytes())
    }
}

/// The best time of some runs.
fn measure(
    program: &NativeProgram,
    entry: FuncId,
    launch: &Launch,
    arena: &Arena,
    threads: usize,
    runs: u32,
) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let blocks = Blocks::of(launch, threads);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| program.run(entry, launch, &blocks, arena).expect("the kernel is right"));
            }
        });
        best = best.min(start.elapsed());
    }
    best
}

/// Bytes per second that plain copying moves, read and written ones, on some threads.
fn copy_rate(threads: usize, runs: u32) -> f64 {
    let from = vec![1_u8; 32 << 20];
    let mut to = vec![0_u8; 32 << 20];
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let start = Instant::now();
        thread::scope(|scope| {
            let share = from.len() / threads;
            for (from, to) in from.chunks(share).zip(to.chunks_mut(share)) {
                scope.spawn(move || to.copy_from_slice(from));
            }
        });
        best = best.min(start.elapsed());
    }
    2.0 * from.len() as f64 / best.as_secs_f64()
}

fn find(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "ptx") {
            found.push(path);
        }
    }
}

/// What loading a module and making code took.
#[derive(Clone)]
struct Compilation {
    parsed: Duration,
    /// The module, and code for all its entries.
    all: Duration,
    /// Code of each entry.
    entries: Vec<Duration>,
}

impl Compilation {
    fn of(text: &[u8]) -> Option<Self> {
        let start = Instant::now();
        let module = dxg_ptx::parse(text, "module").ok()?;
        let parsed = start.elapsed();
        let module = Arc::new(module);
        let program = NativeProgram::new(Arc::clone(&module), Placement::default()).ok()?;
        let mut entries = Vec::new();
        for (number, function) in (0..).zip(&module.functions) {
            if function.is_entry {
                let start = Instant::now();
                let _ = program.compile(FuncId(number));
                entries.push(start.elapsed());
            }
        }
        Some(Self { parsed, all: start.elapsed(), entries })
    }

    fn min(self, other: Self) -> Self {
        Self {
            parsed: self.parsed.min(other.parsed),
            all: self.all.min(other.all),
            entries: self.entries.into_iter().zip(other.entries).map(|(a, b)| a.min(b)).collect(),
        }
    }

    /// Until the slowest entry can run.
    fn slowest(&self) -> Duration {
        self.parsed + self.entries.iter().max().copied().unwrap_or_default()
    }
}

fn compile_times(directory: &Path, runs: u32) {
    let mut paths = Vec::new();
    find(directory, &mut paths);
    paths.sort();
    let mut worst = Duration::ZERO;
    for path in &paths {
        let Ok(text) = fs::read(path) else { continue };
        let Some(first) = Compilation::of(&text) else { continue };
        let best = (1..runs).filter_map(|_| Compilation::of(&text)).fold(first.clone(), Compilation::min);
        worst = worst.max(best.slowest());
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        println!(
            "compile {name:36} {:7.2} ms (parsing {:.2}; {} kernels in {:.2}, at first {:.2})",
            ms(best.slowest()),
            ms(best.parsed),
            best.entries.len(),
            ms(best.all),
            ms(first.all)
        );
    }
    println!("compile: slowest kernel of {} modules: {:.2} ms", paths.len(), ms(worst));
    println!("aim: compile <= 5 ms: {}", if ms(worst) <= 5.0 { "met" } else { "missed" });
}

fn ms(span: Duration) -> f64 {
    1000.0 * span.as_secs_f64()
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (runs, compilations) = if quick { (1, 1) } else { (7, 20) };
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    compile_times(&std::env::var_os("DXG_PTX_CASES").map_or(default, PathBuf::from), compilations);
    if std::env::args().any(|arg| arg == "--compile") {
        return;
    }

    let module = dxg_ptx::parse(include_bytes!("kernels.ptx"), "kernels").expect("the kernels are right");
    let module = Arc::new(module);
    let entry = |name: &str| module.entry(name).expect("the entry is there");
    let program =
        NativeProgram::new(Arc::clone(&module), Placement::default()).expect("there is a code generator");
    if std::env::var_os("DXG_PTX_FIRST").is_none() {
        for (number, function) in (0..).zip(&module.functions) {
            if function.is_entry {
                program.improve(FuncId(number)).expect("the kernels can be compiled better");
            }
        }
    }
    if let Some(directory) = std::env::var_os("DXG_PTX_DUMP") {
        for (number, function) in (0..).zip(&module.functions) {
            let path = Path::new(&directory).join(&function.name).with_extension("bin");
            fs::write(path, program.machine_code(FuncId(number)).unwrap_or_default())
                .expect("the directory is there");
        }
        return;
    }
    let arena = Arena::new();
    let [a, b, c] = [0, 32 << 20, 64 << 20].map(|offset| arena.at(offset));
    let all = thread::available_parallelism().map_or(1, usize::from);
    let mut counts = vec![1, 2, all];
    counts.dedup();
    let launch = |grid: [u32; 3], block: [u32; 3], params: Params| Launch {
        grid,
        block,
        params: params.0,
        ..Launch::default()
    };

    let matmul =
        launch([32, 32, 1], [16, 16, 1], Params::default().address(a).address(b).address(c).word(512));
    let linear = |n: usize| [(n as u32).div_ceil(256), 1, 1];
    let saxpy = launch(
        linear(ELEMENTS),
        [256, 1, 1],
        Params::default().word(ELEMENTS as u32).float(0.0).address(a).address(b),
    );
    let pixels = Params::default()
        .address(c)
        .word(1024)
        .word(1024)
        .float(-2.0)
        .float(-1.5)
        .float(3.0 / 1024.0)
        .word(256);
    let mandelbrot = launch([64, 64, 1], [16, 16, 1], pixels);
    let reduce =
        launch([1024, 1, 1], [256, 1, 1], Params::default().address(a).address(c).word(ELEMENTS as u32));
    let empty = launch([1, 1, 1], [32, 1, 1], Params::default());
    for &threads in &counts {
        let run = |name: &str, launch: &Launch| measure(&program, entry(name), launch, &arena, threads, runs);
        let product = 2.0 * 512_f64.powi(3) / run("matmul", &matmul).as_secs_f64() / 1e9;
        println!("matmul 512, {threads} threads: {product:.2} GFLOP/s");
        let plain = copy_rate(threads, runs);
        for name in ["saxpy_one", "saxpy"] {
            let moved = 12.0 * ELEMENTS as f64 / run(name, &saxpy).as_secs_f64();
            let share = 100.0 * moved / plain;
            println!(
                "{name} 8 M, {threads} threads: {:.1} GB/s, {share:.0} % of a plain copy's {:.1}",
                moved / 1e9,
                plain / 1e9
            );
            if threads == 2 && name == "saxpy_one" {
                println!(
                    "aim: saxpy >= 70 % of plain bandwidth: {}",
                    if share >= 70.0 { "met" } else { "missed" }
                );
            }
        }
        let rate = 1024.0 * 1024.0 / run("mandelbrot", &mandelbrot).as_secs_f64() / 1e6;
        println!("mandelbrot 1024 x 1024 x 256, {threads} threads: {rate:.1} Mpix/s");
        let summed = ELEMENTS as f64 / run("reduce", &reduce).as_secs_f64() / 1e9;
        println!("reduce 8 M, {threads} threads: {summed:.2} G elements/s");
        if threads == 2 {
            println!(
                "aim: matmul >= 2.5 GFLOP/s on 2 threads: {}",
                if product >= 2.5 { "met" } else { "missed" }
            );
            println!(
                "aim: mandelbrot >= 13.5 Mpix/s on 2 threads: {}",
                if rate >= 13.5 { "met" } else { "missed" }
            );
        }
    }
    let blocks = |launch: &Launch| Blocks::of(launch, 1);
    let start = Instant::now();
    for _ in 0..1000 {
        program.run(entry("empty"), &empty, &blocks(&empty), &arena).expect("the kernel is right");
    }
    println!("empty kernel: {:.2} us", ms(start.elapsed()));
}
