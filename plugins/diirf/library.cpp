// Entry points of libeulernet_plugins.so, which TensorRT loads itself: IPluginRegistry::loadLibrary, trtexec
// --dynamicPlugins, IBuilderConfig::setPluginsToSerialize.
#include "creator.h"
#include "log.h"

#define EULERNET_EXPORT extern "C" __attribute__((visibility("default")))

EULERNET_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept
{
    static std::array<nvinfer1::IPluginCreatorInterface*, 2> const all{
        eulernet::creators()[0], eulernet::creators()[1]};
    count = int32_t(all.size());
    return all.data();
}

EULERNET_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept
{
    eulernet::set_logger_finder(finder);
}
