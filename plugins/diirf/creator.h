// SPDX-License-Identifier: Apache-2.0
// The creators through which TensorRT makes the plugins, one per op.
#ifndef EULERNET_CREATOR_H
#define EULERNET_CREATOR_H

#include <array>
#include <cstddef>

#include <NvInferRuntime.h>

namespace eulernet
{

constexpr std::size_t kOps = 2;

// Alive until the process ends, as the registry requires.
const std::array<nvinfer1::IPluginCreatorV3One*, kOps>& creators() noexcept;

} // namespace eulernet

#endif
