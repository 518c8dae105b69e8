// eulernet::DIIRFGate as a plugin, the whole FCAM. x (N * T, C, H, W), weight (K, C), h1 and h2 (N, K, H, W),
// coefficients (K, 5), status int32 (N, T) -> y, h1_out, h2_out. T is read off status.
#ifndef EULERNET_GATE_PLUGIN_H
#define EULERNET_GATE_PLUGIN_H

#include "plugin.h"

namespace eulernet
{

class GatePlugin final : public Plugin
{
public:
    static constexpr const char* kName = "DIIRFGate";

    GatePlugin();

protected:
    bool channels_last(nvinfer1::Dims const& x) const override;
    void check_sizes(Sizes const& in) const override;
    int launch(Sizes const& in, int dtype, bool channels_last, void const* const* inputs, void* const* outputs,
        cudaStream_t stream) const override;
    nvinfer1::IPluginV3* copy() const override;
};

} // namespace eulernet

#endif
