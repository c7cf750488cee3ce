//! CUDA by a driver of the host, from the program to the device: our library in the program, a daemon whose adapter is a
//! `libcuda.so.1`, and behind that whatever it drives.
//!
//! Each scenario runs twice. Over our own library, which a second daemon serves by the CPU, so that no hardware is needed; and over
//! the driver that the machine has, where it has one.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

mod api;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use dxg_tests::again;
use dxg_tests::daemon::Daemon;
use dxg_tests::kernel::build;
use dxg_tests::kernel::target_directory;

use api::Cuda;

const KERNELS: &str = "
.version 7.0
.target sm_75
.address_size 64
.global .align 4 .b32 factor[2] = {2, 3};
.visible .entry add(.param .u64 to, .param .u64 one, .param .u64 other, .param .u64 count)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<12>;
    ld.param.u64 %rd1, [to];
    ld.param.u64 %rd2, [one];
    ld.param.u64 %rd3, [other];
    ld.param.u64 %rd4, [count];
    mov.u32 %r1, %ctaid.x;
    mov.u32 %r2, %ntid.x;
    mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    cvt.u64.u32 %rd5, %r4;
    setp.ge.u64 %p1, %rd5, %rd4;
    @%p1 bra done;
    shl.b64 %rd6, %rd5, 2;
    add.u64 %rd7, %rd2, %rd6;
    add.u64 %rd8, %rd3, %rd6;
    add.u64 %rd9, %rd1, %rd6;
    ld.global.u32 %r5, [%rd7];
    ld.global.u32 %r6, [%rd8];
    add.u32 %r7, %r5, %r6;
    st.global.u32 [%rd9], %r7;
done:
    ret;
}
.visible .entry scale(.param .u64 at)
{
    .reg .b32 %r<4>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [at];
    ld.global.u32 %r1, [%rd1];
    ld.global.u32 %r2, [factor+4];
    mul.lo.u32 %r3, %r1, %r2;
    st.global.u32 [%rd1], %r3;
    ret;
}
.visible .entry endless(.param .u64 at)
{
    .reg .pred %p<2>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [at];
again:
    ld.volatile.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra again;
    ret;
}
.visible .entry wild(.param .u64 to)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
    st.global.u64 [%rd1], 1;
    ret;
}
";

/// The library that programs load.
fn shim() -> PathBuf {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| build(&["dxg-cuda-shim"]));
    target_directory().join("libcuda_dxg.so")
}

const QUOTA: &str = "[[vgpu]]\nquota_bytes = 67108864\n";

/// Runs the test `name` again with a daemon over our own library, and with one over the machine's driver.
fn run(name: &str, scenario: fn(&Cuda)) {
    if again::is_inside() {
        return scenario(&Cuda::open(&shim()));
    }
    let library = shim();
    assert!(library.is_file(), "{}", library.display());
    // Our own library behind a daemon, which is behind another.
    let Some(behind) = Daemon::start_with(&["--adapter", "cpu"]) else { return println!("skipped: no dxgd") };
    let config = format!(
        "host_libcuda = {:?}\nsandbox = \"off\"\n[host_env]\nDXG_RUNTIME_DIR = {:?}\n{QUOTA}",
        library.display(),
        behind.runtime_dir().display(),
    );
    let front = Daemon::configured_with(&["--adapter", "cuda"], &config).unwrap();
    run_twice(name, &front);
    drop((front, behind));
    // The machine's.
    if devices(&[]) == 0 {
        return println!("skipped: no device");
    }
    let front = Daemon::configured_with(&["--adapter", "cuda"], QUOTA).unwrap();
    run_twice(name, &front);
}

/// Two programs one after the other: the first leaves nothing behind that the second would miss.
fn run_twice(name: &str, daemon: &Daemon) {
    let directory = ("DXG_RUNTIME_DIR", daemon.runtime_dir().as_os_str());
    again::run(name, &[directory]);
    again::run(name, &[directory, (SECOND, OsStr::new("1"))]);
}

/// Says to a program that runs again that it is not the first.
const SECOND: &str = "DXG_TESTS_SECOND";

