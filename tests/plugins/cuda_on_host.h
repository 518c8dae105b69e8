// SPDX-License-Identifier: Apache-2.0
// Runs the source of CUDA kernels on the host, thread by thread: every thread of a block is a coroutine that runs until
// a barrier or a shuffle. Covers index arithmetic without a device, but neither races nor speed. Include before the
// kernels.
#ifndef CUDA_ON_HOST_H
#define CUDA_ON_HOST_H

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>
#include <vector>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>
#include <ucontext.h>

// One block runs at a time, so shared memory can be static. The other keywords are empty without nvcc.
#undef __shared__
#define __shared__ static
#undef __forceinline__
#define __forceinline__ inline
#undef __launch_bounds__
#define __launch_bounds__(...)

using std::max;
using std::min;

struct Index
{
    unsigned x;
};
inline Index threadIdx, blockIdx;

namespace cuda_on_host
{

constexpr int kWarp = 32;
constexpr int kStackBytes = 64 * 1024;

struct Thread
{
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(kStackBytes);
    float given;
    unsigned meetings; // shuffles so far
    bool done;
};

inline std::vector<Thread> threads;
inline ucontext_t scheduler;
inline const std::function<void()>* body;

inline void yield()
{
    swapcontext(&threads[threadIdx.x].context, &scheduler);
}

inline void run_thread()
{
    (*body)();
    threads[threadIdx.x].done = true;
    yield();
}

// Runs one block. Each thread runs until it yields, then the next one does; so a full round is a barrier of the block,
// in kernels that have either barriers or shuffles.
inline void run_block(unsigned count, const std::function<void()>& kernel)
{
    body = &kernel;
    threads.resize(count);
    for (Thread& thread : threads)
    {
        thread.meetings = 0;
        thread.done = false;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = nullptr;
        makecontext(&thread.context, run_thread, 0);
    }
    for (unsigned alive = count; alive > 0;)
    {
        alive = 0;
        for (unsigned i = 0; i < count; ++i)
        {
            if (!threads[i].done)
            {
                threadIdx.x = i;
                swapcontext(&scheduler, &threads[i].context);
                alive += !threads[i].done;
            }
        }
    }
}

// Returns the partner's value. All lanes of a warp must reach the same shuffle. Otherwise the kernel would hang or read
// garbage on a device; here it ends the process.
inline float exchange(unsigned lanes, float value, unsigned partner)
{
    Thread& self = threads[threadIdx.x];
    const unsigned first = threadIdx.x / kWarp * kWarp;
    self.given = value;
    ++self.meetings;
    yield();
    for (unsigned lane = 0; lane < kWarp; ++lane)
    {
        if (lanes != 0xffffffffu || threads[first + lane].meetings != self.meetings)
        {
            std::abort();
        }
    }
    const float got = threads[first + partner % kWarp].given;
    yield();
    return got;
}

// Replaces a launch. Returns cudaSuccess.
struct Launch
{
    template <class Kernel, class Arguments>
    int operator()(Kernel kernel, unsigned blocks, unsigned threads_a_block, Arguments arguments) const
    {
        for (unsigned block = 0; block < blocks; ++block)
        {
            blockIdx.x = block;
            run_block(threads_a_block, [&] { kernel(arguments); });
        }
        return 0;
    }
};

} // namespace cuda_on_host

inline void __syncthreads()
{
    cuda_on_host::yield();
}
inline float __shfl_sync(unsigned lanes, float value, int lane)
{
    return cuda_on_host::exchange(lanes, value, unsigned(lane));
}
inline float __shfl_xor_sync(unsigned lanes, float value, int mask)
{
    return cuda_on_host::exchange(lanes, value, threadIdx.x % cuda_on_host::kWarp ^ unsigned(mask));
}

#endif
