//! Random programs: the interpreter and native code must leave the same memory.
//!
//! `DXG_PTX_SEED` is the first seed (1), `DXG_PTX_PROGRAMS` how many programs run (10,000 with optimisation, 200 without). A program that
//! differs is written to the target directory; those that did so are in `kept`, by their seeds, and are always run.
//!
//! Programs that were damaged have no meaning to compare, but must end, and nothing may panic.

mod control;
mod generate;
mod mutate;
mod templates;

#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use dxg_ptx::exec::Launch;
use dxg_ptx::ir::Space;
use support::arena::Arena;
use support::program::Make;
use support::program::Program;
use support::program::interpreter;
use support::program::native;
use support::program::packets;
use support::random::Random;

/// What a program leaves: its results, its sums, how it ended.
type Left = (Vec<u8>, Vec<u8>, Option<String>);

fn run(text: &str, seed: u64, make: Make<'_>) -> Left {
    let module = match dxg_ptx::parse(text.as_bytes(), "random") {
        Ok(module) => module,
        Err(problems) => return (Vec::new(), Vec::new(), Some(format!("not read: {problems}"))),
    };
    let threads = (generate::THREADS * generate::BLOCKS) as usize;
    let arena = Arena::new(1 << 16);
    let program = Program::new(make, module, &arena);
    let mut random = Random(seed ^ 0x5eed);
    let words = (0..threads * generate::INPUTS as usize).map(|_| input(&mut random));
    let inputs: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    let outputs = threads * generate::OUTPUTS as usize * 4;
    let [data, out, acc] = [inputs.len(), outputs, 64].map(|bytes| arena.take(bytes));
    arena.write(data, &inputs);
    // Least values are looked for, and bits that all have.
    arena.write(acc + 20, &u32::MAX.to_le_bytes());
    arena.write(acc + 32, &u32::MAX.to_le_bytes());
    let launch = Launch {
        grid: [generate::BLOCKS, 1, 1],
        block: [generate::THREADS, 1, 1],
        params: [data, out, acc].iter().flat_map(|address| address.to_le_bytes()).collect(),
        ..Launch::default()
    };
    let outcome = program.run_alone("k", &launch, &arena);
    (arena.read(out, outputs), arena.read(acc, 64), outcome.err().map(|fault| fault.to_string()))
}

/// A word of input: numbers that matter, floats of ordinary size, anything.
fn input(random: &mut Random) -> u32 {
    let raw = random.next();
    match raw >> 60 {
        0..3 => (raw & 15) as u32,
        3..6 => (raw as u32 & 0x807f_ffff) | 0x3f80_0000_u32.wrapping_add((raw >> 40) as u32 & 0x0380_0000),
        6 => [
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x7f80_0000,
            0x7fc0_0000,
            0x0000_0001,
            0x0080_0000,
            0xff7f_ffff,
        ][(raw & 7) as usize],
        _ => raw as u32,
    }
}

/// Where native code of either tier differs from the interpreter for a seed.
fn difference(seed: u64, text: &str) -> Option<String> {
    let expected = run(text, seed, &interpreter);
    let got = run(text, seed, &native);
    compare(seed, text, &expected, &got)
        .or_else(|| compare(seed, text, &expected, &run(text, seed, &packets)))
}

fn compare(seed: u64, text: &str, expected: &Left, got: &Left) -> Option<String> {
    if expected == got && expected.2.is_none() {
        return None;
    }
    let mut report = format!("seed {seed}: ");
    match (&expected.2, &got.2) {
        (None, None) => {}
        ends => {
            let _ = write!(report, "interpreted {:?}, native {:?}; ", ends.0, ends.1);
        }
    }
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes(bytes[4 * at..4 * at + 4].try_into().expect("four bytes"))
    };
    for (name, want, got) in [("out", &expected.0, &got.0), ("acc", &expected.1, &got.1)] {
        let count = want.len().min(got.len()) / 4;
        if let Some(at) = (0..count).find(|&at| word(want, at) != word(got, at)) {
            let (thread, place) = (at / generate::OUTPUTS as usize, at % generate::OUTPUTS as usize);
            let _ = write!(
                report,
                "{name} thread {thread} word {place}: {:#x} natively, {:#x} interpreted; ",
                word(got, at),
                word(want, at)
            );
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("random-{seed}.ptx"));
    let written = std::fs::write(&path, text);
    let _ = write!(report, "{} ({written:?})", path.display());
    Some(report)
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("the setting is a number"))
}

