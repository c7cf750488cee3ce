//! Recording graphics commands, and whole frames of many draws.

use std::time::Instant;

use anyhow::Result;
use ash::vk;

use super::Length;
use super::Workload;
use super::gpu;
use super::median_ns;
use super::median_of_ns;
use super::time;
use crate::gpu::Binding;
use crate::gpu::Commands;
use crate::gpu::Gpu;
use crate::gpu::Raster;
use crate::gpu::RasterInfo;
use crate::gpu::Resource;
use crate::gpu::Target;
use crate::shader::wgsl;

pub(super) const ALL: &[Workload] = &[
    time("record_draw", "record a draw", "ns", record_draw),
    time("record_push", "record push constants of 32 bytes", "ns", record_push),
    time("record_bind_set", "record the binding of a descriptor set", "ns", record_bind_set),
    time("record_bind_vertex", "record the binding of a vertex buffer", "ns", record_bind_vertex),
    time("record_bind_pipeline", "record the binding of a pipeline", "ns", record_bind_pipeline),
    time("frame", "10,000 draws, whole frame", "ms", frame),
    time("frame_push", "10,000 draws with push constants, whole frame", "ms", frame_push),
];

const RGBA8: vk::Format = vk::Format::R8G8B8A8_UNORM;
const SIDE: u32 = 64;
const BLACK: [f32; 4] = [0.0, 0.0, 0.0, 1.0];
const PUSH: [f32; 8] = [0.5, 0.25, 0.5, 1.0, -0.5, -0.5, 0.0, 0.0];
const COUNT: u32 = 10_000;

const SMALL: &str = "
    struct Push { color: vec4<f32>, at: vec4<f32> }
    var<immediate> push: Push;
    @group(0) @binding(0) var<uniform> shift: vec4<f32>;
    @vertex fn vs(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
        return vec4(push.at.x + f32(i & 1u) / 16.0, shift.y + push.at.y + f32(i >> 1u) / 16.0, 0.0, 1.0);
    }
    @fragment fn fs() -> @location(0) vec4<f32> { return push.color; }";

/// Something small to draw, and where.
struct Scene {
    gpu: Gpu,
    raster: Raster,
    target: Target,
    set: vk::DescriptorSet,
    vertices: vk::Buffer,
    commands: vk::CommandBuffer,
    fence: vk::Fence,
}

fn scene() -> Result<Scene> {
    let gpu = gpu()?;
    let code = wgsl(SMALL)?;
    let bindings = [Binding::from(vk::DescriptorType::UNIFORM_BUFFER)];
    let raster =
        gpu.raster(RasterInfo { push_bytes: 32, bindings: &bindings, ..RasterInfo::plain(&code, &[RGBA8]) })?;
    let target = gpu.target(RGBA8, SIDE)?;
    let set = gpu.empty_set(raster.set_layout)?;
    let uniform = gpu.buffer(64)?;
    gpu.write_descriptor(set, 0, Resource::Uniform(uniform));
    let vertices = gpu.buffer(256)?.handle;
    let commands = gpu.command_buffers(gpu.command_pool()?, vk::CommandBufferLevel::PRIMARY, 1)?[0];
    let fence = gpu.fence()?;
    Ok(Scene { gpu, raster, target, set, vertices, commands, fence })
}

impl Scene {
    /// Records a frame: all that `draw` records inside.
    fn record(&self, draw: impl Fn(&Commands<'_>)) -> Result<()> {
        self.gpu.record(self.commands, vk::CommandBufferUsageFlags::ONE_TIME_SUBMIT, |c| {
            c.fresh(&self.target);
            c.draw_into(&self.target, BLACK, || {
                c.bind_raster(&self.raster);
                c.bind_raster_set(&self.raster, self.set, &[]);
                c.push_raster(&self.raster, &PUSH);
                draw(c);
            });
        })
    }

    /// Records and draws a frame, and waits for it.
    fn frame(&self, draw: impl Fn(&Commands<'_>)) -> Result<()> {
        self.record(draw)?;
        self.finish()
    }

    /// Draws what is recorded and waits for it.
    fn finish(&self) -> Result<()> {
        self.gpu.submit(&[self.commands], self.fence)?;
        self.gpu.wait(self.fence)?;
        Ok(self.gpu.reset_fences(&[self.fence])?)
    }
}

/// What one command costs the thread that records it; what is recorded is submitted and waited for outside of the time.
fn record(length: Length, command: impl Fn(&Scene, &Commands<'_>)) -> Result<f64> {
    let scene = scene()?;
    median_of_ns(length, COUNT, || {
        let begin = Instant::now();
        scene.record(|c| (0..COUNT).for_each(|_| command(&scene, c)))?;
        let took = begin.elapsed();
        scene.finish()?;
        Ok(took)
    })
}

fn record_draw(length: Length) -> Result<f64> {
    record(length, |_, c| c.draw(3, 1, 0, 0))
}

fn record_push(length: Length) -> Result<f64> {
    record(length, |scene, c| c.push_raster(&scene.raster, &PUSH))
}

fn record_bind_set(length: Length) -> Result<f64> {
    record(length, |scene, c| c.bind_raster_set(&scene.raster, scene.set, &[]))
}

fn record_bind_vertex(length: Length) -> Result<f64> {
    record(length, |scene, c| c.bind_vertex_buffers(0, &[scene.vertices], &[0]))
}

fn record_bind_pipeline(length: Length) -> Result<f64> {
    record(length, |scene, c| c.bind_raster(&scene.raster))
}

fn frame(length: Length) -> Result<f64> {
    let scene = scene()?;
    let ns = median_ns(length, 1, || scene.frame(|c| (0..COUNT).for_each(|_| c.draw(3, 1, 0, 0))))?;
    Ok(ns / 1e6)
}

fn frame_push(length: Length) -> Result<f64> {
    let scene = scene()?;
    let ns = median_ns(length, 1, || {
        scene.frame(|c| {
            for _ in 0..COUNT {
                c.push_raster(&scene.raster, &PUSH);
                c.draw(3, 1, 0, 0);
            }
        })
    })?;
    Ok(ns / 1e6)
}
