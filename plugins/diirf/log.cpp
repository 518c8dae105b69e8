// SPDX-License-Identifier: Apache-2.0
// See log.h.
#include "log.h"

#include <atomic>
#include <cstdio>

namespace eulernet
{
namespace
{

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};
std::atomic<nvinfer1::ILogger* (*)() noexcept> global_logger{nullptr};

nvinfer1::ILogger* find_logger()
{
    if (auto* finder = logger_finder.load())
    {
        if (auto* logger = finder->findLogger())
        {
            return logger;
        }
    }
    auto* const global = global_logger.load();
    return global == nullptr ? nullptr : global();
}

} // namespace

void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept
{
    logger_finder = finder;
}

void set_global_logger(nvinfer1::ILogger* (*logger)() noexcept) noexcept
{
    global_logger = logger;
}

void log_error(const char* plugin, const char* method, const char* what) noexcept
{
    try
    {
        const std::string text = std::string("eulernet::") + plugin + ", " + method + ": " + what;
        if (auto* logger = find_logger())
        {
            logger->log(nvinfer1::ILogger::Severity::kERROR, text.c_str());
            return;
        }
        std::fprintf(stderr, "%s\n", text.c_str());
    }
    catch (...)
    {
        std::fputs("eulernet plugin: an error occurred and could not be logged\n", stderr);
    }
}

} // namespace eulernet
