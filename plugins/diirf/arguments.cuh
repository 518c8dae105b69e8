// SPDX-License-Identifier: Apache-2.0
// Kernel arguments of eulernet::DIIRF and eulernet::DIIRFGate. Shapes and meaning: kernels_c.h; pixels = H * W.
#ifndef EULERNET_ARGUMENTS_CUH
#define EULERNET_ARGUMENTS_CUH

namespace eulernet
{

using Offset = long long; // of an element in a tensor: a product of sizes may exceed int

struct DiirfArguments
{
    const void* x;
    const float* h1;
    const float* h2;
    const float* coefficients;
    void* y;
    float* h1_out;
    float* h2_out;
    int n, t, k, pixels;
};

struct GateArguments : DiirfArguments
{
    const float* weight;
    const int* status;
    int c;

    __host__ __device__ __forceinline__ int status_of(int row) const // row = n * T + t
    {
        return status == nullptr ? 0 : status[row];
    }
};

} // namespace eulernet

#endif
