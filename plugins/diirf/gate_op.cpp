// SPDX-License-Identifier: Apache-2.0
// eulernet::DIIRFGate: a whole feature-compressed attention module (FCAM).
#include <iterator>
#include <stdexcept>
#include <string>

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
    WEIGHT,
    H1,
    H2,
    COEFFICIENTS,
    STATUS
};

// TensorRT pads channels to multiples of 8 in its format for halves; the kernels support no padding.
constexpr int kFormatRun = 8;

constexpr Input kInputs[] = {
    {"x", 4, Input::Kind::Any},
    {"weight", 2, Input::Kind::Float},
    {"h1", 4, Input::Kind::Float},
    {"h2", 4, Input::Kind::Float},
    {"coefficients", 2, Input::Kind::Float},
    {"status", 2, Input::Kind::Int},
};

bool channels_last(const nvinfer1::Dims& x)
{
    return x.nbDims == 4 && x.d[1] > 0 && x.d[1] % kFormatRun == 0;
}

void check_sizes(const Op& op, const Sizes& in)
{
    check_equal(op, in, WEIGHT, 1, X, 1);
    check_equal(op, in, COEFFICIENTS, 0, WEIGHT, 0);
    for (const int state : {H1, H2})
    {
        check_equal(op, in, state, 0, STATUS, 0);
        check_equal(op, in, state, 1, WEIGHT, 0);
        check_equal(op, in, state, 2, X, 2);
        check_equal(op, in, state, 3, X, 3);
    }
    const int64_t maps = in[WEIGHT].d[0], channels = in[WEIGHT].d[1];
    if (maps == 0 || (maps > 0 && channels >= 0 && channels % maps != 0))
    {
        throw std::invalid_argument("weight has " + std::to_string(maps) + " rows (maps), which must divide its "
            + std::to_string(channels) + " columns (channels)");
    }
    check_columns(op, in, COEFFICIENTS, kGateCoefficients);
    const int64_t rows = in[X].d[0], sequences = in[STATUS].d[0], frames = in[STATUS].d[1];
    if (rows >= 0 && sequences >= 0 && frames >= 0 && rows != sequences * frames)
    {
        throw std::invalid_argument("x has " + std::to_string(rows) + " frames, status has " + std::to_string(sequences)
            + " sequences of " + std::to_string(frames));
    }
}

int launch(const Sizes& in, int dtype, bool channels_last, const void* const* inputs, void* const* outputs,
    cudaStream_t stream)
{
    const auto& x = in[X].d;
    const auto& status = in[STATUS].d;
    return eulernet_diirf_gate(inputs[X], static_cast<const float*>(inputs[WEIGHT]),
        static_cast<const float*>(inputs[H1]), static_cast<const float*>(inputs[H2]),
        static_cast<const float*>(inputs[COEFFICIENTS]), static_cast<const int*>(inputs[STATUS]), outputs[0],
        static_cast<float*>(outputs[1]), static_cast<float*>(outputs[2]), int(status[0]), int(status[1]), int(x[1]),
        int(in[WEIGHT].d[0]), int(x[2]), int(x[3]), dtype, channels_last, stream);
}

} // namespace

const Op kDiirfGate{"DIIRFGate", "2", kInputs, int(std::size(kInputs)), H1, channels_last, check_sizes, launch};

} // namespace eulernet
