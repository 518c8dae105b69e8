// SPDX-License-Identifier: Apache-2.0
// Shared by the kernels of eulernet::DIIRFGate: the sum over a warp's lanes, weights, the filter of a lane's pixels.
// The kernels: gate_planar.cuh (NCHW), gate_interleaved.cuh (NHWC), gate_any.cuh (all other shapes).
#ifndef EULERNET_GATE_CUH
#define EULERNET_GATE_CUH

#include <cstdint>

#include "arguments.cuh"
#include "states.cuh"

namespace eulernet
{

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kGateThreads = 64; // few, so that one picture occupies many multiprocessors
constexpr int kGateBlocks = 8;   // at least, per multiprocessor: at most 128 registers per thread

// Sums Count values over Lanes lanes with a distance of Stride. Afterwards the first max(Count / Lanes, 1) elements of
// `values` are the sums of lane `lane` (0 to Lanes - 1): the lane-th run of all sums. Each step exchanges half of the
// remaining values with a partner, Count - 1 shuffles in total instead of Count * log2(Lanes). If there are more lanes
// than values, Lanes / Count neighbours get the same sum.
template <int Count, int Lanes, int Stride>
__device__ __forceinline__ void reduce_scatter(float* values, int lane)
{
    if constexpr (Lanes > 1)
    {
        constexpr int mask = Lanes / 2 * Stride;
        if constexpr (Count > 1)
        {
            const bool upper = (lane & (Lanes / 2)) != 0;
#pragma unroll
            for (int i = 0; i < Count / 2; ++i)
            {
                const float keep = upper ? values[i + Count / 2] : values[i];
                const float give = upper ? values[i] : values[i + Count / 2];
                values[i] = keep + __shfl_xor_sync(kAllLanes, give, mask);
            }
            reduce_scatter<Count / 2, Lanes / 2, Stride>(values, lane);
        }
        else
        {
            values[0] += __shfl_xor_sync(kAllLanes, values[0], mask);
            reduce_scatter<1, Lanes / 2, Stride>(values, lane);
        }
    }
}

// Reads the weights of `count` channels and fills up to N with zeros.
template <int N>
__device__ __forceinline__ void read_weights(const float* from, int count, float (&weights)[N])
{
    if (count == N && reinterpret_cast<std::uintptr_t>(from) % kRunBytes == 0)
    {
#pragma unroll
        for (int i = 0; i < N; i += 4)
        {
            const Run<float, 4> four = load<4>(from + i);
#pragma unroll
            for (int j = 0; j < 4; ++j)
            {
                weights[i + j] = four.values[j];
            }
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < N; ++i)
    {
        weights[i] = i < count ? from[i] : 0.0f;
    }
}

// Replaces compressed[i] by the gate of the lane's i-th pixel.
template <int N>
__device__ __forceinline__ void filter_pixels(
    const GateCoefficients<float>& filter, float* compressed, int status, States<N>& states)
{
#pragma unroll
    for (int i = 0; i < N; ++i)
    {
        compressed[i] = gate_of_frame(filter, compressed[i], status, states.each[i]);
    }
}

template <class T, int N>
__device__ __forceinline__ Run<T, N> gated(Run<T, N>& run, const float (&gates)[N])
{
    float values[N];
    forget_floats(run);
    widen(run, values);
#pragma unroll
    for (int i = 0; i < N; ++i)
    {
        values[i] *= gates[i];
    }
    return narrow<T>(values);
}

} // namespace eulernet

#endif