fn run_seeds(seeds: &[u64]) -> Vec<String> {
    let next = AtomicU64::new(0);
    let differences = Mutex::new(Vec::new());
    let work = || {
        while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            if let Some(difference) = difference(seed, &generate::program(seed)) {
                differences.lock().expect("nobody panics with the lock").push(difference);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    differences.into_inner().expect("nobody panics with the lock")
}

fn check(seeds: &[u64]) {
    let differences = run_seeds(seeds);
    let first = &differences[..differences.len().min(20)];
    assert!(
        differences.is_empty(),
        "{} of {} programs differ:\n{}",
        differences.len(),
        seeds.len(),
        first.join("\n")
    );
}

#[test]
fn random_programs_interpreted_and_native_leave_the_same() {
    let first = setting("DXG_PTX_SEED", 1);
    let count = setting("DXG_PTX_PROGRAMS", if cfg!(debug_assertions) { 200 } else { 10_000 });
    println!("seeds {first} to {}", first + count - 1);
    check(&(first..first + count).collect::<Vec<_>>());
}

#[test]
fn programs_that_once_differed_leave_the_same() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/random/kept");
    let mut programs = 0;
    for entry in std::fs::read_dir(&directory).expect("the directory is there") {
        let path = entry.expect("the directory can be read").path();
        let seed =
            path.file_stem().and_then(|name| name.to_str()?.parse().ok()).expect("the name is the seed");
        let text = std::fs::read_to_string(&path).expect("the program can be read");
        assert_eq!(difference(seed, &text), None);
        programs += 1;
    }
    assert!(programs > 0, "no program is kept in {}", directory.display());
}

/// How long a damaged program may run before it is stopped: it may be endless.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// Whether a damaged program could be read; it is run then, and ends in whatever way.
fn survives(text: &str, seed: u64, make: Make<'_>) -> bool {
    let Ok(module) = dxg_ptx::parse(text.as_bytes(), "damaged") else { return false };
    // Damage may have made a variable that the arena has no room for.
    let is_large = module.globals.iter().any(|global| global.space != Space::Shared && global.size > 4096);
    if is_large || module.entry("k").is_none() {
        return true;
    }
    let arena = Arena::new(1 << 16);
    let program = Program::new(make, module, &arena);
    let [data, out, acc] = [6144, 15360, 64].map(|bytes| arena.take(bytes));
    let mut random = Random(seed);
    let inputs: Vec<u8> = (0..1536).flat_map(|_| input(&mut random).to_le_bytes()).collect();
    arena.write(data, &inputs);
    let launch = Launch {
        grid: [1, 1, 1],
        block: [generate::THREADS, 1, 1],
        params: [data, out, acc].iter().flat_map(|address| address.to_le_bytes()).collect(),
        ..Launch::default()
    };
    std::thread::scope(|scope| {
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let arena = &arena;
        scope.spawn(move || {
            if ended.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                arena.set_stop();
            }
        });
        let _outcome = program.run_alone("k", &launch, arena);
        drop(done);
    });
    true
}

/// Runs programs that were damaged; the last one is in the target directory, should the process not survive it.
fn run_damaged(name: &str, make: Make<'_>) {
    let first = setting("DXG_PTX_SEED", 1);
    let count = setting("DXG_PTX_PROGRAMS", if cfg!(debug_assertions) { 150 } else { 1_000 });
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("damaged-{name}.ptx"));
    let mut run = 0;
    for seed in first..first + count {
        let text = mutate::mutate(&generate::program(seed), &mut Random(seed));
        std::fs::write(&path, &text).expect("the target directory can be written to");
        run += u64::from(survives(&text, seed, make));
    }
    println!("{run} of {count} could be read");
    assert!(run > count / 4, "only {run} of {count} could be read");
}

#[test]
fn damaged_programs_interpreted_end_without_a_panic() {
    run_damaged("interpreted", &interpreter);
}

#[test]
fn damaged_programs_as_native_code_end_without_a_panic() {
    run_damaged("native", &native);
}

#[test]
fn damaged_programs_as_code_for_four_threads_end_without_a_panic() {
    run_damaged("packets", &packets);
}
