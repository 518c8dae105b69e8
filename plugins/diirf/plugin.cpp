// See plugin.h.
#include "plugin.h"

#include <limits>
#include <stdexcept>
#include <string>

#include "kernels_c.h"
#include "log.h"

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

PluginTensorDesc const& plain(PluginTensorDesc const& desc)
{
    return desc;
}

PluginTensorDesc const& plain(DynamicPluginTensorDesc const& desc)
{
    return desc.desc;
}

// -1 where the kernels have no such type for x.
int dtype_code(DataType type)
{
    return type == DataType::kFLOAT ? EULERNET_FP32
        : type == DataType::kHALF   ? EULERNET_FP16
        : type == DataType::kBF16   ? EULERNET_BF16
                                    : -1;
}

// TensorRT's name for "channels last": 8 halves, or plain for floats, which have no padded kind.
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

Dims known_sizes(DimsExprs const& exprs)
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
void check_given(T const* pointer, const char* what)
{
    if (pointer == nullptr)
    {
        throw std::invalid_argument(std::string(what) + " is a null pointer");
    }
}

} // namespace

Plugin::Plugin(const char* name, std::vector<Input> inputs, int first_state)
    : inputs_(std::move(inputs))
    , name_(name)
    , first_state_(first_state)
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

nvinfer1::AsciiChar const* Plugin::getPluginName() const noexcept
{
    return name_;
}

nvinfer1::AsciiChar const* Plugin::getPluginVersion() const noexcept
{
    return kVersion;
}

nvinfer1::AsciiChar const* Plugin::getPluginNamespace() const noexcept
{
    return kNamespace;
}

nvinfer1::IPluginV3* Plugin::clone() noexcept
{
    return guarded<nvinfer1::IPluginV3*>(name_, "clone", nullptr, [&] { return copy(); });
}

int32_t Plugin::getNbOutputs() const noexcept
{
    return kOutputs;
}

int32_t Plugin::configurePlugin(
    DynamicPluginTensorDesc const* in, int32_t inputs, DynamicPluginTensorDesc const* out, int32_t outputs) noexcept
{
    return guarded(name_, "configurePlugin", kFailed, [&] {
        check(in, inputs, out, outputs);
        return 0;
    });
}

