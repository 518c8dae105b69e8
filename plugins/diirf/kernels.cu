// SPDX-License-Identifier: Apache-2.0
// The C API of kernels_c.h: checks the tensors, chooses a kernel and launches it. Links the CUDA runtime only.
#include "kernels_c.h"

#include <string>

#include "dispatch.cuh"

namespace
{

struct OnStream
{
    cudaStream_t stream;

    template <class Kernel, class Arguments>
    int operator()(Kernel kernel, unsigned blocks, unsigned threads, Arguments arguments) const
    {
        void* parameters[] = {&arguments};
        const auto* function = reinterpret_cast<const void*>(kernel);
        const cudaError_t launched = cudaLaunchKernel(function, dim3(blocks), dim3(threads), parameters, 0, stream);
        // Clears the error of a refused launch, which a later caller would otherwise see.
        const cudaError_t left = cudaGetLastError();
        return launched != cudaSuccess ? launched : left;
    }
};

} // namespace

extern "C" int eulernet_diirf(const void* x, const float* h1, const float* h2, const float* coefficients, void* y,
    float* h1_out, float* h2_out, int n, int t, int k, int h, int w, int dtype, void* stream)
{
    const eulernet::DiirfArguments a{x, h1, h2, coefficients, y, h1_out, h2_out, n, t, k, eulernet::plane(h, w)};
    return eulernet::dispatch(a, dtype, OnStream{static_cast<cudaStream_t>(stream)});
}

extern "C" int eulernet_diirf_gate(const void* x, const float* weight, const float* h1, const float* h2,
    const float* coefficients, const int* status, void* y, float* h1_out, float* h2_out, int n, int t, int c, int k,
    int h, int w, int dtype, int channels_last, void* stream)
{
    const eulernet::GateArguments a{
        {x, h1, h2, coefficients, y, h1_out, h2_out, n, t, k, eulernet::plane(h, w)}, weight, status, c};
    return eulernet::dispatch(a, dtype, channels_last != 0, OnStream{static_cast<cudaStream_t>(stream)});
}

extern "C" const char* eulernet_error_string(int code)
{
    thread_local std::string text;
    const auto error = static_cast<cudaError_t>(code);
    text = std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error);
    return text.c_str();
}
