// SPDX-License-Identifier: Apache-2.0
// libeulernet_plugins_autoload.so registers the plugins when it is loaded: for Triton's
// --backend-config=tensorrt,plugins=… and for LD_PRELOAD.
#include <cstring>

#include "creator.h"
#include "log.h"
#include "plugin.h"

namespace
{

bool same(const char* a, const char* b)
{
    return a != nullptr && b != nullptr && std::strcmp(a, b) == 0;
}

// Searches the list of creators: getCreator would log an error for each one that is not registered yet.
bool is_registered(nvinfer1::IPluginRegistry& registry, const nvinfer1::IPluginCreatorV3One& wanted)
{
    int32_t count = 0;
    auto* const* all = registry.getAllCreators(&count);
    for (int32_t i = 0; all != nullptr && i < count; ++i)
    {
        if (all[i] == nullptr || !same(all[i]->getInterfaceInfo().kind, wanted.getInterfaceInfo().kind))
        {
            continue;
        }
        const auto& found = *static_cast<const nvinfer1::IPluginCreatorV3One*>(all[i]);
        if (same(found.getPluginName(), wanted.getPluginName())
            && same(found.getPluginVersion(), wanted.getPluginVersion())
            && same(found.getPluginNamespace(), wanted.getPluginNamespace()))
        {
            return true;
        }
    }
    return false;
}

struct Registration
{
    Registration() noexcept
    {
        eulernet::set_global_logger(getLogger);
        auto* registry = getPluginRegistry();
        for (auto* creator : eulernet::creators())
        {
            const char* name = creator->getPluginName();
            if (registry == nullptr)
            {
                eulernet::log_error(name, "load", "TensorRT has no plugin registry");
            }
            // libeulernet_plugins.so may have registered the same kernels already; then the registry keeps those.
            else if (!is_registered(*registry, *creator) && !registry->registerCreator(*creator, eulernet::kNamespace))
            {
                eulernet::log_error(name, "load", "TensorRT refused the registration");
            }
        }
    }
};

const Registration registration;

} // namespace
