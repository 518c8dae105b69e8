// The creators through which TensorRT makes the plugins, one an op.
#ifndef EULERNET_CREATOR_H
#define EULERNET_CREATOR_H

#include <array>

#include <NvInferRuntime.h>

namespace eulernet
{

// In the process's memory from load to end, as the registry wants them.
std::array<nvinfer1::IPluginCreatorV3One*, 2> const& creators() noexcept;

} // namespace eulernet

#endif
