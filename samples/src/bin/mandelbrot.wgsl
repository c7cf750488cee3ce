// One invocation computes one pixel and stores it as 0xAABBGGRR.
// WGSL calls push constants "immediates".

struct View {
    size: vec2<u32>,
    centre: vec2<f32>,
    scale: f32,
    iterations: u32,
}

var<immediate> view: View;

@group(0) @binding(0) var<storage, read_write> pixels: array<u32>;

fn channel(value: f32, phase: f32) -> u32 {
    return u32(255.0 * (0.5 + 0.5 * cos(6.2831853 * (value + phase))));
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= view.size.x || id.y >= view.size.y {
        return;
    }
    let at = (vec2<f32>(id.xy) - 0.5 * vec2<f32>(view.size)) / f32(view.size.y);
    let c = view.centre + view.scale * at;
    var z = vec2<f32>(0.0);
    var n = 0u;
    while n < view.iterations && dot(z, z) < 16.0 {
        z = vec2<f32>(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y) + c;
        n += 1u;
    }
    var colour = 0xff000000u;
    if n < view.iterations {
        let smooth_n = f32(n) + 1.0 - log2(0.5 * log2(dot(z, z)));
        let t = 0.02 * smooth_n;
        colour |= channel(t, 0.55) | (channel(t, 0.65) << 8u) | (channel(t, 0.75) << 16u);
    }
    pixels[id.y * view.size.x + id.x] = colour;
}
