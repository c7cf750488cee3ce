//! Faults of the processor in native code, and those elsewhere.

use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dxg_ptx::exec::Blocks;
use dxg_ptx::exec::Executable;
use dxg_ptx::exec::FaultKind;
use dxg_ptx::exec::Host;
use dxg_ptx::exec::Launch;
use dxg_ptx::exec::Placement;
use dxg_ptx::native;
use dxg_ptx::native::NativeProgram;

/// A host whose memory is not there: the first pages of the address space are never mapped.
struct Hole(AtomicBool);

/// The same number on every Linux.
const SIGSEGV: i32 = 11;

const HOLE: Range<u64> = 0x1000..0x8000;

impl Host for Hole {
    fn memory(&self) -> Range<u64> {
        HOLE
    }

    fn is_mapped(&self, _address: u64, _bytes: u64) -> bool {
        false
    }

    fn print(&self, _text: &[u8]) {}

    fn allocate(&self, _bytes: u64) -> u64 {
        0
    }

    fn release(&self, _address: u64) -> bool {
        false
    }

    fn stop(&self) -> &AtomicBool {
        &self.0
    }
}

const TEXT: &str = ".version 8.0\n.target sm_70\n.address_size 64\n.visible .entry k()\n{\n.reg .b32 %r<2>;\n.reg .b64 %a;\n\
                    mov.u32 %r0, %tid.x;\nmov.u64 %a, 0x2000;\nst.global.u32 [%a+64], %r0;\nret;\n}\n";

fn launch_in_hole() -> FaultKind {
    native::install_handlers().expect("handlers can be installed");
    let module = dxg_ptx::parse(TEXT.as_bytes(), "k").expect("the text is right");
    let entry = module.entry("k").expect("the entry is there");
    let program =
        NativeProgram::new(Arc::new(module), Placement::default()).expect("there is a code generator");
    program.compile(entry).expect("the entry can be compiled");
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], ..Launch::default() };
    let fault = program
        .run(entry, &launch, &Blocks::of(&launch, 1), &Hole(AtomicBool::new(false)))
        .expect_err("nothing is mapped there");
    assert_eq!((fault.function.as_str(), fault.place.line), ("k", 10));
    fault.kind
}

#[test]
fn page_that_is_not_mapped_is_an_illegal_address_and_the_thread_goes_on() {
    for _ in 0..3 {
        assert_eq!(launch_in_hole(), FaultKind::IllegalAddress { address: Some(0x2040) });
    }
}

#[test]
fn fault_elsewhere_still_ends_the_process() {
    const CHILD: &str = "DXG_PTX_SIGNAL_CHILD";
    if std::env::var_os(CHILD).is_some() {
        launch_in_hole();
        // Rust's own handler, which was there before ours, takes the first as a hint to step aside.
        for _ in 0..10 {
            let sent = Command::new("kill").args(["-SEGV", &std::process::id().to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "the signal can be sent");
        }
        panic!("still here after the signals");
    }
    let program = std::env::current_exe().expect("the test has a path");
    let status = Command::new(program)
        .args(["--exact", "fault_elsewhere_still_ends_the_process"])
        .env(CHILD, "1")
        .output()
        .expect("the test can be started")
        .status;
    assert_eq!(status.signal(), Some(SIGSEGV));
}
