// SPDX-License-Identifier: Apache-2.0
// Entry points of a plugin library for tests: a proxy around each creator and plugin writes every call of TensorRT to
// the file EULERNET_RECORD, a JSON object per line, and makes the fault that EULERNET_FAULT names.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "creator.h"
#include "log.h"

namespace
{

using namespace nvinfer1;

bool faulty(const char* fault)
{
    const char* chosen = std::getenv("EULERNET_FAULT");
    return chosen != nullptr && std::string(chosen) == fault;
}

// Appends {"call": ..., "op": ..., more}. TensorRT builds in one thread here.
void record(const char* call, const std::string& op, const std::string& more = "")
{
    const char* path = std::getenv("EULERNET_RECORD");
    if (std::FILE* file = path == nullptr ? nullptr : std::fopen(path, "a"))
    {
        std::fprintf(file, "{\"call\": \"%s\", \"op\": \"%s\"%s}\n", call, op.c_str(), more.c_str());
        std::fclose(file);
    }
}

std::string list(const Dims& dims)
{
    std::string text;
    for (int i = 0; i < dims.nbDims; ++i)
    {
        text += (i == 0 ? "" : ", ") + std::to_string(dims.d[i]);
    }
    return "[" + text + "]";
}

std::string tensors(const DynamicPluginTensorDesc* all, int32_t count)
{
    std::string text;
    for (int32_t i = 0; i < count; ++i)
    {
        const auto& each = all[i];
        text += std::string(i == 0 ? "" : ", ") + "{\"type\": " + std::to_string(int(each.desc.type))
            + ", \"format\": " + std::to_string(int(each.desc.format)) + ", \"min\": " + list(each.min)
            + ", \"opt\": " + list(each.opt) + ", \"max\": " + list(each.max) + "}";
    }
    return "[" + text + "]";
}

class Recorded final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime
{
public:
    explicit Recorded(IPluginV3* inner)
        : inner_(inner)
        , core_(static_cast<IPluginV3OneCore*>(inner->getCapabilityInterface(PluginCapabilityType::kCORE)))
        , build_(static_cast<IPluginV3OneBuild*>(inner->getCapabilityInterface(PluginCapabilityType::kBUILD)))
        , runtime_(static_cast<IPluginV3OneRuntime*>(inner->getCapabilityInterface(PluginCapabilityType::kRUNTIME)))
    {
    }

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD:
            return faulty("no_build_capability") ? nullptr : static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override
    {
        record("clone", core_->getPluginName());
        return faulty("null_clone") ? nullptr : new Recorded(inner_->clone());
    }

    const AsciiChar* getPluginName() const noexcept override
    {
        return core_->getPluginName();
    }

    const AsciiChar* getPluginVersion() const noexcept override
    {
        return core_->getPluginVersion();
    }

    const AsciiChar* getPluginNamespace() const noexcept override
    {
        return core_->getPluginNamespace();
    }

    int32_t getNbOutputs() const noexcept override
    {
        return build_->getNbOutputs();
    }

    int32_t configurePlugin(const DynamicPluginTensorDesc* in, int32_t inputs, const DynamicPluginTensorDesc* out,
        int32_t outputs) noexcept override
    {
        record("configurePlugin", core_->getPluginName(),
            ", \"in\": " + tensors(in, inputs) + ", \"out\": " + tensors(out, outputs));
        return faulty("failing_configure") ? 1 : build_->configurePlugin(in, inputs, out, outputs);
    }

    int32_t getOutputDataTypes(
        DataType* out, int32_t outputs, const DataType* in, int32_t inputs) const noexcept override
    {
        record("getOutputDataTypes", core_->getPluginName());
        const int32_t code = build_->getOutputDataTypes(out, outputs, in, inputs);
        out[1] = faulty("wrong_output_type") ? DataType::kHALF : out[1];
        return code;
    }

