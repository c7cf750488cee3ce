//! cudarc: memory, a launch, several streams, events.

use std::error::Error;

use cudarc::driver::CudaContext;
use cudarc::driver::LaunchConfig;
use cudarc::driver::PushKernelArg;
use cudarc::nvrtc::Ptx;

const KERNELS: &str = include_str!("../kernels.ptx");

fn main() -> Result<(), Box<dyn Error>> {
    let context = CudaContext::new(0)?;
    println!("device: {}", context.name()?);
    let stream = context.default_stream();
    let module = context.load_module(Ptx::from_src(KERNELS))?;
    let (add, total) = (module.load_function("add")?, module.load_function("total")?);

    let a: Vec<f32> = (0..100_000).map(|i| i as f32).collect();
    let b: Vec<f32> = a.iter().map(|x| x * 0.5).collect();
    let (left, right) = (stream.clone_htod(&a)?, stream.clone_htod(&b)?);
    let mut sum = stream.alloc_zeros::<f32>(a.len())?;
    let count = i32::try_from(a.len())?;
    let mut launch = stream.launch_builder(&add);
    launch.arg(&left).arg(&right).arg(&mut sum).arg(&count);
    // SAFETY: the arguments are those of `add`, and all buffers have `count` elements.
    unsafe { launch.launch(LaunchConfig::for_num_elems(count as u32)) }?;
    let got = stream.clone_dtoh(&sum)?;
    assert!(got.iter().zip(a.iter().zip(&b)).all(|(sum, (a, b))| *sum == a + b));
    println!("addition is right");

    let streams = [context.new_stream()?, context.new_stream()?, context.new_stream()?];
    let values: Vec<i32> = (0..10_000).map(|i| i % 97).collect();
    let mut totals = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let part = &values[..values.len() / (number + 1)];
        let device = stream.clone_htod(part)?;
        let mut total_of_part = stream.alloc_zeros::<i32>(1)?;
        let count = i32::try_from(part.len())?;
        let mut launch = stream.launch_builder(&total);
        launch.arg(&device).arg(&mut total_of_part).arg(&count);
        let grid = (count as u32).div_ceil(256);
        let config = LaunchConfig { grid_dim: (grid, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the arguments are those of `total`, with `count` values and one sum.
        unsafe { launch.launch(config) }?;
        totals.push((total_of_part, part.iter().sum::<i32>()));
    }
    for (stream, (total, want)) in streams.iter().zip(&totals) {
        assert_eq!(stream.clone_dtoh(total)?, [*want]);
    }
    println!("three streams are right");
    let begin = stream.record_event(Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    let end = stream.record_event(Some(cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT))?;
    end.synchronize()?;
    assert!(begin.elapsed_ms(&end)? >= 0.0);
    println!("events are right");
    Ok(())
}
