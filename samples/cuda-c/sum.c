/* Sums squares on the first CUDA device and checks the result: the CUDA driver API from C.
 *
 * It needs no CUDA headers: the few functions are declared here. Build and run:
 *   cc -O2 sum.c -o sum -ldl && dxgctl run -- ./sum sum.ptx
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static void *library;

static void *function(const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "the library has no %s\n", name);
        exit(1);
    }
    return found;
}

static void check(const char *what, int result) {
    if (result) {
        fprintf(stderr, "%s: error %d\n", what, result);
        exit(1);
    }
}

static char *read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (!file || !text || fread(text, 1, (1 << 20) - 1, file) == 0) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(1);
    }
    fclose(file);
    return text;
}

int main(int argc, char **argv) {
    const unsigned count = 1000000;
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (argc < 2 || !library) {
        fprintf(stderr, argc < 2 ? "usage: sum sum.ptx\n" : "no libcuda.so.1\n");
        return 1;
    }
    int (*init)(unsigned) = (int (*)(unsigned))function("cuInit");
    int (*create)(void **, unsigned, int) = (int (*)(void **, unsigned, int))function("cuCtxCreate_v2");
    int (*load)(void **, const void *) = (int (*)(void **, const void *))function("cuModuleLoadData");
    int (*get)(void **, void *, const char *) = (int (*)(void **, void *, const char *))function("cuModuleGetFunction");
    int (*alloc)(uint64_t *, size_t) = (int (*)(uint64_t *, size_t))function("cuMemAlloc_v2");
    int (*fill)(uint64_t, unsigned char, size_t) = (int (*)(uint64_t, unsigned char, size_t))function("cuMemsetD8_v2");
    int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **) =
        (int (*)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                 void **))function("cuLaunchKernel");
    int (*to_host)(void *, uint64_t, size_t) = (int (*)(void *, uint64_t, size_t))function("cuMemcpyDtoH_v2");
    int (*destroy)(void *) = (int (*)(void *))function("cuCtxDestroy_v2");

    void *context, *module, *kernel;
    uint64_t total_at, total = 0, expected = 0;
    check("cuInit", init(0));
    check("cuCtxCreate", create(&context, 0, 0));
    check("cuModuleLoadData", load(&module, read_text(argv[1])));
    check("cuModuleGetFunction", get(&kernel, module, "sum_of_squares"));
    check("cuMemAlloc", alloc(&total_at, sizeof total));
    check("cuMemsetD8", fill(total_at, 0, sizeof total));
    unsigned numbers = count;
    void *params[] = {&total_at, &numbers};
    check("cuLaunchKernel", launch(kernel, (count + 255) / 256, 1, 1, 256, 1, 1, 0, NULL, params, NULL));
    check("cuMemcpyDtoH", to_host(&total, total_at, sizeof total));
    for (uint64_t at = 0; at < count; at++)
        expected += at * at;
    printf("total = %s\n", total == expected ? "right" : "wrong");
    check("cuCtxDestroy", destroy(context));
    return total == expected ? 0 : 1;
}
