// Adds two arrays. Built ahead of time:
// clang -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib -O2 -S cuda-vecadd.cu -o cuda-vecadd.ptx
#define KERNEL extern "C" __attribute__((global))

KERNEL void add(float *to, const float *one, const float *other, unsigned count) {
    unsigned at = __nvvm_read_ptx_sreg_ctaid_x() * __nvvm_read_ptx_sreg_ntid_x() + __nvvm_read_ptx_sreg_tid_x();
    if (at < count)
        to[at] = one[at] + other[at];
}
