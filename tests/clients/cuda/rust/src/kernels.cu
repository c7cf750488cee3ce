// Compiled to kernels.ptx by
//   clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_70 -O2 -S kernels.cu
#define KERNEL extern "C" __attribute__((global)) void

static __attribute__((device)) int place() {
    return __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
}

KERNEL add(const float *a, const float *b, float *sum, int count) {
    int at = place();
    if (at < count)
        sum[at] = a[at] + b[at];
}

KERNEL total(const int *values, int *sum, int count) {
    static __attribute__((shared)) int partial[256];
    int at = place(), lane = __nvvm_read_ptx_sreg_tid_x();
    partial[lane] = at < count ? values[at] : 0;
    for (int half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (lane < half)
            partial[lane] += partial[lane + half];
    }
    if (lane == 0)
        __nvvm_atom_add_gen_i(sum, partial[0]);
}
