// Where the plugin's errors go: to TensorRT's logger where one is known, else to standard error.
#ifndef EULERNET_LOG_H
#define EULERNET_LOG_H

#include <exception>
#include <string>

#include <NvInferRuntime.h>

namespace eulernet
{

// TensorRT's way to the logger of whoever calls the plugin; of a library that it loaded itself.
void set_logger_finder(nvinfer1::ILoggerFinder* finder) noexcept;

// The process's logger, where the library calls TensorRT itself.
void set_global_logger(nvinfer1::ILogger* (*logger)() noexcept) noexcept;

// "DIIRFGate, enqueue: what".
void log_error(const char* plugin, const char* method, const char* what) noexcept;

// Runs `body`; whatever it throws is logged and becomes `otherwise`. Every method that TensorRT calls goes through
// here: an exception that leaves a noexcept method ends the server.
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