#[test]
fn program_that_ends_while_its_kernel_has_no_end_leaves_the_device_to_the_next() {
    run("program_that_ends_while_its_kernel_has_no_end_leaves_the_device_to_the_next", |cuda| {
        let module = cuda.load(KERNELS).unwrap();
        let at = cuda.alloc(33 << 20).unwrap();
        if env::var_os(SECOND).is_some() {
            cuda.write(at, &[1]).unwrap();
            return assert_eq!(cuda.read(at, 1), Ok(vec![1]));
        }
        cuda.fill(at, 0, 1, 0).unwrap();
        let endless = cuda.function(module, "endless").unwrap();
        cuda.launch(endless, 1, 1, &[at], 0).unwrap();
    });
}

/// How many devices of a CUDA driver the daemon finds.
fn devices(variables: &[(&str, &OsStr)]) -> usize {
    let dxgd = env::var_os("DXGD").map_or_else(|| target_directory().join("dxgd"), PathBuf::from);
    let probe =
        Command::new(dxgd).args(["probe", "--adapter", "cuda"]).envs(variables.iter().copied()).output();
    let text = String::from_utf8(probe.unwrap().stdout).unwrap();
    text.matches("\"cuda:").count()
}

#[test]
fn vectors_are_added_by_way_of_pageable_memory() {
    run("vectors_are_added_by_way_of_pageable_memory", |cuda| {
        let module = cuda.load(KERNELS).unwrap();
        let add = cuda.function(module, "add").unwrap();
        let count = 100_000_usize;
        let [one, other, sum] = [(); 3].map(|()| cuda.alloc(count * 4).unwrap());
        let values: Vec<u32> = (0..count as u32).collect();
        cuda.write(one, &values).unwrap();
        cuda.copy(other, one, count * 4).unwrap();
        cuda.launch(add, (count as u32).div_ceil(256), 256, &[sum, one, other, count as u64], 0).unwrap();
        let expected: Vec<u32> = values.iter().map(|value| value * 2).collect();
        assert_eq!(cuda.read(sum, count).unwrap(), expected);
        for at in [one, other, sum] {
            cuda.free(at).unwrap();
        }
        cuda.unload(module).unwrap();
    });
}

#[test]
fn large_copies_arrive_whole() {
    run("large_copies_arrive_whole", |cuda| {
        // More than is staged at once, and not a multiple of it.
        let count = (5 << 20) + 3;
        let values: Vec<u32> = (0..count as u32).map(|at| at.wrapping_mul(2_654_435_761)).collect();
        let at = cuda.alloc(count * 4).unwrap();
        cuda.write(at, &values).unwrap();
        assert!(cuda.read(at, count).unwrap() == values);
        cuda.free(at).unwrap();
    });
}

#[test]
fn streams_wait_for_events_and_events_tell_time() {
    run("streams_wait_for_events_and_events_tell_time", |cuda| {
        let module = cuda.load(KERNELS).unwrap();
        let add = cuda.function(module, "add").unwrap();
        let (first, second) = (cuda.stream(), cuda.stream());
        let (begin, filled, end) = (cuda.event(), cuda.event(), cuda.event());
        let count = 1024;
        let (pinned, back) = (cuda.pinned(count), cuda.pinned(count));
        let [one, other] = [(); 2].map(|()| cuda.alloc(count * 4).unwrap());
        pinned.write(&(0..count as u32).collect::<Vec<_>>());
        cuda.record(begin, first).unwrap();
        cuda.write_pinned(one, &pinned, first).unwrap();
        cuda.fill(other, 7, count, first).unwrap();
        cuda.record(filled, first).unwrap();
        cuda.wait(second, filled).unwrap();
        cuda.launch(add, 4, 256, &[one, one, other, count as u64], second).unwrap();
        cuda.read_pinned(&back, one, second).unwrap();
        cuda.record(end, second).unwrap();
        cuda.finish_event(end).unwrap();
        assert_eq!(back.read(), (7..count as u32 + 7).collect::<Vec<_>>());
        let (whole, half) = (cuda.elapsed_ms(begin, end).unwrap(), cuda.elapsed_ms(begin, filled).unwrap());
        assert!(half >= 0.0 && whole >= half, "{half} {whole}");
        for stream in [first, second] {
            cuda.finish(stream).unwrap();
            cuda.destroy_stream(stream).unwrap();
        }
        cuda.free_pinned(pinned).unwrap();
        cuda.free_pinned(back).unwrap();
    });
}

