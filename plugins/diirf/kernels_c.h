// SPDX-License-Identifier: Apache-2.0
/* The kernels of libeulernet_kernels.so over device pointers, callable from C and from Python's ctypes.
 * Needs neither TensorRT's nor CUDA's headers. Formulas: biquad.cuh; tensors: README.md. */
#ifndef EULERNET_KERNELS_C_H
#define EULERNET_KERNELS_C_H

#ifdef __cplusplus
extern "C" {
#endif

#define EULERNET_API __attribute__((visibility("default")))

/* Type of x and y. States, weight and coefficients are always fp32, and so is the arithmetic. */
#define EULERNET_FP32 0
#define EULERNET_FP16 1
#define EULERNET_BF16 2

/* Both functions enqueue on `stream` (a cudaStream_t, NULL for the default stream) and return without waiting.
 * They return a cudaError_t: 0 on success; 1 (cudaErrorInvalidValue) for an invalid shape, type or pointer, and then
 * nothing was enqueued; else the error of the launch. Every size is at least 1; the number of elements is limited by
 * memory only. h1_out and h2_out may be the same memory as h1 and h2; y must not overlap an input. */

/* The biquad over time.
 * x, y: (n, t, k, h, w) of type `dtype`; h1, h2, h1_out, h2_out: fp32 (n, k, h, w);
 * coefficients: fp32 (k, 5), columns b0, b1, b2, a1, a2. */
EULERNET_API int eulernet_diirf(const void* x, const float* h1, const float* h2, const float* coefficients, void* y,
    float* h1_out, float* h2_out, int n, int t, int k, int h, int w, int dtype, void* stream);

/* The whole FCAM: compress over the channels, filter over time, sigmoid, multiply with x.
 * x, y: (n * t, c, h, w) of type `dtype`, the frames of a sequence adjacent; in memory NCHW, or NHWC if channels_last
 * is not 0. weight: fp32 (k, c), k a divisor of c; states as above;
 * coefficients: fp32 (k, 7), columns b0, b1, b2, a1, a2, s1, s2.
 * status: int32 (n, t), flags of a frame, or NULL if every frame is usable and none is a start: with bit 2 the state
 * becomes h1 = s1 x, h2 = s2 x before the frame is filtered, x its compressed map; with a bit of 28 the frame does not
 * enter the state; all other bits are ignored. */
EULERNET_API int eulernet_diirf_gate(const void* x, const float* weight, const float* h1, const float* h2,
    const float* coefficients, const int* status, void* y, float* h1_out, float* h2_out, int n, int t, int c, int k,
    int h, int w, int dtype, int channels_last, void* stream);

/* "cudaErrorInvalidValue: invalid argument", and so on. Valid until the thread's next call. */
EULERNET_API const char* eulernet_error_string(int code);

#ifdef __cplusplus
}
#endif

#endif
