// SPDX-License-Identifier: Apache-2.0
// DIIRFGate for shapes that the one-pass kernels don't support: any C and K, any number of pixels, any alignment.
// Each map reads x twice, first for the sums, then for the product, mostly from the cache.
#ifndef EULERNET_GATE_ANY_CUH
#define EULERNET_GATE_ANY_CUH

#include "gate.cuh"

namespace eulernet
{

constexpr int kAnyWarps = 8;
constexpr int kAnyThreads = kAnyWarps * kWarp;

// The state before frame t: the caller's for t = 0, later the state that this thread wrote after frame t - 1.
__device__ __forceinline__ State<float> state_before(const GateArguments& a, int t, Offset at)
{
    return t == 0 ? State<float>{a.h1[at], a.h2[at]} : State<float>{a.h1_out[at], a.h2_out[at]};
}

__device__ __forceinline__ float any_gate(const GateArguments& a, int n, int t, int map, int pixel, float compressed)
{
    const Offset at = (Offset(n) * a.k + map) * a.pixels + pixel;
    State<float> state = state_before(a, t, at);
    const auto filter = GateCoefficients<float>::of(a.coefficients + map * kGateCoefficients);
    const float gate = gate_of_frame(filter, compressed, a.status_of(n * a.t + t), state);
    a.h1_out[at] = state.h1;
    a.h2_out[at] = state.h2;
    return gate;
}

// NCHW: a block computes 32 pixels of a sequence; its warps divide the channels.
template <class T>
__global__ void __launch_bounds__(kAnyThreads) gate_any_planar_kernel(GateArguments a)
{
    __shared__ float partial[kAnyWarps][kWarp];
    __shared__ float gates[kWarp];
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
    const int tiles = (a.pixels + kWarp - 1) / kWarp; // of one frame
    const int n = int(blockIdx.x / tiles), pixel = int(blockIdx.x % tiles) * kWarp + lane;
    const bool inside = pixel < a.pixels;
    const int run = a.c / a.k;
    for (int t = 0; t < a.t; ++t)
    {
        const Offset at = (Offset(n) * a.t + t) * a.c * a.pixels + pixel;
        const T* x = static_cast<const T*>(a.x) + at;
        T* y = static_cast<T*>(a.y) + at;
        for (int map = 0; map < a.k; ++map)
        {
            float sum = 0.0f;
            for (int c = warp; inside && c < a.c; c += kAnyWarps)
            {
                sum += a.weight[Offset(map) * a.c + c] * float(x[Offset(c) * a.pixels]);
            }
            partial[warp][lane] = sum;
            __syncthreads();
            if (warp == 0 && inside)
            {
                for (int other = 1; other < kAnyWarps; ++other)
                {
                    sum += partial[other][lane];
                }
                gates[lane] = any_gate(a, n, t, map, pixel, sum);
            }
            __syncthreads();
            for (int c = map * run + warp; inside && c < (map + 1) * run; c += kAnyWarps)
            {
                const Offset channel = Offset(c) * a.pixels;
                const float gated[1] = {float(x[channel]) * gates[lane]};
                store(y + channel, narrow<T>(gated));
            }
        }
    }
}

// NHWC: a warp computes one pixel of a sequence; its lanes divide the channels.
template <class T>
__global__ void __launch_bounds__(kAnyThreads) gate_any_interleaved_kernel(GateArguments a)
{
    const int lane = threadIdx.x % kWarp;
    const Offset index = Offset(blockIdx.x) * kAnyWarps + threadIdx.x / kWarp; // n * pixels + pixel
    if (index >= Offset(a.n) * a.pixels)
    {
        return;
    }
    const int n = int(index / a.pixels), pixel = int(index % a.pixels), run = a.c / a.k;
    for (int t = 0; t < a.t; ++t)
    {
        const Offset at = ((Offset(n) * a.t + t) * a.pixels + pixel) * a.c;
        const T* x = static_cast<const T*>(a.x) + at;
        T* y = static_cast<T*>(a.y) + at;
        for (int map = 0; map < a.k; ++map)
        {
            float sum = 0.0f;
            for (int c = lane; c < a.c; c += kWarp)
            {
                sum += a.weight[Offset(map) * a.c + c] * float(x[c]);
            }
            reduce_scatter<1, kWarp, 1>(&sum, lane);
            float gate = lane == 0 ? any_gate(a, n, t, map, pixel, sum) : 0.0f;
            gate = __shfl_sync(kAllLanes, gate, 0);
            for (int c = map * run + lane; c < (map + 1) * run; c += kWarp)
            {
                const float gated[1] = {float(x[c]) * gate};
                store(y + c, narrow<T>(gated));
            }
        }
    }
}

} // namespace eulernet

#endif
