"""wgpu on its Vulkan back end, without a window: a picture and numbers."""

import struct

import numpy
import wgpu

import picture

SIZE = (256, 256)

RENDER = """
struct Out { @builtin(position) at: vec4<f32>, @location(0) place: vec2<f32>, @location(1) shade: vec3<f32> };
@group(0) @binding(0) var<uniform> angle: vec4<f32>;
@group(0) @binding(1) var image: texture_2d<f32>;
@group(0) @binding(2) var smooth_sampler: sampler;
@vertex fn vertex(@location(0) at: vec2<f32>, @builtin(instance_index) which: u32) -> Out {
    let turn = angle.x + f32(which) * 0.7;
    let c = cos(turn);
    let s = sin(turn);
    let depth = 0.9 - f32(which) * 0.1;
    let turned = vec2<f32>(at.x * c - at.y * s, at.x * s + at.y * c) * depth;
    return Out(vec4<f32>(turned, depth, 1.0), at * 2.0, vec3<f32>(f32(which) * 0.2, 0.5, 1.0 - f32(which) * 0.2));
}
@fragment fn fragment(in: Out) -> @location(0) vec4<f32> {
    return textureSample(image, smooth_sampler, in.place) * 0.5 + vec4<f32>(in.shade * 0.5, 0.0);
}
"""

COMPUTE = """
@group(0) @binding(0) var<storage, read_write> data: array<u32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    var value = data[id.x];
    for (var i = 0u; i < 100u; i++) { value = value * 1664525u + 1013904223u; }
    data[id.x] = value;
}
"""


def compute(device):
    count = 1 << 14
    usage = wgpu.BufferUsage
    data = device.create_buffer_with_data(
        data=numpy.arange(count, dtype=numpy.uint32).tobytes(), usage=usage.STORAGE | usage.COPY_SRC
    )
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": device.create_shader_module(code=COMPUTE), "entry_point": "main"}
    )
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[{"binding": 0, "resource": {"buffer": data, "offset": 0, "size": data.size}}],
    )
    encoder = device.create_command_encoder()
    work = encoder.begin_compute_pass()
    work.set_pipeline(pipeline)
    work.set_bind_group(0, group)
    work.dispatch_workgroups(count // 64)
    work.end()
    device.queue.submit([encoder.finish()])
    picture.write_numbers("compute", numpy.frombuffer(device.queue.read_buffer(data), numpy.uint32))
    print("numbers computed")


def render(device):
    textures, usage = wgpu.TextureUsage, wgpu.BufferUsage
    color_format, samples = wgpu.TextureFormat.rgba8unorm, 4
    final = device.create_texture(
        size=(*SIZE, 1), format=color_format, usage=textures.RENDER_ATTACHMENT | textures.COPY_SRC
    )
    color = device.create_texture(
        size=(*SIZE, 1), format=color_format, usage=textures.RENDER_ATTACHMENT, sample_count=samples
    )
    depth = device.create_texture(
        size=(*SIZE, 1), format="depth32float", usage=textures.RENDER_ATTACHMENT, sample_count=samples
    )
    y, x = numpy.mgrid[0:32, 0:32]
    checks = numpy.stack([(x // 4 + y // 4) % 2 * 255, x * 8, y * 8, numpy.full((32, 32), 255)], axis=-1)
    image = device.create_texture(
        size=(32, 32, 1), format=color_format, usage=textures.TEXTURE_BINDING | textures.COPY_DST
    )
    device.queue.write_texture(
        {"texture": image}, checks.astype(numpy.uint8).tobytes(), {"bytes_per_row": 128}, (32, 32, 1)
    )
    angle = device.create_buffer_with_data(data=struct.pack("4f", 0.3, 0, 0, 0), usage=usage.UNIFORM)
    corners = numpy.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]], numpy.float32)
    vertices = device.create_buffer_with_data(data=corners.tobytes(), usage=usage.VERTEX)
    order = numpy.array([0, 1, 2, 0, 2, 3], numpy.uint32)
    indices = device.create_buffer_with_data(data=order.tobytes(), usage=usage.INDEX)
    module = device.create_shader_module(code=RENDER)
    pipeline = device.create_render_pipeline(
        layout="auto",
        vertex={
            "module": module,
            "entry_point": "vertex",
            "buffers": [
                {"array_stride": 8, "attributes": [{"format": "float32x2", "offset": 0, "shader_location": 0}]}
            ],
        },
        primitive={"topology": "triangle-list"},
        depth_stencil={"format": "depth32float", "depth_write_enabled": True, "depth_compare": "less"},
        multisample={"count": samples},
        fragment={"module": module, "entry_point": "fragment", "targets": [{"format": color_format}]},
    )
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": 0, "resource": {"buffer": angle, "offset": 0, "size": 16}},
            {"binding": 1, "resource": image.create_view()},
            {"binding": 2, "resource": device.create_sampler(mag_filter="linear", address_mode_u="repeat")},
        ],
    )
    encoder = device.create_command_encoder()
    work = encoder.begin_render_pass(
        color_attachments=[
            {
                "view": color.create_view(),
                "resolve_target": final.create_view(),
                "clear_value": (0.1, 0.2, 0.3, 1.0),
                "load_op": "clear",
                "store_op": "store",
            }
        ],
        depth_stencil_attachment={
            "view": depth.create_view(),
            "depth_clear_value": 1.0,
            "depth_load_op": "clear",
            "depth_store_op": "store",
        },
    )
    work.set_pipeline(pipeline)
    work.set_bind_group(0, group)
    work.set_vertex_buffer(0, vertices)
    work.set_index_buffer(indices, "uint32")
    work.draw_indexed(6, 5)
    work.end()
    device.queue.submit([encoder.finish()])
    read = device.queue.read_texture({"texture": final}, {"bytes_per_row": SIZE[0] * 4}, (*SIZE, 1))
    pixels = numpy.frombuffer(read, numpy.uint8).reshape(SIZE[1], SIZE[0], 4)[:, :, :3]
    picture.write_rgb("squares", *SIZE, numpy.ascontiguousarray(pixels).tobytes())
    print("squares drawn")


adapters = [one for one in wgpu.gpu.enumerate_adapters_sync() if one.info["backend_type"] == "Vulkan"]
adapter = adapters[0]
print("device:", adapter.info["device"])
device = adapter.request_device_sync()
compute(device)
render(device)
