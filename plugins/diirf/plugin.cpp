// SPDX-License-Identifier: Apache-2.0
// See plugin.h.
#include "plugin.h"

#include <limits>
#include <stdexcept>
#include <string>

#include "kernels_c.h"
#include "log.h"

#ifndef EULERNET_KERNELS_ID
#error "define EULERNET_KERNELS_ID: a text that changes with the kernels and their compiler (CMakeLists.txt)"
#endif

namespace eulernet
{
namespace
{

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr int kFailed = 1;
constexpr int64_t kUnknown = -1;

const PluginTensorDesc& plain(const PluginTensorDesc& desc)
{
    return desc;
}

const PluginTensorDesc& plain(const DynamicPluginTensorDesc& desc)
{
    return desc.desc;
}

// The kernels' code for the type of x, or -1 if they do not support it.
int dtype_code(DataType type)
{
    return type == DataType::kFLOAT ? EULERNET_FP32
        : type == DataType::kHALF   ? EULERNET_FP16
        : type == DataType::kBF16   ? EULERNET_BF16
                                    : -1;
}

// TensorRT's format for "channels last": in multiples of 8 for halves, unpadded for floats.
TensorFormat channels_last_format(DataType type)
{
    return type == DataType::kFLOAT ? TensorFormat::kHWC : TensorFormat::kHWC8;
}

bool fits(Input::Kind kind, DataType type)
{
    return kind == Input::Kind::Any ? dtype_code(type) >= 0
        : kind == Input::Kind::Int  ? type == DataType::kINT32
                                    : type == DataType::kFLOAT;
}

void check_linear(TensorFormat format, const char* what)
{
    if (format != TensorFormat::kLINEAR)
    {
        throw std::invalid_argument(
            std::string(what) + " has TensorRT's format " + std::to_string(int(format)) + ", needs linear");
    }
}

Dims known_sizes(const DimsExprs& exprs)
{
    Dims dims{};
    dims.nbDims = exprs.nbDims;
    for (int i = 0; i < exprs.nbDims && i < Dims::MAX_DIMS; ++i)
    {
        const auto* size = exprs.d[i];
        dims.d[i] = size != nullptr && size->isConstant() ? size->getConstantValue() : kUnknown;
    }
    return dims;
}

template <class T>
void check_given(const T* pointer, const char* what)
{
    if (pointer == nullptr)
    {
        throw std::invalid_argument(std::string(what) + " is a null pointer");
    }
}

} // namespace

Plugin::Plugin(const Op& op)
    : op_(op)
    , field_(kSerializationField, &kSerializationVersion, nvinfer1::PluginFieldType::kINT32, 1)
    , fields_{1, &field_}
{
}

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept
{
    switch (type)
    {
    case nvinfer1::PluginCapabilityType::kCORE: return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD: return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME: return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

const nvinfer1::AsciiChar* Plugin::getPluginName() const noexcept
{
    return op_.name;
}

const nvinfer1::AsciiChar* Plugin::getPluginVersion() const noexcept
{
    return op_.version;
}

const nvinfer1::AsciiChar* Plugin::getPluginNamespace() const noexcept
{
    return kNamespace;
}

nvinfer1::IPluginV3* Plugin::clone() noexcept
{
    return guarded<nvinfer1::IPluginV3*>(op_.name, "clone", nullptr, [&] { return new Plugin(op_); });
}

int32_t Plugin::getNbOutputs() const noexcept
{
    return kOutputs;
}

int32_t Plugin::configurePlugin(
    const DynamicPluginTensorDesc* in, int32_t inputs, const DynamicPluginTensorDesc* out, int32_t outputs) noexcept
{
    return guarded(op_.name, "configurePlugin", kFailed, [&] {
        check(in, inputs, out, outputs);
        return 0;
    });
}

int32_t Plugin::getOutputDataTypes(DataType* out, int32_t outputs, const DataType* in, int32_t inputs) const noexcept
{
    return guarded(op_.name, "getOutputDataTypes", kFailed, [&] {
        check_counts(inputs, outputs);
        check_given(in, "input types");
        check_given(out, "output types");
        for (int i = 0; i < inputs; ++i)
        {
            check_type(i, in[i]);
        }
        out[0] = in[0];
        out[1] = out[2] = DataType::kFLOAT;
        return 0;
    });
}

int32_t Plugin::getOutputShapes(const DimsExprs* in, int32_t inputs, const DimsExprs*, int32_t, DimsExprs* out,
    int32_t outputs, nvinfer1::IExprBuilder&) noexcept
{
    return guarded(op_.name, "getOutputShapes", kFailed, [&] {
        check_counts(inputs, outputs);
        check_given(in, "input shapes");
        check_given(out, "output shapes");
        Sizes sizes;
        for (int i = 0; i < inputs; ++i)
        {
            sizes.push_back(known_sizes(in[i]));
        }
        check_shapes(sizes);
        out[0] = in[0];
        out[1] = in[op_.first_state];
        out[2] = in[op_.first_state + 1];
        return 0;
    });
}

bool Plugin::supportsFormatCombination(
    int32_t position, const DynamicPluginTensorDesc* in_out, int32_t inputs, int32_t outputs) noexcept
{
    return guarded(op_.name, "supportsFormatCombination", false, [&] {
        check_counts(inputs, outputs);
        check_given(in_out, "descriptions");
        if (position < 0 || position >= inputs + outputs)
        {
            throw std::invalid_argument(
                "position " + std::to_string(position) + " of " + std::to_string(inputs + outputs) + " tensors");
        }
        const PluginTensorDesc& asked = in_out[position].desc;
        const PluginTensorDesc& x = in_out[0].desc;
        if (position == 0)
        {
            return fits(op_.inputs[0].kind, asked.type)
                && (asked.format == TensorFormat::kLINEAR
                    || (asked.format == channels_last_format(asked.type) && op_.channels_last(x.dims)));
        }
        if (position == inputs) // y
        {
            return asked.type == x.type && asked.format == x.format;
        }
        const auto kind = position < inputs ? op_.inputs[position].kind : Input::Kind::Float;
        return fits(kind, asked.type) && asked.format == TensorFormat::kLINEAR;
    });
}

const char* Plugin::getTimingCacheID() noexcept
{
    return EULERNET_KERNELS_ID; // no attributes: kernels, shapes and formats determine the timing
}

int32_t Plugin::onShapeChange(
    const PluginTensorDesc* in, int32_t inputs, const PluginTensorDesc* out, int32_t outputs) noexcept
{
    return guarded(op_.name, "onShapeChange", kFailed, [&] {
        check(in, inputs, out, outputs);
        return 0;
    });
}

int32_t Plugin::enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
    void* const* outputs, void*, cudaStream_t stream) noexcept
{
    return guarded(op_.name, "enqueue", kFailed, [&] {
        const int count = op_.input_count;
        check(in, count, out, kOutputs);
        check_given(inputs, "list of inputs");
        check_given(outputs, "list of outputs");
        Sizes sizes;
        bool empty = false;
        for (int i = 0; i < count; ++i)
        {
            sizes.push_back(in[i].dims);
            for (int axis = 0; axis < in[i].dims.nbDims; ++axis)
            {
                const int64_t size = in[i].dims.d[axis];
                if (size < 0 || size > std::numeric_limits<int>::max())
                {
                    throw std::invalid_argument(
                        std::string(op_.inputs[i].name) + " has a dimension of " + std::to_string(size));
                }
                empty = empty || size == 0;
            }
        }
        if (empty)
        {
            return 0;
        }
        for (int i = 0; i < count; ++i)
        {
            check_given(inputs[i], op_.inputs[i].name);
        }
        for (int i = 0; i < kOutputs; ++i)
        {
            check_given(outputs[i], "an output");
        }
        const bool interleaved = in[0].format != TensorFormat::kLINEAR;
        const int code = op_.launch(sizes, dtype_code(in[0].type), interleaved, inputs, outputs, stream);
        if (code != 0)
        {
            log_error(op_.name, "enqueue", eulernet_error_string(code));
        }
        return code;
    });
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept
{
    return clone();
}

const nvinfer1::PluginFieldCollection* Plugin::getFieldsToSerialize() noexcept
{
    return &fields_;
}

void Plugin::check_counts(int32_t inputs, int32_t outputs) const
{
    if (inputs != op_.input_count || outputs != kOutputs)
    {
        throw std::invalid_argument(std::to_string(inputs) + " inputs and " + std::to_string(outputs)
            + " outputs; the op has " + std::to_string(op_.input_count) + " and " + std::to_string(kOutputs));
    }
}

void Plugin::check_shapes(const Sizes& in) const
{
    for (std::size_t i = 0; i < in.size(); ++i)
    {
        if (in[i].nbDims != op_.inputs[i].rank)
        {
            throw std::invalid_argument(std::string(op_.inputs[i].name) + " has " + std::to_string(in[i].nbDims)
                + " dimensions, needs " + std::to_string(op_.inputs[i].rank));
        }
    }
    op_.check_sizes(op_, in);
}

void Plugin::check_type(int input, DataType type) const
{
    if (!fits(op_.inputs[input].kind, type))
    {
        static const char* const wanted[] = {"fp32, fp16 or bf16", "fp32", "int32"};
        throw std::invalid_argument(std::string(op_.inputs[input].name) + " has TensorRT's data type "
            + std::to_string(int(type)) + ", needs " + wanted[int(op_.inputs[input].kind)]);
    }
}

template <class Desc>
void Plugin::check(const Desc* in, int32_t inputs, const Desc* out, int32_t outputs) const
{
    check_counts(inputs, outputs);
    check_given(in, "input descriptions");
    check_given(out, "output descriptions");
    Sizes sizes;
    for (int i = 0; i < inputs; ++i)
    {
        check_type(i, plain(in[i]).type);
        check_linear(i > 0 ? plain(in[i]).format : TensorFormat::kLINEAR, op_.inputs[i].name);
        sizes.push_back(plain(in[i]).dims);
    }
    for (int i = 1; i < outputs; ++i)
    {
        check_linear(plain(out[i]).format, "an output state");
    }
    check_shapes(sizes);
    if (plain(out[0]).type != plain(in[0]).type || plain(out[0]).format != plain(in[0]).format)
    {
        throw std::invalid_argument("y needs the data type and format of x");
    }
}

} // namespace eulernet
