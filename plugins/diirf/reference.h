// SPDX-License-Identifier: Apache-2.0
// DIIRF and DIIRFGate as plain loops over host memory: the reference for the kernels.
// Real is the type of the arithmetic. Data are float, which represents every fp16 and bf16 value. Tensors: kernels_c.h.
#ifndef EULERNET_REFERENCE_H
#define EULERNET_REFERENCE_H

#include <cstddef>

#include "biquad.cuh"

namespace eulernet
{

template <class Real>
void reference_diirf(const float* x, const float* h1, const float* h2, const float* coefficients, float* y,
    float* h1_out, float* h2_out, int n, int t, int k, int pixels)
{
    for (int i = 0; i < n * k; ++i)
    {
        const auto c = Coefficients<Real>::of(coefficients + i % k * kCoefficients);
        for (int p = 0; p < pixels; ++p)
        {
            const std::size_t at = std::size_t(i) * pixels + p; // (N, K, H, W)
            State<Real> state{Real(h1[at]), Real(h2[at])};
            for (int f = 0; f < t; ++f)
            {
                const std::size_t frame = ((std::size_t(i / k) * t + f) * k + i % k) * pixels + p; // (N, T, K, H, W)
                y[frame] = float(biquad(c, Real(x[frame]), state));
            }
            h1_out[at] = float(state.h1);
            h2_out[at] = float(state.h2);
        }
    }
}

// A null status means that every frame is usable.
template <class Real>
void reference_diirf_gate(const float* x, const float* weight, const float* h1, const float* h2,
    const float* coefficients, const int* status, float* y, float* h1_out, float* h2_out, int n, int t, int c, int k,
    int pixels, bool channels_last)
{
    const std::size_t channel_step = channels_last ? 1 : pixels;
    const std::size_t pixel_step = channels_last ? c : 1;
    for (int i = 0; i < n * k; ++i)
    {
        const int map = i % k;
        const auto filter = GateCoefficients<Real>::of(coefficients + map * kGateCoefficients);
        for (int p = 0; p < pixels; ++p)
        {
            const std::size_t at = std::size_t(i) * pixels + p; // (N, K, H, W)
            State<Real> state{Real(h1[at]), Real(h2[at])};
            for (int f = 0; f < t; ++f)
            {
                const int row = i / k * t + f;
                const std::size_t pixel = std::size_t(row) * c * pixels + p * pixel_step;
                Real compressed = 0;
                for (int j = 0; j < c; ++j)
                {
                    compressed += Real(weight[map * c + j]) * Real(x[pixel + j * channel_step]);
                }
                const Real gate = gate_of_frame(filter, compressed, status == nullptr ? 0 : status[row], state);
                for (int j = map * (c / k); j < (map + 1) * (c / k); ++j)
                {
                    y[pixel + j * channel_step] = float(Real(x[pixel + j * channel_step]) * gate);
                }
            }
            h1_out[at] = float(state.h1);
            h2_out[at] = float(state.h2);
        }
    }
}

} // namespace eulernet

#endif
