// eulernet::DIIRF as a plugin. x (N, T, K, H, W), h1 and h2 (N, K, H, W), coefficients (K, 5) -> y, h1_out, h2_out.
#ifndef EULERNET_DIIRF_PLUGIN_H
#define EULERNET_DIIRF_PLUGIN_H

#include "plugin.h"

namespace eulernet
{

class DiirfPlugin final : public Plugin
{
public:
    static constexpr const char* kName = "DIIRF";

    DiirfPlugin();

protected:
    bool channels_last(nvinfer1::Dims const& x) const override;
    void check_sizes(Sizes const& in) const override;
    int launch(Sizes const& in, int dtype, bool channels_last, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const override;
    nvinfer1::IPluginV3* copy() const override;
};

} // namespace eulernet

#endif
