// SPDX-License-Identifier: Apache-2.0
// reference.h for ctypes. Compiles with any C++17 compiler, without CUDA.
#include "reference.h"

extern "C" void reference_diirf(const float* x, const float* h1, const float* h2, const float* coefficients, float* y,
    float* h1_out, float* h2_out, int n, int t, int k, int pixels, int doubles)
{
    const auto run = doubles ? eulernet::reference_diirf<double> : eulernet::reference_diirf<float>;
    run(x, h1, h2, coefficients, y, h1_out, h2_out, n, t, k, pixels);
}

extern "C" void reference_diirf_gate(const float* x, const float* weight, const float* h1, const float* h2,
    const float* coefficients, const int* status, float* y, float* h1_out, float* h2_out, int n, int t, int c, int k,
    int pixels, int channels_last, int doubles)
{
    const auto run = doubles ? eulernet::reference_diirf_gate<double> : eulernet::reference_diirf_gate<float>;
    run(x, weight, h1, h2, coefficients, status, y, h1_out, h2_out, n, t, c, k, pixels, channels_last != 0);
}
