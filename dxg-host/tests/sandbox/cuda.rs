//! Kernels in a process that is closed in as a worker of the adapter `cpu` is.

use dxg_host::adapter::cuda::Executor;
use dxg_host::adapter::cuda::Settings;
use dxg_wire::cuda as wire;
use dxg_wire::cuda::op;

use super::context::Context;
use super::context::MEMORY_BYTES;
use super::context::Module;
use super::context::Stream;

const KERNELS: &str = "
.version 7.0
.target sm_75
.address_size 64
.visible .entry count(.param .u64 to)
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
    mov.u32 %r1, %tid.x;
    atom.global.add.u32 %r2, [%rd1], %r1;
    ret;
}
.visible .entry store(.param .u64 to)
{
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [to];
    st.global.u64 [%rd1], 1;
    ret;
}
";

fn context(settings: Settings) -> (Context, Module, Stream) {
    let mut context = Context::with(settings);
    let module = context.load(KERNELS, 0);
    let stream = context.stream();
    (context, module, stream)
}

/// What kernels do that a sandbox could keep them from; 0 where it went as it should.
pub(crate) fn kernels() -> Vec<(&'static str, i32)> {
    vec![
        ("kernels_run", i32::from(!counts(Settings::default(), 0))),
        ("cooperative_kernels_run", i32::from(!counts(Settings::default(), wire::launch_flags::COOPERATIVE))),
        (
            "kernels_are_interpreted",
            i32::from(!counts(Settings { executor: Executor::Interpreter, ..Settings::default() }, 0)),
        ),
        ("faults_are_errors_of_their_context", i32::from(!faults_are_told_apart())),
    ]
}

fn counts(settings: Settings, flags: u32) -> bool {
    let (context, module, mut stream) = context(settings);
    let launch = wire::Launch {
        stream: stream.number,
        flags,
        sequence: stream.next(),
        module: module.number,
        function: module.function("count"),
        grid: [16, 1, 1],
        block: [64, 1, 1],
        shared_bytes: 0,
        params: context.base.to_le_bytes().to_vec(),
    };
    context.guest.post(op::LAUNCH, |e| launch.encode(e));
    context.synchronise(&stream);
    let counted = context.error() == 0 && context.memory(0, 4).read::<u32>(0) == Ok(16 * 63 * 32);
    context.close();
    counted
}

/// Kernels of several contexts fault at once, on all threads, beside one that does not.
fn faults_are_told_apart() -> bool {
    let shape = [[64, 1, 1], [64, 1, 1]];
    let mut faulty: Vec<_> = (0..4).map(|_| context(Settings::default())).collect();
    let (mut sound, module, mut stream) = context(Settings::default());
    let base = sound.base;
    for _ in 0..16 {
        sound.launch(&mut stream, &module, "count", shape, &[base]);
    }
    for (context, module, stream) in &mut faulty {
        let beyond = context.base + MEMORY_BYTES as u64;
        context.launch(stream, module, "store", shape, &[beyond]);
    }
    sound.synchronise(&stream);
    let mut is_right = sound.error() == 0 && sound.memory(0, 4).read::<u32>(0) == Ok(16 * 64 * 63 * 32);
    for (context, _, stream) in faulty {
        context.synchronise(&stream);
        is_right &= context.error() == 700;
        context.close();
    }
    sound.close();
    is_right
}

#[test]
#[ignore = "ends its process; another test starts it in one of its own"]
fn process_that_faults_itself() {
    // The handlers are there, and code was made and left again on this thread's behalf.
    assert!(counts(Settings::default(), 0) && faults_are_told_apart());
    super::machine::fault();
}
