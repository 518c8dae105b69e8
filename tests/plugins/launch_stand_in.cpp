// SPDX-License-Identifier: Apache-2.0
// Replaces the kernels in a plugin library for TensorRT's builder, which never launches one: compiled by g++ without
// nvcc. Every launch fails, so that such a library can't be mistaken for the real one.
#include "kernels_c.h"

namespace
{

constexpr int kNotSupported = 801; // cudaErrorNotSupported

} // namespace

extern "C" int eulernet_diirf(
    const void*, const float*, const float*, const float*, void*, float*, float*, int, int, int, int, int, int, void*)
{
    return kNotSupported;
}

extern "C" int eulernet_diirf_gate(const void*, const float*, const float*, const float*, const float*, const int*,
    void*, float*, float*, int, int, int, int, int, int, int, int, void*)
{
    return kNotSupported;
}

extern "C" const char* eulernet_error_string(int)
{
    return "cudaErrorNotSupported: this library has no kernels";
}