int32_t Plugin::getOutputDataTypes(DataType* out, int32_t outputs, DataType const* in, int32_t inputs) const noexcept
{
    return guarded(name_, "getOutputDataTypes", kFailed, [&] {
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

int32_t Plugin::getOutputShapes(DimsExprs const* in, int32_t inputs, DimsExprs const*, int32_t, DimsExprs* out,
    int32_t outputs, nvinfer1::IExprBuilder&) noexcept
{
    return guarded(name_, "getOutputShapes", kFailed, [&] {
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
        out[1] = in[first_state_];
        out[2] = in[first_state_ + 1];
        return 0;
    });
}

bool Plugin::supportsFormatCombination(
    int32_t position, DynamicPluginTensorDesc const* in_out, int32_t inputs, int32_t outputs) noexcept
{
    return guarded(name_, "supportsFormatCombination", false, [&] {
        check_counts(inputs, outputs);
        check_given(in_out, "descriptions");
        if (position < 0 || position >= inputs + outputs)
        {
            throw std::invalid_argument("position " + std::to_string(position) + " of "
                + std::to_string(inputs + outputs) + " tensors");
        }
        PluginTensorDesc const& asked = in_out[position].desc;
        PluginTensorDesc const& x = in_out[0].desc;
        if (position == 0)
        {
            return fits(inputs_[0].kind, asked.type)
                && (asked.format == TensorFormat::kLINEAR
                    || (asked.format == channels_last_format(asked.type) && channels_last(x.dims)));
        }
        if (position == inputs) // y
        {
            return asked.type == x.type && asked.format == x.format;
        }
        const auto kind = position < inputs ? inputs_[position].kind : Input::Kind::Float;
        return fits(kind, asked.type) && asked.format == TensorFormat::kLINEAR;
    });
}

char const* Plugin::getTimingCacheID() noexcept
{
    return ""; // without attributes, shapes and formats say everything
}

int32_t Plugin::onShapeChange(
    PluginTensorDesc const* in, int32_t inputs, PluginTensorDesc const* out, int32_t outputs) noexcept
{
    return guarded(name_, "onShapeChange", kFailed, [&] {
        check(in, inputs, out, outputs);
        return 0;
    });
}

int32_t Plugin::enqueue(PluginTensorDesc const* in, PluginTensorDesc const* out, void const* const* inputs,
    void* const* outputs, void*, cudaStream_t stream) noexcept
{
    return guarded(name_, "enqueue", kFailed, [&] {
        const int count = int(inputs_.size());
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
                        std::string(inputs_[i].name) + " has a dimension of " + std::to_string(size));
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
            check_given(inputs[i], inputs_[i].name);
        }
        for (int i = 0; i < kOutputs; ++i)
        {
            check_given(outputs[i], "an output");
        }
        const bool interleaved = in[0].format != TensorFormat::kLINEAR;
        const int code = launch(sizes, dtype_code(in[0].type), interleaved, inputs, outputs, stream);
        if (code != 0)
        {
            log_error(name_, "enqueue", eulernet_error_string(code));
        }
        return code;
    });
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept
{
    return clone();
}

nvinfer1::PluginFieldCollection const* Plugin::getFieldsToSerialize() noexcept
{
    return &fields_;
}

void Plugin::check_equal(Sizes const& in, int a, int a_axis, int b, int b_axis) const
{
    const int64_t first = in[a].d[a_axis], second = in[b].d[b_axis];
    if (first >= 0 && second >= 0 && first != second)
    {
        throw std::invalid_argument(std::string(inputs_[a].name) + " has " + std::to_string(first) + " in dimension "
            + std::to_string(a_axis) + " where " + inputs_[b].name + " has " + std::to_string(second)
            + " in dimension " + std::to_string(b_axis));
    }
}

void Plugin::check_counts(int32_t inputs, int32_t outputs) const
{
    if (inputs != int32_t(inputs_.size()) || outputs != kOutputs)
    {
        throw std::invalid_argument(std::to_string(inputs) + " inputs and " + std::to_string(outputs)
            + " outputs; it has " + std::to_string(inputs_.size()) + " and " + std::to_string(kOutputs));
    }
}

void Plugin::check_shapes(Sizes const& in) const
{
    for (std::size_t i = 0; i < in.size(); ++i)
    {
        if (in[i].nbDims != inputs_[i].rank)
        {
            throw std::invalid_argument(std::string(inputs_[i].name) + " has " + std::to_string(in[i].nbDims)
                + " dimensions, needs " + std::to_string(inputs_[i].rank));
        }
    }
    check_sizes(in);
}

void Plugin::check_type(int input, DataType type) const
{
    if (!fits(inputs_[input].kind, type))
    {
        static const char* const wanted[] = {"fp32, fp16 or bf16", "fp32", "int32"};
        throw std::invalid_argument(std::string(inputs_[input].name) + " is of TensorRT's data type "
            + std::to_string(int(type)) + ", needs " + wanted[int(inputs_[input].kind)]);
    }
}

template <class Desc>
void Plugin::check(Desc const* in, int32_t inputs, Desc const* out, int32_t outputs) const
{
    check_counts(inputs, outputs);
    check_given(in, "input descriptions");
    check_given(out, "output descriptions");
    Sizes sizes;
    for (int i = 0; i < inputs; ++i)
    {
        check_type(i, plain(in[i]).type);
        sizes.push_back(plain(in[i]).dims);
    }
    check_shapes(sizes);
    if (plain(out[0]).type != plain(in[0]).type || plain(out[0]).format != plain(in[0]).format)
    {
        throw std::invalid_argument("y must have the data type and the format of x");
    }
}

} // namespace eulernet
