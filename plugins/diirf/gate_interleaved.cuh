// SPDX-License-Identifier: Apache-2.0
// DIIRFGate over NHWC: one pass over memory, no shared memory, no barrier.
// K * S neighbouring lanes hold one pixel, each R of its channels: 16 bytes, or fewer where a map's channels are no
// multiple of that. Lane k * S + s holds the s-th part of the run of channels that map k gates. A lane loads this part
// of S pixels M times, to keep enough loads in flight. The sums of all of them are reduced over the lanes; then a lane
// owns map k of the s-th pixel, so that each value is filtered once and states are read and written in whole sectors.
#ifndef EULERNET_GATE_INTERLEAVED_CUH
#define EULERNET_GATE_INTERLEAVED_CUH

#include "gate.cuh"

namespace eulernet
{

constexpr int kInFlightBytes = 64; // per lane and frame, at least

template <class T, int K, int S, int R>
struct Interleaved
{
    static constexpr int kWanted = kInFlightBytes / (R * int(sizeof(T))); // loads
    static constexpr int kLanes = K * S;                                  // per pixel
    static constexpr int kTimes = S < kWanted ? kWanted / S : 1;          // M
    static constexpr int kStep = kWarp / K;                               // pixels per warp and repetition
    static constexpr int kPixels = kStep * kTimes;                        // per warp
    static constexpr int kLoads = S * kTimes;                             // per lane

    // Distance in pixels from load 0 to load r. The lane of part r / M owns that pixel.
    __host__ __device__ static constexpr int further(int r)
    {
        return r / kTimes + r % kTimes * kStep;
    }
};

// sums[k * Loads + r]: map k over the lane's channels of its r-th pixel.
template <class T, int K, int R, int Loads>
__device__ __forceinline__ void interleaved_sums(
    const Run<T, R> (&data)[Loads], const float (&weight)[K][R], float (&sums)[K * Loads])
{
#pragma unroll
    for (int r = 0; r < Loads; ++r)
    {
        float values[R];
        widen(data[r], values);
#pragma unroll
        for (int k = 0; k < K; ++k)
        {
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < R; ++j)
            {
                sum += weight[k][j] * values[j];
            }
            sums[k * Loads + r] = sum;
        }
    }
}

// Needs: K divides c; R divides c / K, which is at most S * R; x and y are aligned to 16 bytes.
template <class T, int K, int S, int R>
__global__ void __launch_bounds__(kGateThreads, kGateBlocks) gate_interleaved_kernel(GateArguments a)
{
    using I = Interleaved<T, K, S, R>;
    const int lane = threadIdx.x % kWarp, map = lane % I::kLanes / S, part = lane % S;
    const int tiles = (a.pixels + I::kPixels - 1) / I::kPixels; // of one frame
    const unsigned tile = blockIdx.x * unsigned(kGateThreads / kWarp) + threadIdx.x / kWarp;
    const int n = int(tile / tiles);
    if (n >= a.n) // for all lanes of the warp
    {
        return;
    }
    const int pixel = int(tile % tiles) * I::kPixels + lane / I::kLanes * S; // of load 0
    const int run = a.c / K, channel = map * run + part * R;
    const bool used = part * R < run;
    float weight[K][R];
#pragma unroll
    for (int k = 0; k < K; ++k)
    {
        read_weights(a.weight + k * a.c + channel, used ? R : 0, weight[k]);
    }
    const auto filter = GateCoefficients<float>::of(a.coefficients + map * kGateCoefficients);
    const int own = pixel + part; // and every kStep-th pixel from there
    const Offset state = (Offset(n) * K + map) * a.pixels + own;
    States<I::kTimes> states = {};
    states.template read_every<I::kStep>(a.h1 + state, a.h2 + state, a.pixels - own);
    const Offset frame = Offset(a.c) * a.pixels;
    const Offset at = Offset(n) * a.t * frame + Offset(pixel) * a.c + channel;
    const T* x = static_cast<const T*>(a.x) + at;
    T* y = static_cast<T*>(a.y) + at;

    for (int t = 0; t < a.t; ++t, x += frame, y += frame)
    {
        Run<T, R> data[I::kLoads];
#pragma unroll
        for (int r = 0; r < I::kLoads; ++r)
        {
            const bool here = used && pixel + I::further(r) < a.pixels;
            data[r] = here ? load<R>(x + Offset(I::further(r)) * a.c) : zeros<T, R>();
        }
        float sums[K * I::kLoads];
        interleaved_sums(data, weight, sums);
        reduce_scatter<K * I::kLoads, I::kLanes, 1>(sums, lane % I::kLanes);
        filter_pixels<I::kTimes>(filter, sums, a.status_of(n * a.t + t), states);
#pragma unroll
        for (int r = 0; r < I::kLoads; ++r)
        {
            const int m = r % I::kTimes, owner = lane - part + r / I::kTimes;
            float gates[R];
            gates[0] = S == 1 ? sums[m] : __shfl_sync(kAllLanes, sums[m], owner);
#pragma unroll
            for (int j = 1; j < R; ++j)
            {
                gates[j] = gates[0];
            }
            if (used && pixel + I::further(r) < a.pixels)
            {
                store(y + Offset(I::further(r)) * a.c, gated(data[r], gates));
            }
        }
    }
    states.template write_every<I::kStep>(a.h1_out + state, a.h2_out + state, a.pixels - own);
}

} // namespace eulernet

#endif
