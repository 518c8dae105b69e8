// SPDX-License-Identifier: Apache-2.0
// Runs the kernels and their dispatch on the host, behind the C API of the device: pointers are host pointers, and the
// stream is ignored.
#include "cuda_on_host.h"

#include "dispatch.cuh"

// 64 threads per block identify the one-pass kernels, 256 the general ones.
extern "C" unsigned threads_of_last_launch()
{
    return unsigned(cuda_on_host::threads.size());
}

extern "C" int eulernet_diirf(const void* x, const float* h1, const float* h2, const float* coefficients, void* y,
    float* h1_out, float* h2_out, int n, int t, int k, int h, int w, int dtype, void*)
{
    const eulernet::DiirfArguments a{x, h1, h2, coefficients, y, h1_out, h2_out, n, t, k, eulernet::plane(h, w)};
    return eulernet::dispatch(a, dtype, cuda_on_host::Launch{});
}

extern "C" int eulernet_diirf_gate(const void* x, const float* weight, const float* h1, const float* h2,
    const float* coefficients, const int* status, void* y, float* h1_out, float* h2_out, int n, int t, int c, int k,
    int h, int w, int dtype, int channels_last, void*)
{
    const eulernet::GateArguments a{
        {x, h1, h2, coefficients, y, h1_out, h2_out, n, t, k, eulernet::plane(h, w)}, weight, status, c};
    return eulernet::dispatch(a, dtype, channels_last != 0, cuda_on_host::Launch{});
}
