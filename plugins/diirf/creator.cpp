// See creator.h. A new op is one more line in `creators`.
#include "creator.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "diirf_plugin.h"
#include "gate_plugin.h"
#include "log.h"

namespace eulernet
{
namespace
{

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

// The ops have no attributes; a plan has the version it was serialized by.
void check_fields(PluginFieldCollection const* fields, TensorRTPhase phase)
{
    if (fields == nullptr || fields->nbFields < 0 || (fields->nbFields > 0 && fields->fields == nullptr))
    {
        throw std::invalid_argument("no field collection");
    }
    bool versioned = false;
    for (int i = 0; i < fields->nbFields; ++i)
    {
        PluginField const& field = fields->fields[i];
        const std::string name = field.name == nullptr ? "(no name)" : field.name;
        if (name != kSerializationField)
        {
            throw std::invalid_argument("field " + name + ": the op has no attributes");
        }
        if (field.type != PluginFieldType::kINT32 || field.length != 1 || field.data == nullptr)
        {
            throw std::invalid_argument("field " + name + " must be one int32");
        }
        int32_t version = 0;
        std::memcpy(&version, field.data, sizeof(version));
        if (version != kSerializationVersion)
        {
            throw std::invalid_argument("the plan is of " + name + " " + std::to_string(version) + ", this library of "
                + std::to_string(kSerializationVersion) + ": build the plan again with it");
        }
        versioned = true;
    }
    if (phase == TensorRTPhase::kRUNTIME && !versioned)
    {
        throw std::invalid_argument(std::string("the plan has no field ") + kSerializationField + ": build it again");
    }
}

template <class Op>
class Creator final : public nvinfer1::IPluginCreatorV3One
{
public:
    nvinfer1::IPluginV3* createPlugin(
        nvinfer1::AsciiChar const*, PluginFieldCollection const* fields, TensorRTPhase phase) noexcept override
    {
        return guarded<nvinfer1::IPluginV3*>(Op::kName, "createPlugin", nullptr, [&] {
            check_fields(fields, phase);
            return new Op();
        });
    }

    // None: the parser warns of every field named here that a node lacks.
    PluginFieldCollection const* getFieldNames() noexcept override
    {
        return &fields_;
    }

    nvinfer1::AsciiChar const* getPluginName() const noexcept override
    {
        return Op::kName;
    }

    nvinfer1::AsciiChar const* getPluginVersion() const noexcept override
    {
        return kVersion;
    }

    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept override
    {
        return kNamespace;
    }

private:
    PluginFieldCollection fields_{0, nullptr};
};

} // namespace

std::array<nvinfer1::IPluginCreatorV3One*, 2> const& creators() noexcept
{
    static Creator<DiirfPlugin> diirf;
    static Creator<GatePlugin> gate;
    static std::array<nvinfer1::IPluginCreatorV3One*, 2> const all{&diirf, &gate};
    return all;
}

} // namespace eulernet
