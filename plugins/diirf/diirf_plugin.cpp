// See diirf_plugin.h.
#include "diirf_plugin.h"

#include <stdexcept>
#include <string>

#include "biquad.cuh"
#include "kernels_c.h"

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

} // namespace

DiirfPlugin::DiirfPlugin()
    : Plugin(kName,
        {{"x", 5, Input::Kind::Any}, {"h1", 4, Input::Kind::Float}, {"h2", 4, Input::Kind::Float},
            {"coefficients", 2, Input::Kind::Float}},
        H1)
{
}

bool DiirfPlugin::channels_last(nvinfer1::Dims const&) const
{
    return false;
}

void DiirfPlugin::check_sizes(Sizes const& in) const
{
    for (const int state : {H1, H2})
    {
        check_equal(in, X, 0, state, 0);
        for (int axis = 1; axis < 4; ++axis)
        {
            check_equal(in, X, axis + 1, state, axis);
        }
    }
    check_equal(in, X, 2, COEFFICIENTS, 0);
    const int64_t columns = in[COEFFICIENTS].d[1];
    if (columns >= 0 && columns != kCoefficients)
    {
        throw std::invalid_argument("coefficients has " + std::to_string(columns) + " columns, needs 5");
    }
}

int DiirfPlugin::launch(Sizes const& in, int dtype, bool, void const* const* inputs, void* const* outputs,
    cudaStream_t stream) const
{
    const auto& x = in[X].d;
    return eulernet_diirf(inputs[X], static_cast<const float*>(inputs[H1]), static_cast<const float*>(inputs[H2]),
        static_cast<const float*>(inputs[COEFFICIENTS]), outputs[0], static_cast<float*>(outputs[1]),
        static_cast<float*>(outputs[2]), int(x[0]), int(x[1]), int(x[2]), int(x[3]), int(x[4]), dtype, stream);
}

nvinfer1::IPluginV3* DiirfPlugin::copy() const
{
    return new DiirfPlugin();
}

} // namespace eulernet
