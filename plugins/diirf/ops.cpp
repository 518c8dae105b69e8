// SPDX-License-Identifier: Apache-2.0
// See ops.h.
#include "ops.h"

#include <stdexcept>
#include <string>

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

void check_columns(const Op& op, const Sizes& in, int input, int columns)
{
    const int64_t found = in[input].d[1];
    if (found >= 0 && found != columns)
    {
        throw std::invalid_argument(std::string(op.inputs[input].name) + " has " + std::to_string(found)
            + " columns, needs " + std::to_string(columns));
    }
}

} // namespace eulernet