#[test]
fn pools_give_memory_in_the_order_of_a_stream() {
    run("pools_give_memory_in_the_order_of_a_stream", |cuda| {
        let stream = cuda.stream();
        let back = cuda.pinned(3);
        for round in 0..100 {
            let at = cuda.alloc_async(12, stream).unwrap();
            cuda.fill(at, round, 3, stream).unwrap();
            cuda.read_pinned(&back, at, stream).unwrap();
            cuda.free_async(at, stream).unwrap();
        }
        cuda.finish(stream).unwrap();
        assert_eq!(back.read(), [99; 3]);
    });
}

#[test]
fn variables_of_modules_are_where_the_driver_has_put_them() {
    run("variables_of_modules_are_where_the_driver_has_put_them", |cuda| {
        let module = cuda.load(KERNELS).unwrap();
        let (factor, bytes) = cuda.global(module, "factor").unwrap();
        assert_eq!(bytes, 8);
        assert_eq!(cuda.read(factor, 2).unwrap(), [2, 3]);
        let at = cuda.alloc(4).unwrap();
        let scale = cuda.function(module, "scale").unwrap();
        cuda.write(at, &[5]).unwrap();
        cuda.launch(scale, 1, 1, &[at], 0).unwrap();
        assert_eq!(cuda.read(at, 1).unwrap(), [15]);
        cuda.write(factor + 4, &[10]).unwrap();
        cuda.launch(scale, 1, 1, &[at], 0).unwrap();
        assert_eq!(cuda.read(at, 1).unwrap(), [150]);
        cuda.unload(module).unwrap();
        assert!(cuda.read(factor, 1).is_err());
    });
}

