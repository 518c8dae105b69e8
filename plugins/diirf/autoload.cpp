// libeulernet_plugins_autoload.so: registers the plugins as soon as it is loaded, for those who only load a library:
// Triton's --backend-config=tensorrt,plugins=… and LD_PRELOAD.
#include <cstring>

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
            // Loaded already, by this library's other half: the same kernels, and the first stays.
            else if (registry->getCreator(name, eulernet::kVersion, eulernet::kNamespace) == nullptr
                && !registry->registerCreator(*creator, eulernet::kNamespace))
            {
                eulernet::log_error(name, "load", "TensorRT refused the registration");
            }
        }
    }
};

Registration const registration;

} // namespace
