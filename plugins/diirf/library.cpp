// SPDX-License-Identifier: Apache-2.0
// Entry points of libeulernet_plugins.so, for TensorRT's own loaders: IPluginRegistry::loadLibrary, trtexec
// --dynamicPlugins, IBuilderConfig::setPluginsToSerialize.
#include <algorithm>

#include "creator.h"
#include "log.h"

#define EULERNET_EXPORT extern "C" __attribute__((visibility("default")))

EULERNET_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept
{
    static const auto all = [] {
        std::array<nvinfer1::IPluginCreatorInterface*, eulernet::kOps> interfaces{};
        std::copy(eulernet::creators().begin(), eulernet::creators().end(), interfaces.begin());
        return interfaces;
    }();
    count = int32_t(all.size());
    return all.data();
}

EULERNET_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept
{
    eulernet::set_logger_finder(finder);
}
