// SPDX-License-Identifier: Apache-2.0
// Replaces libnvinfer at link time and is never shipped. It has that library's name and the two functions that
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
