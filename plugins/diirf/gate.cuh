// What the kernels of eulernet::DIIRFGate share: arguments, the sum over a warp's lanes, the filter of a lane's pixels.
// The kernels: gate_planar.cuh (NCHW), gate_interleaved.cuh (NHWC), gate_any.cuh (all that fits neither).
#ifndef EULERNET_GATE_CUH
#define EULERNET_GATE_CUH

#include <cstdint>

#include "states.cuh"

namespace eulernet
{

// Shapes and meaning in kernels_c.h; pixels = H * W.
struct GateArguments
{
    const void* x;
    const float* weight;
    const float* h1;
    const float* h2;
    const float* coefficients;
    const int* status;
    void* y;
    float* h1_out;
    float* h2_out;
    int n, t, c, k, pixels;

    __host__ __device__ __forceinline__ int status_of(int row) const // row = n * T + t
    {
        return status == nullptr ? 0 : status[row];
    }
};

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kGateThreads = 64; // few, so that a single picture still spreads over the device
constexpr int kGateBlocks = 8;   // of a multiprocessor at least, so 128 registers a thread at most

// Sums Count values over Lanes lanes that lie Stride apart, and leaves lane `lane` (0 to Lanes - 1 among them) its own
// max(Count / Lanes, 1) sums, the lane-th run of them, in the front of `values`. Each step hands half of what is
// left to the partner and takes the other half: Count - 1 shuffles in all, not Count * log2(Lanes). Where lanes
// outnumber values, Lanes / Count neighbours end with the same sum.
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

// The weights of `count` channels from `from` on, and zeros up to N.
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

// compressed[i] becomes the gate of the lane's i-th pixel.
template <int N>
__device__ __forceinline__ void filter_pixels(
    const Coefficients<float>& filter, float* compressed, int status, States<N>& states)
{
#pragma unroll
    for (int i = 0; i < N; ++i)
    {
        compressed[i] = gate_of_frame(filter, compressed[i], status, states.each[i]);
    }
}

template <class T>
__device__ __forceinline__ Run<T> gated(Run<T>& run, const float (&gates)[Run<T>::kSize])
{
    float values[Run<T>::kSize];
    forget_floats(run);
    widen(run, values);
#pragma unroll
    for (int i = 0; i < Run<T>::kSize; ++i)
    {
        values[i] *= gates[i];
    }
    return narrow<T>(values);
}

} // namespace eulernet

#endif
