// SPDX-License-Identifier: Apache-2.0
// Runs of 16 aligned bytes per thread, the widest load and store, and their conversion to floats and back.
#ifndef EULERNET_VECTORS_CUH
#define EULERNET_VECTORS_CUH

#include <cstring>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace eulernet
{

constexpr int kRunBytes = 16;

// N values that one instruction loads or stores.
template <class T, int N = kRunBytes / int(sizeof(T))>
struct alignas(sizeof(T) * N) Run
{
    static constexpr int kSize = N;
    T values[N];
};

// Converts two values at a time: a pair of halves takes one instruction.
__host__ __device__ __forceinline__ float2 widen(const float* pair)
{
    return make_float2(pair[0], pair[1]);
}
__host__ __device__ __forceinline__ float2 widen(const __half* pair)
{
    return __half22float2(__halves2half2(pair[0], pair[1]));
}
__host__ __device__ __forceinline__ float2 widen(const __nv_bfloat16* pair)
{
    // bf16 is the upper half of a float. Reads both as one word; otherwise each value occupies a register until stored.
    unsigned word, halves[2];
    memcpy(&word, pair, sizeof(word));
    halves[0] = word << 16;
    halves[1] = word & 0xffff0000u;
    float2 floats;
    memcpy(&floats, halves, sizeof(floats));
    return floats;
}

__host__ __device__ __forceinline__ void narrow(float a, float b, float* pair)
{
    pair[0] = a;
    pair[1] = b;
}
__host__ __device__ __forceinline__ void narrow(float a, float b, __half* pair)
{
    const __half2 rounded = __floats2half2_rn(a, b);
    pair[0] = __low2half(rounded);
    pair[1] = __high2half(rounded);
}
__host__ __device__ __forceinline__ void narrow(float a, float b, __nv_bfloat16* pair)
{
    const __nv_bfloat162 rounded = __floats2bfloat162_rn(a, b);
    pair[0] = __low2bfloat16(rounded);
    pair[1] = __high2bfloat16(rounded);
}

// N = 1 converts a pair and drops one value; the compiler removes that value's arithmetic.
template <class T, int N>
__host__ __device__ __forceinline__ void widen(const Run<T, N>& run, float (&floats)[N])
{
    if constexpr (N == 1)
    {
        const T pair[2] = {run.values[0], run.values[0]};
        floats[0] = widen(pair).x;
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N; i += 2)
        {
            const float2 pair = widen(run.values + i);
            floats[i] = pair.x;
            floats[i + 1] = pair.y;
        }
    }
}

template <class T, int N>
__host__ __device__ __forceinline__ Run<T, N> narrow(const float (&floats)[N])
{
    Run<T, N> run;
    if constexpr (N == 1)
    {
        T pair[2];
        narrow(floats[0], floats[0], pair);
        run.values[0] = pair[0];
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N; i += 2)
        {
            narrow(floats[i], floats[i + 1], run.values + i);
        }
    }
    return run;
}

template <int N, class T>
__host__ __device__ __forceinline__ Run<T, N> load(const T* from)
{
    return *reinterpret_cast<const Run<T, N>*>(from);
}

template <class T, int N>
__host__ __device__ __forceinline__ void store(T* to, const Run<T, N>& run)
{
    *reinterpret_cast<Run<T, N>*>(to) = run;
}

// Between two conversions of the same run: prevents the compiler from keeping the floats, which take twice as many
// registers as the run.
template <class T, int N>
__host__ __device__ __forceinline__ void forget_floats([[maybe_unused]] Run<T, N>& run)
{
#ifdef __CUDA_ARCH__
    if constexpr (sizeof(T) == 2 && N % 2 == 0)
    {
        unsigned words[N / 2];
        memcpy(words, &run, sizeof(words));
#pragma unroll
        for (int i = 0; i < N / 2; ++i)
        {
            asm volatile("" : "+r"(words[i]));
        }
        memcpy(&run, words, sizeof(words));
    }
#endif
}

template <class T, int N = kRunBytes / int(sizeof(T))>
__host__ __device__ __forceinline__ Run<T, N> zeros()
{
    float floats[N] = {};
    return narrow<T>(floats);
}

} // namespace eulernet

#endif
