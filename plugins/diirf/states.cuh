// SPDX-License-Identifier: Apache-2.0
// The filter state of several pixels in a thread's registers: reads it from memory and writes it back.
#ifndef EULERNET_STATES_CUH
#define EULERNET_STATES_CUH

#include "biquad.cuh"
#include "vectors.cuh"

namespace eulernet
{

// States of N pixels. Four floats are one load, eight are two.
template <int N>
struct States
{
    State<float> each[N];

    __host__ __device__ __forceinline__ void read(const float* h1, const float* h2)
    {
        constexpr int step = N < 4 ? N : 4;
#pragma unroll
        for (int i = 0; i < N; i += step)
        {
            const Run<float, step> a = load<step>(h1 + i), b = load<step>(h2 + i);
#pragma unroll
            for (int j = 0; j < step; ++j)
            {
                each[i + j] = {a.values[j], b.values[j]};
            }
        }
    }

    __host__ __device__ __forceinline__ void write(float* h1, float* h2) const
    {
        constexpr int step = N < 4 ? N : 4;
#pragma unroll
        for (int i = 0; i < N; i += step)
        {
            Run<float, step> a, b;
#pragma unroll
            for (int j = 0; j < step; ++j)
            {
                a.values[j] = each[i + j].h1;
                b.values[j] = each[i + j].h2;
            }
            store(h1 + i, a);
            store(h2 + i, b);
        }
    }

    // For pixels with a distance of Step, if they are among the first `count`.
    template <int Step>
    __host__ __device__ __forceinline__ void read_every(const float* h1, const float* h2, int count)
    {
#pragma unroll
        for (int i = 0; i < N; ++i)
        {
            if (i * Step < count)
            {
                each[i] = {h1[i * Step], h2[i * Step]};
            }
        }
    }

    template <int Step>
    __host__ __device__ __forceinline__ void write_every(float* h1, float* h2, int count) const
    {
#pragma unroll
        for (int i = 0; i < N; ++i)
        {
            if (i * Step < count)
            {
                h1[i * Step] = each[i].h1;
                h2[i * Step] = each[i].h2;
            }
        }
    }
};

} // namespace eulernet

#endif
