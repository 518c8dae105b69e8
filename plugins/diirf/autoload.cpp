// SPDX-License-Identifier: Apache-2.0
// libeulernet_plugins_autoload.so registers the plugins when it is loaded: for Triton's
// --backend-config=tensorrt,plugins=… and for LD_PRELOAD.
#include "creator.h"
#include "log.h"
#include "plugin.h"

namespace
{

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
            else if (registry->getCreator(name, creator->getPluginVersion(), eulernet::kNamespace) == nullptr
                && !registry->registerCreator(*creator, eulernet::kNamespace))
            {
                eulernet::log_error(name, "load", "TensorRT refused the registration");
            }
        }
    }
};

const Registration registration;

} // namespace
