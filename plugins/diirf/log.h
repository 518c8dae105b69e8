// SPDX-License-Identifier: Apache-2.0
// Logs the plugins' errors: to TensorRT's logger if one is known, else to standard error.
#ifndef EULERNET_LOG_H
#define EULERNET_LOG_H

#include <exception>
#include <string>

#include <NvInferRuntime.h>

namespace eulernet
{

// Sets the finder through which TensorRT gives a library that it loaded the caller's logger.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// Sets the function that returns the process's logger, for a library that registers itself.
void set_global_logger(nvinfer1::ILogger* (*logger)() noexcept) noexcept;

// Logs "eulernet::DIIRFGate, enqueue: what".
void log_error(const char* plugin, const char* method, const char* what) noexcept;

// Runs `body`. Logs an exception and returns `otherwise` instead. Every method that TensorRT calls uses this function:
// an exception that leaves a noexcept method ends the server.
template <class Result, class Body>
Result guarded(const char* plugin, const char* method, Result otherwise, Body&& body) noexcept
{
    try
    {
        return body();
    }
    catch (const std::exception& error)
    {
        log_error(plugin, method, error.what());
    }
    catch (...)
    {
        log_error(plugin, method, "unknown exception");
    }
    return otherwise;
}

} // namespace eulernet

#endif
