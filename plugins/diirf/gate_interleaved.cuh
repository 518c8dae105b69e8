// DIIRFGate over NHWC, one pass over memory, no shared memory, no barrier.
// K * S neighbouring lanes hold one pixel, 16 bytes of its channels each; lane k * S + s holds the s-th part of the run
// of channels that map k gates. A lane loads that part of S pixels (M times, so that enough is under way), the sums
// of all of them are reduced over the lanes, and then a lane owns map k of the s-th pixel: nothing is filtered twice,
// and states are read and written in whole sectors.
#ifndef EULERNET_GATE_INTERLEAVED_CUH
#define EULERNET_GATE_INTERLEAVED_CUH

#include "gate.cuh"

namespace eulernet
{

template <class T, int K, int S>
struct Interleaved
{
    static constexpr int kRun = kRunBytes / int(sizeof(T)); // channels of a lane
    static constexpr int kLanes = K * S;                    // of a pixel
    static constexpr int kTimes = S < 4 ? 4 / S : 1;        // M
    static constexpr int kStep = kWarp / K;                 // pixels of a warp, each time
    static constexpr int kPixels = kStep * kTimes;          // of a warp
    static constexpr int kLoads = S * kTimes;               // of a lane

    // Pixels from load 0 to load r: part r / M of its pixel's lanes owns it.
    __host__ __device__ static constexpr int further(int r)
    {
        return r / kTimes + r % kTimes * kStep;
    }
};

// sums[k * Loads + r] of the lane's channels, for its r-th pixel.
template <class T, int K, int Loads>
__device__ __forceinline__ void interleaved_sums(
    const Run<T> (&data)[Loads], const float (&weight)[K][Run<T>::kSize], float (&sums)[K * Loads])
{
#pragma unroll
    for (int r = 0; r < Loads; ++r)
    {
        float values[Run<T>::kSize];
        widen(data[r], values);
#pragma unroll
        for (int k = 0; k < K; ++k)
        {
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < Run<T>::kSize; ++j)
            {
                sum += weight[k][j] * values[j];
            }
            sums[k * Loads + r] = sum;
        }
    }
}

// K divides c; kRun divides c / K, which is at most S * kRun; x and y are aligned to 16 bytes.
template <class T, int K, int S>
__global__ void __launch_bounds__(kGateThreads, kGateBlocks) gate_interleaved_kernel(GateArguments a)
{
    using I = Interleaved<T, K, S>;
    const int lane = threadIdx.x % kWarp, map = lane % I::kLanes / S, part = lane % S;
    const int tiles = (a.pixels + I::kPixels - 1) / I::kPixels; // of one frame
    const unsigned tile = blockIdx.x * unsigned(kGateThreads / kWarp) + threadIdx.x / kWarp;
    const int n = int(tile / tiles);
    if (n >= a.n) // the whole warp
    {
        return;
    }
    const int pixel = int(tile % tiles) * I::kPixels + lane / I::kLanes * S; // of load 0
    const int run = a.c / K, channel = map * run + part * I::kRun;
    const bool used = part * I::kRun < run;
    float weight[K][I::kRun];
#pragma unroll
    for (int k = 0; k < K; ++k)
    {
        read_weights(a.weight + k * a.c + channel, used ? I::kRun : 0, weight[k]);
    }
    const auto filter = Coefficients<float>::of(a.coefficients + map * kCoefficients);
    const int own = pixel + part; // and every kStep-th from there
    const long long state = ((long long)(n) * K + map) * a.pixels + own;
    States<I::kTimes> states = {};
    states.template read_every<I::kStep>(a.h1 + state, a.h2 + state, a.pixels - own);
    const long long frame = (long long)(a.c) * a.pixels;
    const long long at = (long long)(n) * a.t * frame + (long long)(pixel) * a.c + channel;
    const T* x = static_cast<const T*>(a.x) + at;
    T* y = static_cast<T*>(a.y) + at;

    for (int t = 0; t < a.t; ++t, x += frame, y += frame)
    {
        Run<T> data[I::kLoads];
#pragma unroll
        for (int r = 0; r < I::kLoads; ++r)
        {
            const bool here = used && pixel + I::further(r) < a.pixels;
            data[r] = here ? load<I::kRun>(x + (long long)(I::further(r)) * a.c) : zeros<T>();
        }
        float sums[K * I::kLoads];
        interleaved_sums(data, weight, sums);
        reduce_scatter<K * I::kLoads, I::kLanes, 1>(sums, lane % I::kLanes);
        filter_pixels<I::kTimes>(filter, sums, a.status_of(n * a.t + t), states);
#pragma unroll
        for (int r = 0; r < I::kLoads; ++r)
        {
            const int m = r % I::kTimes, owner = lane - part + r / I::kTimes;
            float gates[I::kRun];
            gates[0] = S == 1 ? sums[m] : __shfl_sync(kAllLanes, sums[m], owner);
#pragma unroll
            for (int j = 1; j < I::kRun; ++j)
            {
                gates[j] = gates[0];
            }
            if (used && pixel + I::further(r) < a.pixels)
            {
                store(y + (long long)(I::further(r)) * a.c, gated(data[r], gates));
            }
        }
    }
    states.template write_every<I::kStep>(a.h1_out + state, a.h2_out + state, a.pixels - own);
}

} // namespace eulernet

#endif
