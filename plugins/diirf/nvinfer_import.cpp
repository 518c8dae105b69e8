// Linked in place of libnvinfer, and never shipped: it has that library's name and the two functions of it that
// autoload.cpp calls, so that the build needs TensorRT's headers only.
#define EULERNET_EXPORT extern "C" __attribute__((visibility("default")))

EULERNET_EXPORT void* getPluginRegistry() noexcept
{
    return nullptr;
}

EULERNET_EXPORT void* getLogger() noexcept
{
    return nullptr;
}