    int32_t getOutputShapes(const DimsExprs* in, int32_t inputs, const DimsExprs* shapes, int32_t count, DimsExprs* out,
        int32_t outputs, IExprBuilder& builder) noexcept override
    {
        record("getOutputShapes", core_->getPluginName());
        if (faulty("failing_shapes"))
        {
            return eulernet::guarded(getPluginName(), "getOutputShapes", 1, []() -> int32_t { throw 1; });
        }
        const int32_t code = build_->getOutputShapes(in, inputs, shapes, count, out, outputs, builder);
        out[1] = faulty("wrong_output_shape") ? in[0] : out[1];
        return code;
    }

    bool supportsFormatCombination(
        int32_t position, const DynamicPluginTensorDesc* in_out, int32_t inputs, int32_t outputs) noexcept override
    {
        record("supportsFormatCombination", core_->getPluginName());
        if (faulty("no_format"))
        {
            return false;
        }
        const bool state = position > inputs;
        return (faulty("states_in_any_format") && state && in_out[position].desc.type == DataType::kFLOAT)
            || build_->supportsFormatCombination(position, in_out, inputs, outputs);
    }

    const char* getTimingCacheID() noexcept override
    {
        record("getTimingCacheID", core_->getPluginName());
        return build_->getTimingCacheID();
    }

    int32_t onShapeChange(
        const PluginTensorDesc* in, int32_t inputs, const PluginTensorDesc* out, int32_t outputs) noexcept override
    {
        record("onShapeChange", core_->getPluginName());
        return runtime_->onShapeChange(in, inputs, out, outputs);
    }

    int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override
    {
        record("enqueue", core_->getPluginName());
        return runtime_->enqueue(in, out, inputs, outputs, workspace, stream);
    }

    IPluginV3* attachToContext(IPluginResourceContext* context) noexcept override
    {
        record("attachToContext", core_->getPluginName());
        return new Recorded(runtime_->attachToContext(context));
    }

    const PluginFieldCollection* getFieldsToSerialize() noexcept override
    {
        record("getFieldsToSerialize", core_->getPluginName());
        return faulty("no_fields") ? &none_ : runtime_->getFieldsToSerialize();
    }

private:
    std::unique_ptr<IPluginV3> inner_;
    IPluginV3OneCore* core_;
    IPluginV3OneBuild* build_;
    IPluginV3OneRuntime* runtime_;
    PluginFieldCollection none_{0, nullptr};
};

class RecordedCreator final : public IPluginCreatorV3One
{
public:
    explicit RecordedCreator(IPluginCreatorV3One& inner)
        : inner_(inner)
    {
    }

    IPluginV3* createPlugin(
        const AsciiChar* name, const PluginFieldCollection* fields, TensorRTPhase phase) noexcept override
    {
        record("createPlugin", inner_.getPluginName());
        auto* made = inner_.createPlugin(name, fields, phase);
        return made == nullptr ? nullptr : new Recorded(made);
    }

    const PluginFieldCollection* getFieldNames() noexcept override
    {
        return inner_.getFieldNames();
    }

    const AsciiChar* getPluginName() const noexcept override
    {
        return inner_.getPluginName();
    }

    const AsciiChar* getPluginVersion() const noexcept override
    {
        return inner_.getPluginVersion();
    }

    const AsciiChar* getPluginNamespace() const noexcept override
    {
        return inner_.getPluginNamespace();
    }

private:
    IPluginCreatorV3One& inner_;
};

} // namespace

#define EULERNET_EXPORT extern "C" __attribute__((visibility("default")))

EULERNET_EXPORT IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept
{
    static RecordedCreator first(*eulernet::creators()[0]), second(*eulernet::creators()[1]);
    static IPluginCreatorInterface* all[] = {&first, &second};
    static_assert(eulernet::kOps == sizeof(all) / sizeof(all[0]), "one proxy per op");
    count = int32_t(eulernet::kOps);
    return all;
}

EULERNET_EXPORT void setLoggerFinder(ILoggerFinder* finder) noexcept
{
    eulernet::set_logger_finder(finder);
}
