// SPDX-License-Identifier: Apache-2.0
// See ops.h.
#include "ops.h"

#include <stdexcept>
#include <string>

#include "biquad.cuh"

namespace eulernet
{

void check_equal(const Op& op, const Sizes& in, int a, int a_axis, int b, int b_axis)
{
    const int64_t first = in[a].d[a_axis], second = in[b].d[b_axis];
    if (first >= 0 && second >= 0 && first != second)
    {
        throw std::invalid_argument(std::string(op.inputs[a].name) + " has size " + std::to_string(first)
            + " in dimension " + std::to_string(a_axis) + ", but " + op.inputs[b].name + " has size "
            + std::to_string(second) + " in dimension " + std::to_string(b_axis));
    }
}

void check_coefficients(const Op& op, const Sizes& in, int input)
{
    const int64_t columns = in[input].d[1];
    if (columns >= 0 && columns != kCoefficients)
    {
        throw std::invalid_argument(std::string(op.inputs[input].name) + " has " + std::to_string(columns)
            + " columns, needs " + std::to_string(kCoefficients));
    }
}

} // namespace eulernet
