// Sums the squares of 0, 1, 2, ...: each block adds up its own in shared memory. Built ahead of time:
// clang -x cuda --cuda-device-only --cuda-gpu-arch=sm_70 -nocudainc -nocudalib -O2 -S sum.cu -o sum.ptx
#define KERNEL extern "C" __attribute__((global))
#define SHARED __attribute__((shared))

KERNEL void sum_of_squares(unsigned long long *total, unsigned count) {
    static SHARED unsigned long long parts[256];
    unsigned thread = __nvvm_read_ptx_sreg_tid_x();
    unsigned at = __nvvm_read_ptx_sreg_ctaid_x() * 256 + thread;
    parts[thread] = at < count ? (unsigned long long)at * at : 0;
    __syncthreads();
    for (unsigned half = 128; half > 0; half /= 2) {
        if (thread < half)
            parts[thread] += parts[thread + half];
        __syncthreads();
    }
    if (thread == 0)
        __atomic_fetch_add(total, parts[0], __ATOMIC_RELAXED);
}
