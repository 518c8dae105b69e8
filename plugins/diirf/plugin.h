// SPDX-License-Identifier: Apache-2.0
// IPluginV3 around the kernel launch of one op. Does not declare h1_out and h2_out aliases of h1 and h2
// (IPluginV3OneBuildV2): a builder refuses such a plugin unless a preview feature is on. See README.md, "Libraries".
#ifndef EULERNET_PLUGIN_H
#define EULERNET_PLUGIN_H

#include "ops.h"

namespace eulernet
{

constexpr const char* kNamespace = "eulernet";

// Every plan contains it; a plan with another version is refused instead of misread.
constexpr int kSerializationVersion = 1;
constexpr const char* kSerializationField = "serialization_version";

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime
{
public:
    static constexpr int kOutputs = 3;

    // `op` must outlive the plugin and its clones.
    explicit Plugin(const Op& op);

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    const nvinfer1::AsciiChar* getPluginName() const noexcept override;
    const nvinfer1::AsciiChar* getPluginVersion() const noexcept override;
    const nvinfer1::AsciiChar* getPluginNamespace() const noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    int32_t getNbOutputs() const noexcept override;
    int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
        const nvinfer1::DynamicPluginTensorDesc* out, int32_t outputs) noexcept override;
    int32_t getOutputDataTypes(
        nvinfer1::DataType* out, int32_t outputs, const nvinfer1::DataType* in, int32_t inputs) const noexcept override;
    int32_t getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs, const nvinfer1::DimsExprs* shape_inputs,
        int32_t shape_input_count, nvinfer1::DimsExprs* out, int32_t outputs,
        nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* in_out, int32_t inputs,
        int32_t outputs) noexcept override;
    const char* getTimingCacheID() noexcept override;

    int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t inputs, const nvinfer1::PluginTensorDesc* out,
        int32_t outputs) noexcept override;
    int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
        const void* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

private:
    void check_counts(int32_t inputs, int32_t outputs) const;
    void check_shapes(const Sizes& in) const;
    void check_type(int input, nvinfer1::DataType type) const;
    template <class Desc>
    void check(const Desc* in, int32_t inputs, const Desc* out, int32_t outputs) const;

    const Op& op_;
    nvinfer1::PluginField field_;
    nvinfer1::PluginFieldCollection fields_;
};

} // namespace eulernet

#endif
