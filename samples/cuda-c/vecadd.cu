// Compiled to vecadd.ptx by `make ptx`, that is by
//   clang -x cuda --cuda-device-only -nocudainc -nocudalib --cuda-gpu-arch=sm_70 -O2 -S -o vecadd.ptx vecadd.cu
// which needs no CUDA toolkit; hence the attributes, which its headers call __global__ and so on.
//
// Any grid will do: each thread goes on, a whole grid further, until nothing is left.
extern "C" __attribute__((global)) void add(const float *a, const float *b, float *sum, unsigned count) {
    unsigned block = __nvvm_read_ptx_sreg_ntid_x();
    unsigned stride = __nvvm_read_ptx_sreg_nctaid_x() * block;
    for (unsigned at = __nvvm_read_ptx_sreg_ctaid_x() * block + __nvvm_read_ptx_sreg_tid_x(); at < count; at += stride)
        sum[at] = a[at] + b[at];
}
