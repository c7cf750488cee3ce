// Compiled to kernels.ptx by
//   clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_70 -O2 -S -o kernels.ptx kernels.cu
// which fuses multiplications and additions, as compilers of CUDA do. The arithmetic is that of
// tests/vulkan/src/bench/kernels.rs, and so are the sizes.
#define KERNEL extern "C" __attribute__((global)) void
#define SHARED static __attribute__((shared))
#define THREAD_X __nvvm_read_ptx_sreg_tid_x()
#define THREAD_Y __nvvm_read_ptx_sreg_tid_y()
#define AT_X (__nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + THREAD_X)
#define AT_Y (__nvvm_read_ptx_sreg_ctaid_y() * __nvvm_read_ptx_sreg_ntid_y() + THREAD_Y)

enum { MATRIX_SIDE = 512, MANDELBROT_SIDE = 1024, MANDELBROT_STEPS = 256, BODIES = 8192 };

struct Body {
    float x, y, z, mass;
} __attribute__((aligned(16)));

KERNEL empty() {}

KERNEL matmul(const float *a, const float *b, float *c) {
    SHARED float left[256], right[256];
    int x = THREAD_X, y = THREAD_Y, at_x = AT_X, at_y = AT_Y;
    float sum = 0;
    for (int tile = 0; tile < MATRIX_SIDE; tile += 16) {
        left[y * 16 + x] = a[at_y * MATRIX_SIDE + tile + x];
        right[y * 16 + x] = b[(tile + y) * MATRIX_SIDE + at_x];
        __syncthreads();
        for (int k = 0; k < 16; k++)
            sum += left[y * 16 + k] * right[k * 16 + x];
        __syncthreads();
    }
    c[at_y * MATRIX_SIDE + at_x] = sum;
}

KERNEL saxpy(const float *x, float *y) {
    int at = AT_X;
    y[at] = 1.5f * x[at] + y[at];
}

KERNEL mandelbrot(unsigned *out) {
    unsigned at_x = AT_X, at_y = AT_Y, steps = 0;
    float cx = at_x * (3.0f / MANDELBROT_SIDE) - 2.0f, cy = at_y * (3.0f / MANDELBROT_SIDE) - 1.5f;
    float x = 0, y = 0;
    while (steps < MANDELBROT_STEPS && x * x + y * y < 4.0f) {
        float next = x * x - y * y + cx;
        y = 2.0f * x * y + cy;
        x = next;
        steps++;
    }
    out[at_y * MANDELBROT_SIDE + at_x] = steps;
}

KERNEL nbody(const Body *bodies, Body *forces) {
    SHARED Body tile[256];
    int in = THREAD_X, at = AT_X;
    Body own = bodies[at];
    float x = 0, y = 0, z = 0;
    for (int start = 0; start < BODIES; start += 256) {
        tile[in] = bodies[start + in];
        __syncthreads();
        for (int k = 0; k < 256; k++) {
            float dx = tile[k].x - own.x, dy = tile[k].y - own.y, dz = tile[k].z - own.z;
            float inverse = __nvvm_rsqrt_approx_f(dx * dx + dy * dy + dz * dz + 0.01f);
            float pull = tile[k].mass * inverse * inverse * inverse;
            x += dx * pull;
            y += dy * pull;
            z += dz * pull;
        }
        __syncthreads();
    }
    forces[at] = {x, y, z, 0};
}
