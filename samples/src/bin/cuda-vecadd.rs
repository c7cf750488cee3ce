//! Adds two arrays with a CUDA kernel and checks the sums.
//!
//! Plain CUDA driver API, nothing of ours: it runs on whatever `libcuda.so.1` the dynamic linker finds, so it shows what an
//! unmodified program does. The kernel is `cuda-vecadd.cu`, compiled to PTX by clang ahead of time.

// UNSAFETY: loads a C library and calls its functions; each block below makes one call.
#![expect(unsafe_code, reason = "the CUDA driver API is one of C")]

use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_uint;
use std::ffi::c_void;
use std::ptr;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use clap::Parser;
use libloading::Library;
use libloading::Symbol;

/// Adds two arrays on the first CUDA device.
#[derive(Parser)]
struct Options {
    /// Numbers in an array.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..=1 << 26))]
    count: u32,
}

const PTX: &str = concat!(include_str!("cuda-vecadd.ptx"), "\0");
const THREADS: u32 = 256;

type Result2<A, B> = unsafe extern "C" fn(A, B) -> c_int;
type Result3<A, B, C> = unsafe extern "C" fn(A, B, C) -> c_int;
type Launch = unsafe extern "C" fn(
    usize,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    usize,
    *mut *mut c_void,
    *mut *mut c_void,
) -> c_int;

/// Finds a function of the library.
fn find<'a, F>(library: &'a Library, name: &str) -> anyhow::Result<Symbol<'a, F>> {
    // SAFETY: the callers ask for the types that the header gives these names.
    unsafe { library.get(name.as_bytes()) }.with_context(|| format!("the library has no {name}"))
}

fn check(what: &str, result: c_int) -> anyhow::Result<()> {
    ensure!(result == 0, "{what}: error {result}");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // SAFETY: the library is the system's, and does nothing when it is loaded.
    let library = unsafe { Library::new("libcuda.so.1") }.context("no libcuda.so.1 on this machine")?;
    let init: Symbol<'_, unsafe extern "C" fn(c_uint) -> c_int> = find(&library, "cuInit")?;
    let retain: Symbol<'_, Result2<*mut usize, c_int>> = find(&library, "cuDevicePrimaryCtxRetain")?;
    let set_current: Symbol<'_, unsafe extern "C" fn(usize) -> c_int> = find(&library, "cuCtxSetCurrent")?;
    let device_name: Symbol<'_, Result3<*mut c_char, c_int, c_int>> = find(&library, "cuDeviceGetName")?;
    let load: Symbol<'_, Result2<*mut usize, *const c_char>> = find(&library, "cuModuleLoadData")?;
    let get: Symbol<'_, Result3<*mut usize, usize, *const c_char>> = find(&library, "cuModuleGetFunction")?;
    let alloc: Symbol<'_, Result2<*mut u64, usize>> = find(&library, "cuMemAlloc_v2")?;
    let to_device: Symbol<'_, Result3<u64, *const c_void, usize>> = find(&library, "cuMemcpyHtoD_v2")?;
    let to_host: Symbol<'_, Result3<*mut c_void, u64, usize>> = find(&library, "cuMemcpyDtoH_v2")?;
    let launch: Symbol<'_, Launch> = find(&library, "cuLaunchKernel")?;
    let synchronize: Symbol<'_, unsafe extern "C" fn() -> c_int> = find(&library, "cuCtxSynchronize")?;

    // SAFETY: no pointers.
    check("cuInit", unsafe { init(0) })?;
    let (mut context, mut module, mut function) = (0, 0, 0);
    // SAFETY: the place is a live variable.
    check("cuDevicePrimaryCtxRetain", unsafe { retain(&raw mut context, 0) })?;
    // SAFETY: the context is the one above.
    check("cuCtxSetCurrent", unsafe { set_current(context) })?;
    let mut name = [0; 128];
    // SAFETY: the place has so many bytes.
    check("cuDeviceGetName", unsafe { device_name(name.as_mut_ptr(), 128, 0) })?;
    // SAFETY: the text ends with a zero.
    check("cuModuleLoadData", unsafe { load(&raw mut module, PTX.as_ptr().cast()) })?;
    // SAFETY: the module is the one above, the name ends with a zero.
    check("cuModuleGetFunction", unsafe { get(&raw mut function, module, c"add".as_ptr()) })?;

    let one: Vec<f32> = (0..options.count).map(|at| (at % 1000) as f32).collect();
    let other: Vec<f32> = (0..options.count).map(|at| (at % 7) as f32).collect();
    let bytes = size_of_val(one.as_slice());
    let mut places = [0_u64; 3];
    for place in &mut places {
        // SAFETY: the place is a live variable.
        check("cuMemAlloc", unsafe { alloc(place, bytes) })?;
    }
    for (to, from) in places[1..].iter().zip([&one, &other]) {
        // SAFETY: both ends have so many bytes.
        check("cuMemcpyHtoD", unsafe { to_device(*to, from.as_ptr().cast(), bytes) })?;
    }
    let [mut sums, mut first, mut second] = places;
    let mut count = options.count;
    let mut params: [*mut c_void; 4] =
        [(&raw mut sums).cast(), (&raw mut first).cast(), (&raw mut second).cast(), (&raw mut count).cast()];
    let (blocks, list) = (count.div_ceil(THREADS), params.as_mut_ptr());
    let start = Instant::now();
    // SAFETY: the kernel has four parameters of the types that the list points to; the arrays are as long as `count` says.
    let result = unsafe { launch(function, blocks, 1, 1, THREADS, 1, 1, 0, 0, list, ptr::null_mut()) };
    check("cuLaunchKernel", result)?;
    // SAFETY: no pointers.
    check("cuCtxSynchronize", unsafe { synchronize() })?;
    let took = start.elapsed();
    let mut got = vec![0_f32; one.len()];
    // SAFETY: both ends have so many bytes.
    check("cuMemcpyDtoH", unsafe { to_host(got.as_mut_ptr().cast(), sums, bytes) })?;
    let wrong = got.iter().zip(one.iter().zip(&other)).filter(|(got, (one, other))| **got != *one + *other);
    let wrong = wrong.count();
    ensure!(wrong == 0, "{wrong} of {count} sums are wrong");
    let name: String =
        name.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte as u8)).collect();
    println!("device = {name}");
    println!("sums = right");
    println!("{count} sums in {:.2} ms", took.as_secs_f64() * 1e3);
    Ok(())
}
