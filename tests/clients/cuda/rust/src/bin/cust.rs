//! cust: contexts, buffers, unified memory, a stream, occupancy.

use std::error::Error;

use cust::memory::CopyDestination;
use cust::memory::DeviceBuffer;
use cust::memory::UnifiedBuffer;
use cust::module::Module;
use cust::stream::Stream;
use cust::stream::StreamFlags;

const KERNELS: &str = include_str!("../kernels.ptx");

fn main() -> Result<(), Box<dyn Error>> {
    let _context = cust::quick_init()?;
    println!("device: {}", cust::device::Device::get_device(0)?.name()?);
    let module = Module::from_ptx(KERNELS, &[])?;
    let stream = Stream::new(StreamFlags::NON_BLOCKING, None)?;
    let (add, total) = (module.get_function("add")?, module.get_function("total")?);

    let a: Vec<f32> = (0..50_000).map(|i| i as f32).collect();
    let b: Vec<f32> = a.iter().map(|x| 3.0 - x).collect();
    let (left, right) = (DeviceBuffer::from_slice(&a)?, DeviceBuffer::from_slice(&b)?);
    let sum = DeviceBuffer::from_slice(&vec![0.0_f32; a.len()])?;
    let (_, block) = add.suggested_launch_configuration(0, 0.into())?;
    let grid = (a.len() as u32).div_ceil(block);
    let count = a.len() as i32;
    // SAFETY: the arguments are those of `add`, and all buffers have `count` elements.
    unsafe {
        cust::launch!(add<<<grid, block, 0, stream>>>(
            left.as_device_ptr(),
            right.as_device_ptr(),
            sum.as_device_ptr(),
            count
        ))?;
    }
    stream.synchronize()?;
    let mut got = vec![0.0; a.len()];
    sum.copy_to(&mut got)?;
    assert!(got.iter().zip(a.iter().zip(&b)).all(|(sum, (a, b))| *sum == a + b));
    println!("addition is right");

    let mut values = UnifiedBuffer::new(&2_i32, 1000)?;
    let mut result = UnifiedBuffer::new(&0_i32, 1)?;
    // SAFETY: the arguments are those of `total`, with 1000 values and one sum.
    unsafe {
        cust::launch!(total<<<4, 256, 0, stream>>>(
            values.as_unified_ptr(),
            result.as_unified_ptr(),
            1000_i32
        ))?;
    }
    stream.synchronize()?;
    assert_eq!(result.as_mut_slice(), [2000]);
    println!("unified memory is right");
    Ok(())
}
