// Adds two vectors with CUDA, from C: the driver API and nothing else.
//
// There is no cuda.h here: the few functions that are needed are declared below and found in libcuda.so.1 when the program
// runs, so it builds on a machine without CUDA and tells a machine without a driver what is missing. The device code is
// PTX, compiled ahead of time from vecadd.cu and put into this program by the assembler.
//
//   vecadd [COUNT [ROUNDS]]

#define _DEFAULT_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#ifndef PTX
#define PTX "vecadd.ptx"
#endif

// The text of the file PTX with a NUL at its end.
extern const char vecadd_ptx[];
__asm__(".pushsection .rodata\n"
        "vecadd_ptx: .incbin \"" PTX "\"\n"
        ".byte 0\n"
        ".popsection\n");

// What cuda.h calls CUresult, CUdevice, CUdeviceptr, and the handles, which are pointers to nothing that is known here.
typedef unsigned Result;
typedef int Device;
typedef uint64_t Address;
typedef struct Context *Context;
typedef struct Module *Module;
typedef struct Function *Function;
typedef struct Stream *Stream;

enum { NO_DEVICE = 100, COMPUTE_CAPABILITY_MAJOR = 75, COMPUTE_CAPABILITY_MINOR = 76 };

// Name in the library, parameters. cuda.h renames functions by macros: its cuMemAlloc is cuMemAlloc_v2 in the library.
#define FUNCTIONS(F)                                                                                              \
    F(cuInit, unsigned flags)                                                                                     \
    F(cuGetErrorName, Result result, const char **name)                                                           \
    F(cuGetErrorString, Result result, const char **text)                                                         \
    F(cuDeviceGet, Device *device, int index)                                                                     \
    F(cuDeviceGetName, char *name, int length, Device device)                                                     \
    F(cuDeviceGetUuid_v2, unsigned char *uuid, Device device)                                                     \
    F(cuDeviceGetAttribute, int *value, int attribute, Device device)                                             \
    F(cuDevicePrimaryCtxRetain, Context *context, Device device)                                                  \
    F(cuDevicePrimaryCtxRelease_v2, Device device)                                                                \
    F(cuCtxSetCurrent, Context context)                                                                           \
    F(cuCtxSynchronize, void)                                                                                     \
    F(cuModuleLoadData, Module *module, const void *image)                                                        \
    F(cuModuleGetFunction, Function *function, Module module, const char *name)                                   \
    F(cuModuleUnload, Module module)                                                                              \
    F(cuMemAlloc_v2, Address *address, size_t size_bytes)                                                         \
    F(cuMemFree_v2, Address address)                                                                              \
    F(cuMemcpyHtoD_v2, Address to, const void *from, size_t size_bytes)                                           \
    F(cuMemcpyDtoH_v2, void *to, Address from, size_t size_bytes)                                                 \
    F(cuLaunchKernel, Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,     \
      unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void **parameters, void **extra)

#define DECLARE(name, ...) static Result (*name)(__VA_ARGS__);
FUNCTIONS(DECLARE)

static void missing(void) {
    fprintf(stderr, "A CUDA driver and a device are needed. `dxgctl run -- vecadd` gives it those of the daemon dxgd\n"
                    "(`dxgctl list` shows them), `dxgctl run --private -- vecadd` starts a daemon for it.\n");
    exit(1);
}

static void load(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "vecadd: %s\n", dlerror());
        missing();
    }
#define FIND(name, ...)                                                                                           \
    if (!(*(void **)&name = dlsym(library, #name))) {                                                             \
        fprintf(stderr, "vecadd: libcuda.so.1 has no " #name "\n");                                               \
        exit(1);                                                                                                  \
    }
    FUNCTIONS(FIND)
}

static void check(Result result, const char *call) {
    if (result == 0)
        return;
    const char *name = "an unknown error", *text = "nothing is known of it";
    cuGetErrorName(result, &name);
    cuGetErrorString(result, &text);
    fprintf(stderr, "vecadd: %s: %s (%u): %s\n", call, name, result, text);
    if (result == NO_DEVICE)
        missing();
    exit(1);
}

#define CHECK(call) check(call, #call)

// Small whole numbers, whose sums are exact; others in each round.
static float left(size_t place, unsigned round) { return (float)((place * 7 + round) & 0xffff); }
static float right(size_t place, unsigned round) { return (float)((place ^ round) & 0x3ff); }

static unsigned number(const char *text, unsigned most) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value == 0 || value > most) {
        fprintf(stderr, "usage: vecadd [COUNT [ROUNDS]], numbers from 1 on; COUNT at most %u\n", 1u << 28);
        exit(2);
    }
    return (unsigned)value;
}

