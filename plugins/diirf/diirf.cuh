// The kernel of eulernet::DIIRF: y, h1, h2 from x, h1, h2 along time. A thread owns a run of pixels of one channel and
// walks through time with their state in registers: every value is read once and written once.
#ifndef EULERNET_DIIRF_CUH
#define EULERNET_DIIRF_CUH

#include "states.cuh"

namespace eulernet
{

// Shapes and meaning in kernels_c.h; pixels = H * W.
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

constexpr int kDiirfThreads = 128;

// N divides `pixels`; all pointers are aligned to runs of N where N > 1.
template <class T, int N>
__global__ void __launch_bounds__(kDiirfThreads) diirf_kernel(DiirfArguments a)
{
    const int runs = a.pixels / N; // of one channel
    const long long index = (long long)(blockIdx.x) * kDiirfThreads + threadIdx.x;
    if (index >= (long long)(a.n) * a.k * runs)
    {
        return;
    }
    const int row = int(index / runs); // n * K + k
    const int channel = row % a.k;
    const auto c = Coefficients<float>::of(a.coefficients + channel * kCoefficients);
    const long long at = index * N; // (N, K, H, W)
    const long long frame = (long long)(a.k) * a.pixels;
    const long long first = at + (long long)(row / a.k) * (a.t - 1) * frame; // (N, T, K, H, W)
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