/// A fat binary that holds a text and nothing else.
fn fat_binary(text: &str) -> Vec<u8> {
    let payload = text.len().next_multiple_of(8);
    let mut bytes = vec![0; 16 + 64 + payload];
    bytes[..4].copy_from_slice(&0xBA55_ED50_u32.to_le_bytes());
    bytes[4..8].copy_from_slice(&[1, 0, 16, 0]);
    bytes[8..16].copy_from_slice(&(64 + payload as u64).to_le_bytes());
    // The entry: PTX of version 1.1, its header's bytes, its bytes, for compute capability 7.5.
    bytes[16..20].copy_from_slice(&[1, 0, 1, 1]);
    bytes[20..24].copy_from_slice(&64_u32.to_le_bytes());
    bytes[24..32].copy_from_slice(&(payload as u64).to_le_bytes());
    bytes[44..48].copy_from_slice(&75_u32.to_le_bytes());
    bytes[80..80 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

#[test]
fn binaries_go_to_the_driver_as_they_are() {
    run("binaries_go_to_the_driver_as_they_are", |cuda| {
        let module = cuda.load_binary(&fat_binary(KERNELS)).unwrap();
        let (factor, bytes) = cuda.global(module, "factor").unwrap();
        assert_eq!((bytes, cuda.global(module, "nothing")), (8, Err(500)));
        let at = cuda.alloc(4).unwrap();
        cuda.write(at, &[5]).unwrap();
        cuda.write(factor + 4, &[4]).unwrap();
        cuda.launch(cuda.function(module, "scale").unwrap(), 1, 1, &[at], 0).unwrap();
        assert_eq!(cuda.read(at, 1).unwrap(), [20]);
        assert!(
            cuda.load_binary(b"\x7fELF and nothing behind it, which is no cubin at all; and so on and on")
                .is_err()
        );
    });
}

#[test]
fn calls_of_the_program_come_in_the_order_of_their_stream() {
    run("calls_of_the_program_come_in_the_order_of_their_stream", |cuda| {
        let (first, second) = (cuda.stream(), cuda.stream());
        let (back, done) = (cuda.pinned(1), cuda.event());
        let at = cuda.alloc(4).unwrap();
        for round in 1..50 {
            cuda.fill(at, round, 1, first).unwrap();
            cuda.read_pinned(&back, at, first).unwrap();
            // Takes what was copied just before.
            cuda.call(first, &back).unwrap();
            cuda.fill(at, 0, 1, first).unwrap();
            cuda.read_pinned(&back, at, first).unwrap();
            cuda.record(done, first).unwrap();
            cuda.wait(second, done).unwrap();
        }
        cuda.finish(second).unwrap();
        assert_eq!(back.read(), [0]);
        assert_eq!(api::sum_of_calls(), (1..50).sum::<u32>());
    });
}

#[test]
fn fault_of_a_kernel_is_the_error_of_every_later_call() {
    run("fault_of_a_kernel_is_the_error_of_every_later_call", |cuda| {
        let module = cuda.load(KERNELS).unwrap();
        let wild = cuda.function(module, "wild").unwrap();
        let at = cuda.alloc(4).unwrap();
        cuda.launch(wild, 1, 1, &[0x10], 0).unwrap();
        assert_eq!(cuda.synchronize(), Err(700));
        assert_eq!(cuda.write(at, &[1]), Err(700));
        assert_eq!(cuda.synchronize(), Err(700));
    });
}

#[test]
fn refused_module_says_why_and_leaves_the_context_usable() {
    run("refused_module_says_why_and_leaves_the_context_usable", |cuda| {
        let (error, log) =
            cuda.load(&KERNELS.replace("ld.param.u64 %rd1, [at];", "ld.wrong %rd1;")).unwrap_err();
        assert_eq!(error, 218);
        assert!(!log.is_empty());
        let module = cuda.load(KERNELS).unwrap();
        assert_eq!(cuda.function(module, "nothing"), Err(500));
    });
}

#[test]
fn device_memory_counts_against_the_quota() {
    run("device_memory_counts_against_the_quota", |cuda| {
        assert_eq!(cuda.alloc(128 << 20), Err(2));
        let before = cuda.free_bytes();
        assert!(before <= 64 << 20);
        let at = cuda.alloc(33 << 20).unwrap();
        assert!(cuda.free_bytes() <= before - (33 << 20));
        assert_eq!(cuda.alloc(33 << 20), Err(2));
        cuda.free(at).unwrap();
        let again = cuda.alloc(33 << 20).unwrap();
        cuda.free(again).unwrap();
    });
}

#[test]
fn memory_that_both_sides_would_have_to_see_is_not_supported() {
    run("memory_that_both_sides_would_have_to_see_is_not_supported", |cuda| {
        // Managed memory; virtual memory management.
        assert_eq!((cuda.attribute(83), cuda.attribute(102)), (0, 0));
        assert_eq!(cuda.alloc_managed(4096), Err(801));
        assert_eq!(cuda.reserve(2 << 20), Err(801));
        let at = cuda.alloc(4096).unwrap();
        assert_eq!(cuda.ipc_handle(at), Err(801));
    });
}

#[test]
fn own_library_is_no_driver_unless_it_is_named() {
    let directory = env::temp_dir().join(format!("dxg-tests-own-library-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let link = directory.join("libcuda.so.1");
    let behind = Daemon::start_with(&["--adapter", "cpu"]);
    let Some(behind) = behind else { return println!("skipped: no dxgd") };
    std::os::unix::fs::symlink(shim(), &link).unwrap();
    let runtime: &Path = behind.runtime_dir();
    let variables = [("LD_LIBRARY_PATH", directory.as_os_str()), ("DXG_RUNTIME_DIR", runtime.as_os_str())];
    let found = devices(&variables);
    let dxgd = env::var_os("DXGD").map_or_else(|| target_directory().join("dxgd"), PathBuf::from);
    let mut named = Command::new(dxgd);
    named.args(["probe", "--adapter", "cuda", "--host-libcuda"]).arg(&link).envs(variables);
    let named = String::from_utf8(named.output().unwrap().stdout).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!((found, named.matches("\"cuda:").count()), (0, 1), "{named}");
}
