// SPDX-License-Identifier: Apache-2.0
// eulernet::DIIRF: the temporal filter alone.
#include <iterator>

#include "biquad.cuh"
#include "kernels_c.h"
#include "ops.h"

namespace eulernet
{
namespace
{

enum
{
    X,
    H1,
    H2,
    COEFFICIENTS
};

constexpr Input kInputs[] = {
    {"x", 5, Input::Kind::Any},
    {"h1", 4, Input::Kind::Float},
    {"h2", 4, Input::Kind::Float},
    {"coefficients", 2, Input::Kind::Float},
};

bool channels_last(const nvinfer1::Dims&)
{
    return false;
}

void check_sizes(const Op& op, const Sizes& in)
{
    for (const int state : {H1, H2})
    {
        check_equal(op, in, X, 0, state, 0);
        for (int axis = 1; axis < 4; ++axis)
        {
            check_equal(op, in, X, axis + 1, state, axis);
        }
    }
    check_equal(op, in, X, 2, COEFFICIENTS, 0);
    check_columns(op, in, COEFFICIENTS, kCoefficients);
}

int launch(const Sizes& in, int dtype, bool, const void* const* inputs, void* const* outputs, cudaStream_t stream)
{
    const auto& x = in[X].d;
    return eulernet_diirf(inputs[X], static_cast<const float*>(inputs[H1]), static_cast<const float*>(inputs[H2]),
        static_cast<const float*>(inputs[COEFFICIENTS]), outputs[0], static_cast<float*>(outputs[1]),
        static_cast<float*>(outputs[2]), int(x[0]), int(x[1]), int(x[2]), int(x[3]), int(x[4]), dtype, stream);
}

} // namespace

const Op kDiirf{"DIIRF", "1", kInputs, int(std::size(kInputs)), H1, channels_last, check_sizes, launch};

} // namespace eulernet
