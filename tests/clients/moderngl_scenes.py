"""OpenGL through zink: what moderngl draws without a window, one picture a scene."""

import struct

import moderngl
import numpy

import picture

SIZE = (256, 192)


def finish(context, framebuffer, name):
    pixels = numpy.frombuffer(framebuffer.read(components=3, alignment=1), numpy.uint8)
    # OpenGL's first row is the lowest.
    rows = pixels.reshape(framebuffer.height, framebuffer.width, 3)[::-1]
    picture.write_rgb(name, framebuffer.width, framebuffer.height, rows.tobytes())
    print(name, "error" if context.error != "GL_NO_ERROR" else "drawn")


def target(context, samples=0):
    color = context.renderbuffer(SIZE, 4, samples=samples)
    depth = context.depth_renderbuffer(SIZE, samples=samples)
    framebuffer = context.framebuffer([color], depth)
    framebuffer.use()
    framebuffer.clear(0.1, 0.2, 0.3, 1.0)
    return framebuffer


def triangle(context):
    program = context.program(
        vertex_shader="""#version 330
            in vec2 at; in vec3 color; out vec3 shade;
            void main() { gl_Position = vec4(at, 0.0, 1.0); shade = color; }""",
        fragment_shader="""#version 330
            in vec3 shade; out vec4 result;
            void main() { result = vec4(shade, 1.0); }""",
    )
    corners = struct.pack("15f", -0.8, -0.8, 1, 0, 0, 0.8, -0.8, 0, 1, 0, 0.0, 0.8, 0, 0, 1)
    vertices = context.vertex_array(program, context.buffer(corners), "at", "color")
    for name, samples in (("triangle", 0), ("triangle_4_samples", 4)):
        framebuffer = target(context, samples)
        vertices.render()
        if samples:
            flat = context.framebuffer([context.renderbuffer(SIZE, 4)])
            context.copy_framebuffer(flat, framebuffer)
            framebuffer = flat
        finish(context, framebuffer, name)


def textured_cubes(context):
    """Depth test, mipmaps, instances and a uniform block."""
    program = context.program(
        vertex_shader="""#version 330
            uniform Block { mat4 view; vec4 tint; };
            in vec3 at; out vec2 where; flat out int which;
            void main() {
                vec3 offset = vec3(gl_InstanceID % 4 - 1.5, gl_InstanceID / 4 - 1.0, -gl_InstanceID * 0.3);
                gl_Position = view * vec4(at * 0.7 + offset, 1.0);
                where = at.xy + at.z; which = gl_InstanceID;
            }""",
        fragment_shader="""#version 330
            uniform Block { mat4 view; vec4 tint; };
            uniform sampler2D image;
            in vec2 where; flat in int which; out vec4 result;
            void main() { result = texture(image, where * (1.0 + which)) * tint + vec4(which / 24.0); }""",
    )
    side = 64
    y, x = numpy.mgrid[0:side, 0:side]
    checks = numpy.stack([(x // 8 + y // 8) % 2 * 255, x * 4, y * 4, numpy.full((side, side), 255)], axis=-1)
    texture = context.texture((side, side), 4, checks.astype(numpy.uint8).tobytes())
    texture.build_mipmaps()
    texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
    texture.use(0)
    view = numpy.array([[0.5, 0, 0.1, 0], [0, 0.6, 0.1, 0], [0.2, 0.1, 0.2, 0.2], [0, 0, 0, 1.6]], numpy.float32)
    block = context.buffer(view.tobytes() + struct.pack("4f", 0.9, 0.8, 0.7, 1.0))
    block.bind_to_uniform_block(0)
    program["Block"].binding = 0
    corners = numpy.array([[i & 1, i >> 1 & 1, i >> 2] for i in range(8)], numpy.float32) * 2 - 1
    faces = [0, 1, 3, 0, 3, 2, 4, 6, 7, 4, 7, 5, 0, 4, 5, 0, 5, 1, 2, 3, 7, 2, 7, 6, 0, 2, 6, 0, 6, 4, 1, 5, 7, 1, 7, 3]
    vertices = context.vertex_array(
        program,
        [(context.buffer(corners.tobytes()), "3f", "at")],
        context.buffer(numpy.array(faces, numpy.uint32).tobytes()),
    )
    framebuffer = target(context)
    context.enable(moderngl.DEPTH_TEST)
    vertices.render(instances=12)
    context.disable(moderngl.DEPTH_TEST)
    finish(context, framebuffer, "textured_cubes")


def blended_points(context):
    """Geometry shader and blending."""
    program = context.program(
        vertex_shader="""#version 330
            in vec2 at; void main() { gl_Position = vec4(at, 0.0, 1.0); }""",
        geometry_shader="""#version 330
            layout(points) in; layout(triangle_strip, max_vertices = 4) out; out vec2 corner;
            void main() {
                for (int i = 0; i < 4; ++i) {
                    corner = vec2(i & 1, i >> 1) * 2.0 - 1.0;
                    gl_Position = gl_in[0].gl_Position + vec4(corner * 0.25, 0.0, 0.0);
                    EmitVertex();
                }
            }""",
        fragment_shader="""#version 330
            in vec2 corner; out vec4 result;
            void main() { result = vec4(0.9, corner * 0.5 + 0.5, max(0.0, 1.0 - dot(corner, corner))); }""",
    )
    angles = numpy.arange(24) * 0.7
    points = numpy.stack([numpy.cos(angles) * angles / 20, numpy.sin(angles) * angles / 20], axis=-1)
    vertices = context.vertex_array(program, context.buffer(points.astype(numpy.float32).tobytes()), "at")
    framebuffer = target(context)
    context.enable(moderngl.BLEND)
    vertices.render(moderngl.POINTS)
    context.disable(moderngl.BLEND)
    finish(context, framebuffer, "blended_points")


def numbers(context):
    """Transform feedback and a compute shader."""
    program = context.program(
        vertex_shader="""#version 330
            in float value; out float squared; void main() { squared = value * value; }""",
        varyings=["squared"],
    )
    count = 1000
    given = context.buffer(numpy.arange(count, dtype=numpy.float32).tobytes())
    taken = context.buffer(reserve=count * 4)
    context.vertex_array(program, given, "value").transform(taken, moderngl.POINTS)
    picture.write_numbers("transform", numpy.frombuffer(taken.read(), numpy.float32))
    compute = context.compute_shader("""#version 430
        layout(local_size_x = 64) in;
        layout(std430, binding = 0) buffer Data { uint data[]; };
        void main() {
            uint value = gl_GlobalInvocationID.x;
            for (int i = 0; i < 50; ++i) value = value * 1664525u + 1013904223u;
            data[gl_GlobalInvocationID.x] = value;
        }""")
    data = context.buffer(reserve=64 * 64 * 4)
    data.bind_to_storage_buffer(0)
    compute.run(64)
    context.memory_barrier()
    picture.write_numbers("compute", numpy.frombuffer(data.read(), numpy.uint32))
    print("numbers computed")


context = moderngl.create_context(standalone=True, require=430, backend="egl")
renderer = context.info["GL_RENDERER"]
print("renderer:", renderer)
assert "zink" in renderer, renderer
triangle(context)
textured_cubes(context)
blended_points(context)
numbers(context)
