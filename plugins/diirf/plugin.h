// What the plugins of this folder have in common: IPluginV3 around one kernel launch. Both ops have outputs y, h1_out
// and h2_out, shaped as x, h1 and h2; no attributes, no workspace, no state of their own.
#ifndef EULERNET_PLUGIN_H
#define EULERNET_PLUGIN_H

#include <vector>

#include <NvInferRuntime.h>

namespace eulernet
{

constexpr const char* kNamespace = "eulernet";
constexpr const char* kVersion = "1";

// Written into every plan; a plan of another one is refused instead of misread.
constexpr int kSerializationVersion = 1;
constexpr const char* kSerializationField = "serialization_version";

// How an op takes one of its inputs. Any: x, in fp32, fp16 or bf16.
struct Input
{
    enum class Kind
    {
        Any,
        Float,
        Int
    };

    const char* name;
    int rank;
    Kind kind;
};

class Plugin : public nvinfer1::IPluginV3,
               public nvinfer1::IPluginV3OneCore,
               public nvinfer1::IPluginV3OneBuild,
               public nvinfer1::IPluginV3OneRuntime
{
public:
    static constexpr int kOutputs = 3;

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept final;
    nvinfer1::AsciiChar const* getPluginName() const noexcept final;
    nvinfer1::AsciiChar const* getPluginVersion() const noexcept final;
    nvinfer1::AsciiChar const* getPluginNamespace() const noexcept final;
    nvinfer1::IPluginV3* clone() noexcept final;

    int32_t getNbOutputs() const noexcept final;
    int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t inputs,
        nvinfer1::DynamicPluginTensorDesc const* out, int32_t outputs) noexcept final;
    int32_t getOutputDataTypes(nvinfer1::DataType* out, int32_t outputs, nvinfer1::DataType const* in,
        int32_t inputs) const noexcept final;
    int32_t getOutputShapes(nvinfer1::DimsExprs const* in, int32_t inputs, nvinfer1::DimsExprs const* shape_inputs,
        int32_t shape_input_count, nvinfer1::DimsExprs* out, int32_t outputs,
        nvinfer1::IExprBuilder& builder) noexcept final;
    bool supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* in_out, int32_t inputs,
        int32_t outputs) noexcept final;
    char const* getTimingCacheID() noexcept final;

    int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t inputs, nvinfer1::PluginTensorDesc const* out,
        int32_t outputs) noexcept final;
    int32_t enqueue(nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const* out,
        void const* const* inputs, void* const* outputs, void* workspace, cudaStream_t stream) noexcept final;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept final;
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept final;

protected:
    using Sizes = std::vector<nvinfer1::Dims>;

    Plugin(const char* name, std::vector<Input> inputs, int first_state);

    // Whether y and x may lie in memory with their channels last, 16 bytes of them at a time.
    virtual bool channels_last(nvinfer1::Dims const& x) const = 0;
    // Throws std::invalid_argument where sizes contradict each other; -1 is a size not known yet. Ranks are right.
    virtual void check_sizes(Sizes const& in) const = 0;
    // Enqueues the kernel for tensors that passed the checks and are not empty. Returns a cudaError_t.
    virtual int launch(Sizes const& in, int dtype, bool channels_last, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const = 0;
    virtual nvinfer1::IPluginV3* copy() const = 0;

    // Throws std::invalid_argument with both names and sizes unless they are equal or one is not known yet.
    void check_equal(Sizes const& in, int a, int a_axis, int b, int b_axis) const;

    std::vector<Input> const inputs_;

private:
    void check_counts(int32_t inputs, int32_t outputs) const;
    void check_shapes(Sizes const& in) const;
    void check_type(int input, nvinfer1::DataType type) const;
    template <class Desc>
    void check(Desc const* in, int32_t inputs, Desc const* out, int32_t outputs) const;

    const char* const name_;
    int const first_state_; // the input h1; h2 is the next
    nvinfer1::PluginField field_;
    nvinfer1::PluginFieldCollection fields_;
};

} // namespace eulernet

#endif
