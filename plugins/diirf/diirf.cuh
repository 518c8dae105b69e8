// SPDX-License-Identifier: Apache-2.0
// The kernel of eulernet::DIIRF. A thread filters a run of pixels of one channel over time, with their state in
// registers: every value is read once and written once.
#ifndef EULERNET_DIIRF_CUH
#define EULERNET_DIIRF_CUH

#include "arguments.cuh"
#include "states.cuh"

namespace eulernet
{

constexpr int kDiirfThreads = 128;

// N divides `pixels`; all pointers are aligned to runs of N where N > 1.
template <class T, int N>
__global__ void __launch_bounds__(kDiirfThreads) diirf_kernel(DiirfArguments a)
{
    const int runs = a.pixels / N; // of one channel
    const Offset index = Offset(blockIdx.x) * kDiirfThreads + threadIdx.x;
    if (index >= Offset(a.n) * a.k * runs)
    {
        return;
    }
    const int row = int(index / runs); // n * K + k
    const int channel = row % a.k;
    const auto c = Coefficients<float>::of(a.coefficients + channel * kCoefficients);
    const Offset at = index * N; // (N, K, H, W)
    const Offset frame = Offset(a.k) * a.pixels;
    const Offset first = at + Offset(row / a.k) * (a.t - 1) * frame; // (N, T, K, H, W)
    const T* x = static_cast<const T*>(a.x) + first;
    T* y = static_cast<T*>(a.y) + first;
    States<N> states;
    states.read(a.h1 + at, a.h2 + at);
    for (int t = 0; t < a.t; ++t, x += frame, y += frame)
    {
        float values[N];
        widen(load<N>(x), values);
#pragma unroll
        for (int i = 0; i < N; ++i)
        {
            values[i] = biquad(c, values[i], states.each[i]);
        }
        store(y, narrow<T>(values));
    }
    states.write(a.h1_out + at, a.h2_out + at);
}

} // namespace eulernet

#endif
