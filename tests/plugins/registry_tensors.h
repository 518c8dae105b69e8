// SPDX-License-Identifier: Apache-2.0
// TensorRT's interfaces and descriptions for registry.cpp: a logger, shape expressions, and the tensors of both ops.
#ifndef REGISTRY_TENSORS_H
#define REGISTRY_TENSORS_H

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <NvInferRuntime.h>

using namespace nvinfer1;

// Collects the plugins' messages.
class Messages final : public ILogger, public ILoggerFinder
{
public:
    void log(Severity severity, const AsciiChar* message) noexcept override
    {
        text += severity <= Severity::kERROR ? std::string(message) + "\n" : "";
    }
    ILogger* findLogger() override
    {
        return this;
    }
    std::string take()
    {
        return std::exchange(text, "");
    }

private:
    std::string text;
};

// Dimension expressions, as far as these plugins need them: constants and unknown sizes.
class Size final : public IDimensionExpr, private apiv::VDimensionExpr
{
public:
    explicit Size(int64_t value)
        : value_(value)
    {
        mImpl = this;
    }
    bool isConstant() const noexcept override
    {
        return value_ >= 0;
    }
    int64_t getConstantValue() const noexcept override
    {
        return value_;
    }
    bool isSizeTensor() const noexcept override
    {
        return false;
    }

private:
    int64_t value_; // -1: a variable
};

class Sizes final : public IExprBuilder, private apiv::VExprBuilder
{
public:
    Sizes()
    {
        mImpl = this;
    }
    const IDimensionExpr* constant(int64_t value) noexcept override
    {
        all_.push_back(std::make_unique<Size>(value));
        return all_.back().get();
    }
    const IDimensionExpr* operation(DimensionOperation, const IDimensionExpr&, const IDimensionExpr&) noexcept override
    {
        return constant(-1);
    }
    const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) override
    {
        return constant(-1);
    }
    DimsExprs exprs(const std::vector<int64_t>& sizes)
    {
        DimsExprs exprs{};
        exprs.nbDims = int32_t(sizes.size());
        for (std::size_t i = 0; i < sizes.size(); ++i)
        {
            exprs.d[i] = constant(sizes[i]);
        }
        return exprs;
    }

private:
    std::vector<std::unique_ptr<Size>> all_;
};

inline PluginTensorDesc describe(
    const std::vector<int64_t>& sizes, DataType type, TensorFormat format = TensorFormat::kLINEAR)
{
    PluginTensorDesc desc{};
    desc.dims.nbDims = int32_t(sizes.size());
    std::copy(sizes.begin(), sizes.end(), desc.dims.d);
    desc.type = type;
    desc.format = format;
    return desc;
}

// Tensors of an op: inputs, then y, h1_out, h2_out.
struct Op
{
    const char* name;
    const char* version;
    std::vector<PluginTensorDesc> tensors;
    std::vector<int64_t> wrong_x; // sizes of x that contradict the other inputs

    int inputs() const
    {
        return int(tensors.size()) - 3;
    }
};

constexpr auto kF = DataType::kFLOAT;
constexpr auto kI = DataType::kINT32;

inline std::vector<Op> ops(DataType x)
{
    const std::vector<int64_t> state{2, 4, 8, 8};
    const auto h = describe(state, kF);
    const auto sequence = describe({2, 3, 4, 8, 8}, x), frames = describe({6, 32, 8, 8}, x);
    const auto status = describe({2, 3}, kI);
    return {{"DIIRF", "1", {sequence, h, h, describe({4, 5}, kF), sequence, h, h}, {2, 3, 3, 8, 8}},
        {"DIIRFGate", "2", {frames, describe({4, 32}, kF), h, h, describe({4, 7}, kF), status, frames, h, h},
            {6, 30, 8, 8}}};
}

inline std::vector<DynamicPluginTensorDesc> dynamic(const std::vector<PluginTensorDesc>& tensors)
{
    std::vector<DynamicPluginTensorDesc> out;
    for (const auto& each : tensors)
    {
        out.push_back({each, each.dims, each.dims, each.dims});
    }
    return out;
}

#endif
