// SPDX-License-Identifier: Apache-2.0
// Chooses the kernel and the grid for given tensors. The caller passes the launch, `launch(kernel, blocks, threads,
// arguments)`, which returns an error code. So a test makes the same choices without a device.
#ifndef EULERNET_DISPATCH_CUH
#define EULERNET_DISPATCH_CUH

#include <cstdint>
#include <limits>

#include <cuda_runtime_api.h>

#include "diirf.cuh"
#include "gate_any.cuh"
#include "gate_interleaved.cuh"
#include "gate_planar.cuh"
#include "kernels_c.h"

namespace eulernet
{

inline bool aligned(const void* pointer)
{
    return reinterpret_cast<std::uintptr_t>(pointer) % kRunBytes == 0;
}

template <class... Pointers>
bool all_given(const Pointers*... pointers)
{
    return ((pointers != nullptr) && ...);
}

// H * W, or 0 if a size is not positive or the product overflows.
inline int plane(int h, int w)
{
    const Offset pixels = Offset(h) * w;
    return h > 0 && w > 0 && pixels <= std::numeric_limits<int>::max() ? int(pixels) : 0;
}

// Launches as many blocks as `units` pieces of work need with `per_block` per block. The kernels count blocks in 31
// bits.
template <class Launch, class Kernel, class Arguments>
int launch_units(Launch&& launch, Kernel kernel, Offset units, int per_block, int threads, const Arguments& a)
{
    const Offset blocks = (units + per_block - 1) / per_block;
    if (blocks > std::numeric_limits<int>::max())
    {
        return cudaErrorInvalidValue;
    }
    return launch(kernel, unsigned(blocks), unsigned(threads), a);
}

template <class T, class Launch>
int diirf_of(const DiirfArguments& a, Launch&& launch)
{
    constexpr int run = kRunBytes / int(sizeof(T));
    const bool whole = a.pixels % run == 0 && aligned(a.x) && aligned(a.y) && aligned(a.h1) && aligned(a.h2)
        && aligned(a.h1_out) && aligned(a.h2_out);
    const Offset pixels = Offset(a.n) * a.k * a.pixels;
    return whole ? launch_units(launch, diirf_kernel<T, run>, pixels / run, kDiirfThreads, kDiirfThreads, a)
                 : launch_units(launch, diirf_kernel<T, 1>, pixels, kDiirfThreads, kDiirfThreads, a);
}

template <class T, int K, int Groups, class Launch>
int planar_of(const GateArguments& a, Launch&& launch)
{
    constexpr int pixels = Planar<T, K, Groups>::kPixels;
    const Offset tiles = Offset(a.n) * ((a.pixels + pixels - 1) / pixels);
    return launch_units(launch, gate_planar_kernel<T, K, Groups>, tiles, kGateThreads / kWarp, kGateThreads, a);
}

template <class T, int K, int S, int R, class Launch>
int interleaved_of(const GateArguments& a, Launch&& launch)
{
    constexpr int pixels = Interleaved<T, K, S, R>::kPixels;
    const Offset tiles = Offset(a.n) * ((a.pixels + pixels - 1) / pixels);
    return launch_units(launch, gate_interleaved_kernel<T, K, S, R>, tiles, kGateThreads / kWarp, kGateThreads, a);
}

// Returns -1 if no one-pass kernel supports the tensors.
template <class T, int K, class Launch>
int one_pass_of(const GateArguments& a, bool channels_last, Launch&& launch)
{
    constexpr int run = kRunBytes / int(sizeof(T));
    if (!aligned(a.x) || !aligned(a.y))
    {
        return -1;
    }
    const int channels = a.c / K; // per map
    if (channels_last)
    {
        if (channels % run != 0)
        {
            return channels == 4 ? interleaved_of<T, K, 1, 4>(a, launch)
                : channels == 6  ? interleaved_of<T, K, 4, 2>(a, launch)
                : channels == 10 ? interleaved_of<T, K, 8, 2>(a, launch)
                : channels == 12 ? interleaved_of<T, K, 4, 4>(a, launch)
                : channels == 20 ? interleaved_of<T, K, 8, 4>(a, launch)
                                 : -1;
        }
        return channels <= run    ? interleaved_of<T, K, 1, run>(a, launch)
            : channels <= 2 * run ? interleaved_of<T, K, 2, run>(a, launch)
            : channels <= 4 * run ? interleaved_of<T, K, 4, run>(a, launch)
            : channels <= 8 * run ? interleaved_of<T, K, 8, run>(a, launch)
                                  : -1;
    }
    if (a.pixels % run != 0 || !aligned(a.h1) || !aligned(a.h2) || !aligned(a.h1_out) || !aligned(a.h2_out))
    {
        return -1;
    }
    return channels <= kPlanarChannels    ? planar_of<T, K, K>(a, launch)
        : channels <= 2 * kPlanarChannels ? planar_of<T, K, 2 * K>(a, launch)
        : channels <= 4 * kPlanarChannels ? planar_of<T, K, 4 * K>(a, launch)
                                          : -1;
}

template <class T, class Launch>
int gate_of(const GateArguments& a, bool channels_last, Launch&& launch)
{
    const int answer = a.k == 1 ? one_pass_of<T, 1>(a, channels_last, launch)
        : a.k == 4              ? one_pass_of<T, 4>(a, channels_last, launch)
                                : -1;
    if (answer >= 0)
    {
        return answer;
    }
    const Offset sequences = a.n;
    return channels_last
        ? launch_units(launch, gate_any_interleaved_kernel<T>, sequences * a.pixels, kAnyWarps, kAnyThreads, a)
        : launch_units(
              launch, gate_any_planar_kernel<T>, sequences * ((a.pixels + kWarp - 1) / kWarp), 1, kAnyThreads, a);
}

template <class Launch>
int dispatch(const DiirfArguments& a, int dtype, Launch&& launch)
{
    if (!all_given(a.x, a.h1, a.h2, a.coefficients, a.y, a.h1_out, a.h2_out) || a.n < 1 || a.t < 1 || a.k < 1
        || a.pixels < 1)
    {
        return cudaErrorInvalidValue;
    }
    return dtype == EULERNET_FP32 ? diirf_of<float>(a, launch)
        : dtype == EULERNET_FP16  ? diirf_of<__half>(a, launch)
        : dtype == EULERNET_BF16  ? diirf_of<__nv_bfloat16>(a, launch)
                                  : cudaErrorInvalidValue;
}

template <class Launch>
int dispatch(const GateArguments& a, int dtype, bool channels_last, Launch&& launch)
{
    if (!all_given(a.x, a.weight, a.h1, a.h2, a.coefficients, a.y, a.h1_out, a.h2_out) || a.n < 1 || a.t < 1 || a.k < 1
        || a.pixels < 1 || a.c < 1 || a.c % a.k != 0)
    {
        return cudaErrorInvalidValue;
    }
    return dtype == EULERNET_FP32 ? gate_of<float>(a, channels_last, launch)
        : dtype == EULERNET_FP16  ? gate_of<__half>(a, channels_last, launch)
        : dtype == EULERNET_BF16  ? gate_of<__nv_bfloat16>(a, channels_last, launch)
                                  : cudaErrorInvalidValue;
}

} // namespace eulernet

#endif
