// SPDX-License-Identifier: Apache-2.0
// The ops of this folder, as descriptions that plugin.cpp turns into TensorRT plugins. Every op has the outputs y,
// h1_out and h2_out, shaped as x, h1 and h2; no attributes, no workspace, no state outside its tensors.
#ifndef EULERNET_OPS_H
#define EULERNET_OPS_H

#include <array>
#include <stdexcept>

#include <NvInferRuntime.h>

namespace eulernet
{

constexpr std::size_t kMaxInputs = 6;

// Sizes of an op's inputs; -1 is a size not known yet. Held in place, because enqueue must not allocate.
class Sizes
{
public:
    void push_back(const nvinfer1::Dims& dims)
    {
        if (count_ == kMaxInputs)
        {
            throw std::invalid_argument("an op has at most 6 inputs");
        }
        each_[count_++] = dims;
    }
    const nvinfer1::Dims& operator[](std::size_t i) const
    {
        return each_[i];
    }
    std::size_t size() const
    {
        return count_;
    }

private:
    std::array<nvinfer1::Dims, kMaxInputs> each_{};
    std::size_t count_ = 0;
};

// One input of an op. Any: x, in fp32, fp16 or bf16.
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

struct Op
{
    const char* name;
    const char* version; // changes with the meaning of the tensors; a plan and a graph name the version they need
    const Input* inputs; // x first
    int input_count;
    int first_state; // position of h1; h2 follows

    // Whether y and x may be stored with their channels last, 16 bytes of channels at a time.
    bool (*channels_last)(const nvinfer1::Dims& x);

    // Throws std::invalid_argument where known sizes contradict each other. Ranks have been checked.
    void (*check_sizes)(const Op& op, const Sizes& in);

    // Enqueues the kernel for tensors that passed the checks and are not empty. Returns a cudaError_t.
    int (*launch)(const Sizes& in, int dtype, bool channels_last, const void* const* inputs, void* const* outputs,
        cudaStream_t stream);
};

// x (N, T, K, H, W), h1 and h2 (N, K, H, W), coefficients (K, 5).
extern const Op kDiirf;

// The whole FCAM. x (N * T, C, H, W), weight (K, C), h1 and h2 (N, K, H, W), coefficients (K, 7), status int32 (N, T).
// T is the last size of status.
extern const Op kDiirfGate;

// Throws std::invalid_argument with both names and sizes unless two sizes are equal or one is not known yet.
void check_equal(const Op& op, const Sizes& in, int a, int a_axis, int b, int b_axis);

// Throws std::invalid_argument unless an input of rank 2 has `columns` columns, or their number is not known yet.
void check_columns(const Op& op, const Sizes& in, int input, int columns);

} // namespace eulernet

#endif
