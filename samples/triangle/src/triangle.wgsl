// A triangle that turns: its corners are in the shader, so there is no vertex buffer.

struct View {
    // Cosine and sine of the angle.
    turn: vec2<f32>,
    // Height of the window by its width: keeps the triangle's shape.
    aspect: f32,
}

// A uniform of one draw; in Vulkan, a push constant.
var<immediate> view: View;

struct Corner {
    @builtin(position) position: vec4<f32>,
    @location(0) colour: vec3<f32>,
}

@vertex
fn corner(@builtin(vertex_index) index: u32) -> Corner {
    var places = array<vec2<f32>, 3>(vec2(0.0, -0.7), vec2(0.606, 0.35), vec2(-0.606, 0.35));
    var colours = array<vec3<f32>, 3>(vec3(1.0, 0.1, 0.1), vec3(0.1, 1.0, 0.1), vec3(0.1, 0.2, 1.0));
    let place = places[index];
    let turned = vec2(
        place.x * view.turn.x - place.y * view.turn.y,
        place.x * view.turn.y + place.y * view.turn.x,
    );
    return Corner(vec4(turned.x * view.aspect, turned.y, 0.0, 1.0), colours[index]);
}

@fragment
fn fill(@location(0) colour: vec3<f32>) -> @location(0) vec4<f32> {
    return vec4(colour, 1.0);
}
