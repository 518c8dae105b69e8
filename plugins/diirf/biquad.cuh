// SPDX-License-Identifier: Apache-2.0
// DIIRF (SEKE 2022 slides, equations 1 to 3): the biquad in direct form II transposed, and the gate that FCAM computes
// from it. Compiles for the device and, with any C++17 compiler and without CUDA, for the host, where tests compare it
// with scipy.
#ifndef EULERNET_BIQUAD_CUH
#define EULERNET_BIQUAD_CUH

#include <cmath>

#ifdef __CUDACC__
#define EULERNET_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define EULERNET_HOST_DEVICE inline
#endif

namespace eulernet
{

// Bits of a frame's status (eulernet_core.status): with kRelocated the filter starts at this frame; with a bit of
// kNotScored the frame is unusable.
constexpr int kRelocated = 2;
constexpr int kNotScored = 28;

constexpr int kCoefficients = 5;     // length of a row of DIIRF's tensor `coefficients`
constexpr int kGateCoefficients = 7; // of DIIRFGate's: the same five, then s1 and s2

template <class Real>
struct Coefficients
{
    Real b0, b1, b2, a1, a2; // a0 = 1

    EULERNET_HOST_DEVICE static Coefficients of(const float* row)
    {
        return {Real(row[0]), Real(row[1]), Real(row[2]), Real(row[3]), Real(row[4])};
    }
};

template <class Real>
struct State
{
    Real h1, h2;
};

// A row of DIIRFGate's tensor `coefficients`. A start at a frame whose compressed map is x sets h1 = s1 x, h2 = s2 x.
template <class Real>
struct GateCoefficients
{
    Coefficients<Real> filter;
    const float* starts; // s1, s2; they stay in memory, because few frames are starts and registers are scarce

    EULERNET_HOST_DEVICE static GateCoefficients of(const float* row)
    {
        return {Coefficients<Real>::of(row), row + kCoefficients};
    }
};

// a b, rounded before a sum uses it: nvcc would otherwise fuse a product and a sum into one rounding.
EULERNET_HOST_DEVICE float product(float a, float b)
{
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}
EULERNET_HOST_DEVICE double product(double a, double b)
{
    return a * b;
}

// y[n] = b0 x[n] + h1[n-1];  h1[n] = b1 x[n] + h2[n-1] - a1 y[n];  h2[n] = b2 x[n] - a2 y[n]
template <class Real>
EULERNET_HOST_DEVICE Real biquad(const Coefficients<Real>& c, Real x, State<Real>& state)
{
    const Real y = product(c.b0, x) + state.h1; // exactly 0 after a start with s1 = -b0
    state.h1 = c.b1 * x + state.h2 - c.a1 * y;
    state.h2 = c.b2 * x - c.a2 * y;
    return y;
}

// 1 / (1 + e^-y). The fast intrinsics would increase the relative error of small gates and save no time: one
// exponential per pixel and map is hidden by memory latency.
template <class Real>
EULERNET_HOST_DEVICE Real sigmoid(Real y)
{
    return Real(1) / (Real(1) + std::exp(-y));
}

// The gate of one pixel of one frame. An unusable frame is filtered like any other but does not enter the state.
// A start, at a usable frame or not, replaces the state, so that a NaN in it is gone.
template <class Real>
EULERNET_HOST_DEVICE Real gate_of_frame(
    const GateCoefficients<Real>& c, Real compressed, int status, State<Real>& state)
{
    if ((status & kRelocated) != 0)
    {
        state = State<Real>{product(Real(c.starts[0]), compressed), product(Real(c.starts[1]), compressed)};
    }
    State<Real> next = state;
    const Real y = biquad(c.filter, compressed, next);
    if ((status & kNotScored) == 0)
    {
        state = next;
    }
    return sigmoid(y);
}

} // namespace eulernet

#endif
