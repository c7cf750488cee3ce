// Compiled to vecadd.ptx by
//   clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_70 -O2 -S -o vecadd.ptx vecadd.cu
// which needs no CUDA toolkit; hence the attributes, which its headers call __global__ and so on.
extern "C" __attribute__((global)) void add(const float *a, const float *b, float *sum, unsigned count) {
    unsigned at = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
    if (at < count)
        sum[at] = a[at] + b[at];
}
