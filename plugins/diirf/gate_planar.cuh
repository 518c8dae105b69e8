// SPDX-License-Identifier: Apache-2.0
// DIIRFGate over NCHW: one pass over memory, no shared memory, no barrier.
// A warp computes a run of pixels of one sequence with all their channels. Its lanes form Groups groups; group k * S +
// s holds the s-th part, at most 8 channels, of the run of channels that map k gates. Within a group the lanes hold
// adjacent pixels, 16 bytes each. After the sums of the compression are reduced over the groups, a lane owns map k of
// some of its pixels, the map that gates the lane's channels.
#ifndef EULERNET_GATE_PLANAR_CUH
#define EULERNET_GATE_PLANAR_CUH

#include "gate.cuh"

namespace eulernet
{

constexpr int kPlanarChannels = 8; // at most, per lane

template <class T, int K, int Groups>
struct Planar
{
    static constexpr int kRun = kRunBytes / int(sizeof(T)); // pixels per lane
    static constexpr int kShare = Groups / K;               // S, groups per map
    static constexpr int kLanes = kWarp / Groups;           // per group
    static constexpr int kPixels = kLanes * kRun;           // per warp
    static constexpr int kOwn = kRun / kShare;              // pixels that a lane filters
    static_assert(kOwn > 0, "a map has more groups than a lane has pixels");
};

// sums[k * pixels + j]: map k over the lane's channels of its j-th pixel.
template <class T, int K>
__device__ __forceinline__ void planar_sums(
    const Run<T> (&data)[kPlanarChannels], const float (&weight)[K][kPlanarChannels], float (&sums)[K * Run<T>::kSize])
{
    constexpr int pixels = Run<T>::kSize;
#pragma unroll
    for (int i = 0; i < K * pixels; ++i)
    {
        sums[i] = 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kPlanarChannels; ++i)
    {
        float values[pixels];
        widen(data[i], values);
#pragma unroll
        for (int k = 0; k < K; ++k)
        {
#pragma unroll
            for (int j = 0; j < pixels; ++j)
            {
                sums[k * pixels + j] += weight[k][i] * values[j];
            }
        }
    }
}

// Collects the gates of all of the lane's pixels from the lanes that own them.
template <class P>
__device__ __forceinline__ void planar_gates(const float* own, int lane, int map, float (&gates)[P::kRun])
{
#pragma unroll
    for (int j = 0; j < P::kRun; ++j)
    {
        const int owner = (map * P::kShare + j / P::kOwn) * P::kLanes + lane % P::kLanes;
        gates[j] = P::kShare == 1 ? own[j] : __shfl_sync(kAllLanes, own[j % P::kOwn], owner);
    }
}

// Needs: kRun divides `pixels`; x, y and the states are aligned to 16 bytes; K divides c and c / K is at most 8 S.
template <class T, int K, int Groups>
__global__ void __launch_bounds__(kGateThreads, kGateBlocks) gate_planar_kernel(GateArguments a)
{
    using P = Planar<T, K, Groups>;
    const int lane = threadIdx.x % kWarp, group = lane / P::kLanes, map = group / P::kShare, part = group % P::kShare;
    const int tiles = (a.pixels + P::kPixels - 1) / P::kPixels; // of one frame
    const unsigned tile = blockIdx.x * unsigned(kGateThreads / kWarp) + threadIdx.x / kWarp;
    const int n = int(tile / tiles);
    if (n >= a.n) // for all lanes of the warp
    {
        return;
    }
    const int pixel = int(tile % tiles) * P::kPixels + lane % P::kLanes * P::kRun;
    const bool inside = pixel < a.pixels;

    // The lane's channels: `count`, beginning with `first`.
    const int run = a.c / K, per_group = (run + P::kShare - 1) / P::kShare;
    const int first = map * run + part * per_group;
    const int count = inside ? max(0, min(per_group, run - part * per_group)) : 0;
    float weight[K][kPlanarChannels];
#pragma unroll
    for (int k = 0; k < K; ++k)
    {
        read_weights(a.weight + k * a.c + first, count, weight[k]);
    }
    const auto filter = GateCoefficients<float>::of(a.coefficients + map * kGateCoefficients);
    const Offset state = (Offset(n) * K + map) * a.pixels + pixel + part * P::kOwn;
    States<P::kOwn> states = {};
    if (inside)
    {
        states.read(a.h1 + state, a.h2 + state);
    }
    const Offset frame = Offset(a.c) * a.pixels;
    const Offset at = Offset(n) * a.t * frame + Offset(first) * a.pixels + pixel;
    const T* x = static_cast<const T*>(a.x) + at;
    T* y = static_cast<T*>(a.y) + at;

    for (int t = 0; t < a.t; ++t, x += frame, y += frame)
    {
        Run<T> data[kPlanarChannels];
#pragma unroll
        for (int i = 0; i < kPlanarChannels; ++i)
        {
            data[i] = i < count ? load<P::kRun>(x + Offset(i) * a.pixels) : zeros<T>();
        }
        float sums[K * P::kRun], gates[P::kRun];
        planar_sums(data, weight, sums);
        reduce_scatter<K * P::kRun, Groups, P::kLanes>(sums, group);
        filter_pixels<P::kOwn>(filter, sums, a.status_of(n * a.t + t), states);
        planar_gates<P>(sums, lane, map, gates);
#pragma unroll
        for (int i = 0; i < kPlanarChannels; ++i)
        {
            if (i < count)
            {
                store(y + Offset(i) * a.pixels, gated(data[i], gates));
            }
        }
    }
    if (inside)
    {
        states.write(a.h1_out + state, a.h2_out + state);
    }
}

} // namespace eulernet

#endif
