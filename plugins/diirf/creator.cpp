// SPDX-License-Identifier: Apache-2.0
// See creator.h. To add an op, add it to `creators`.
#include "creator.h"

#include <cstring>
#include <stdexcept>
#include <string>

#include "log.h"
#include "plugin.h"

namespace eulernet
{
namespace
{

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

// The ops have no attributes; the only field of a plan is the version that serialized it.
void check_fields(const PluginFieldCollection* fields, TensorRTPhase phase)
{
    if (fields == nullptr || fields->nbFields < 0 || (fields->nbFields > 0 && fields->fields == nullptr))
    {
        throw std::invalid_argument("no field collection");
    }
    bool versioned = false;
    for (int i = 0; i < fields->nbFields; ++i)
    {
        const PluginField& field = fields->fields[i];
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
            throw std::invalid_argument("the plan has " + name + " " + std::to_string(version) + ", this library has "
                + std::to_string(kSerializationVersion) + ": build the plan again with this library");
        }
        versioned = true;
    }
    if (phase == TensorRTPhase::kRUNTIME && !versioned)
    {
        throw std::invalid_argument(
            std::string("the plan has no field ") + kSerializationField + ": build the plan again");
    }
}

class Creator final : public nvinfer1::IPluginCreatorV3One
{
public:
    explicit Creator(const Op& op)
        : op_(op)
    {
    }

    nvinfer1::IPluginV3* createPlugin(
        const nvinfer1::AsciiChar*, const PluginFieldCollection* fields, TensorRTPhase phase) noexcept override
    {
        return guarded<nvinfer1::IPluginV3*>(op_.name, "createPlugin", nullptr, [&] {
            check_fields(fields, phase);
            return new Plugin(op_);
        });
    }

    // No fields: the parser warns about every field listed here that a node lacks.
    const PluginFieldCollection* getFieldNames() noexcept override
    {
        return &fields_;
    }

    const nvinfer1::AsciiChar* getPluginName() const noexcept override
    {
        return op_.name;
    }

    const nvinfer1::AsciiChar* getPluginVersion() const noexcept override
    {
        return op_.version;
    }

    const nvinfer1::AsciiChar* getPluginNamespace() const noexcept override
    {
        return kNamespace;
    }

private:
    const Op& op_;
    PluginFieldCollection fields_{0, nullptr};
};

} // namespace

const std::array<nvinfer1::IPluginCreatorV3One*, kOps>& creators() noexcept
{
    static Creator diirf(kDiirf);
    static Creator gate(kDiirfGate);
    static const std::array<nvinfer1::IPluginCreatorV3One*, kOps> all{&diirf, &gate};
    return all;
}

} // namespace eulernet