int main(int argc, char **argv) {
    unsigned count = argc > 1 ? number(argv[1], 1u << 28) : 1 << 20;
    unsigned rounds = argc > 2 ? number(argv[2], 1u << 30) : 20;
    load();
    CHECK(cuInit(0));
    Device device;
    CHECK(cuDeviceGet(&device, 0));
    char name[256];
    unsigned char uuid[16];
    int major, minor;
    CHECK(cuDeviceGetName(name, sizeof name, device));
    CHECK(cuDeviceGetUuid_v2(uuid, device));
    CHECK(cuDeviceGetAttribute(&major, COMPUTE_CAPABILITY_MAJOR, device));
    CHECK(cuDeviceGetAttribute(&minor, COMPUTE_CAPABILITY_MINOR, device));
    printf("device  %s\nuuid    ", name);
    for (int at = 0; at < 16; at++)
        printf("%s%02x", at == 4 || at == 6 || at == 8 || at == 10 ? "-" : "", uuid[at]);
    printf("\n        compute capability %d.%d\n", major, minor);

    Context context;
    CHECK(cuDevicePrimaryCtxRetain(&context, device));
    CHECK(cuCtxSetCurrent(context));
    Module module;
    Function add;
    CHECK(cuModuleLoadData(&module, vecadd_ptx));
    CHECK(cuModuleGetFunction(&add, module, "add"));

    size_t size_bytes = count * sizeof(float);
    float *host_a = malloc(size_bytes), *host_b = malloc(size_bytes), *host_sum = malloc(size_bytes);
    if (!host_a || !host_b || !host_sum) {
        fprintf(stderr, "vecadd: out of memory\n");
        return 1;
    }
    Address a, b, sum;
    CHECK(cuMemAlloc_v2(&a, size_bytes));
    CHECK(cuMemAlloc_v2(&b, size_bytes));
    CHECK(cuMemAlloc_v2(&sum, size_bytes));
    for (unsigned round = 0; round < rounds; round++) {
        for (size_t at = 0; at < count; at++) {
            host_a[at] = left(at, round);
            host_b[at] = right(at, round);
        }
        // The stream that is none: these calls are done one after the other.
        CHECK(cuMemcpyHtoD_v2(a, host_a, size_bytes));
        CHECK(cuMemcpyHtoD_v2(b, host_b, size_bytes));
        void *parameters[] = {&a, &b, &sum, &count};
        CHECK(cuLaunchKernel(add, 64, 1, 1, 256, 1, 1, 0, NULL, parameters, NULL));
        // What goes wrong in a kernel is said by a call that waits for it.
        CHECK(cuCtxSynchronize());
        CHECK(cuMemcpyDtoH_v2(host_sum, sum, size_bytes));
        size_t wrong = 0;
        for (size_t at = 0; at < count; at++)
            wrong += host_sum[at] != left(at, round) + right(at, round);
        if (wrong) {
            fprintf(stderr, "vecadd: round %u: %zu of %u sums are wrong\n", round, wrong, count);
            return 1;
        }
    }
    printf("added   %u numbers %u times; all sums are right\n", count, rounds);

    CHECK(cuMemFree_v2(a));
    CHECK(cuMemFree_v2(b));
    CHECK(cuMemFree_v2(sum));
    CHECK(cuModuleUnload(module));
    CHECK(cuDevicePrimaryCtxRelease_v2(device));
    free(host_a);
    free(host_b);
    free(host_sum);
    return 0;
}
