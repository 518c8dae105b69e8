// SPDX-License-Identifier: Apache-2.0
// Loads the plugin library into the registry of a real TensorRT runtime (lean or full) and makes TensorRT's calls,
// without a device.
//   registry TENSORRT.so PLUGINS.so       all checks
//   registry TENSORRT.so --autoload X.so  loads X like a server and finds its creators in the registry
// Prints one line per check, "ok NAME" or "FAILED NAME: detail". Exit status 0 if no check failed.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include <dlfcn.h>

#include "registry_tensors.h"

namespace
{

constexpr const char* kNamespace = "eulernet";
int failures = 0;
std::atomic<long> allocations{0};

void check(const std::string& name, bool well, const std::string& detail = "")
{
    std::printf(well ? "ok %s\n" : "FAILED %s: %s\n", name.c_str(), detail.c_str());
    std::fflush(stdout);
    failures += well ? 0 : 1;
}

class Checks
{
public:
    Checks(IPluginRegistry& registry, Messages& messages, bool device)
        : registry_(registry)
        , messages_(messages)
        , device_(device)
    {
    }

    void run(const Op& op)
    {
        op_ = &op;
        creator_ = static_cast<IPluginCreatorV3One*>(registry_.getCreator(op.name, op.version, kNamespace));
        expect("found under its namespace and version", creator_ != nullptr);
        expect("not found under another namespace", registry_.getCreator(op.name, op.version, "") == nullptr);
        const char* other = op.version[0] == '1' ? "2" : "1";
        expect("not found under another version", registry_.getCreator(op.name, other, kNamespace) == nullptr);
        if (creator_ == nullptr)
        {
            return;
        }
        expect("is of IPluginCreatorV3One",
            creator_->getInterfaceInfo().major == 1
                && std::strcmp(creator_->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") == 0);
        const auto* names = creator_->getFieldNames();
        expect("advertises no fields", names != nullptr && names->nbFields == 0);
        wrong_fields();
        const PluginFieldCollection none{0, nullptr};
        const std::unique_ptr<IPluginV3> made(creator_->createPlugin("a", &none, TensorRTPhase::kBUILD));
        expect("created from no fields", made != nullptr, messages_.take());
        if (made == nullptr)
        {
            return;
        }
        const std::unique_ptr<IPluginV3> cloned(made->clone());
        expect("cloned", cloned != nullptr);
        build_phase(*cloned);
        runtime_phase(*cloned);
    }

private:
    void expect(const std::string& name, bool well, const std::string& detail = "")
    {
        check(std::string(op_->name) + " " + name, well, detail);
    }

    // Expects a failure, and a message with the op's name and `words`.
    void refused(const std::string& name, bool failed, const std::string& words)
    {
        const std::string said = messages_.take();
        const bool told = said.find(op_->name) != std::string::npos && said.find(words) != std::string::npos;
        expect("refuses " + name, failed && told, failed ? "said: " + said : "accepted");
    }

    void wrong_fields()
    {
        const int32_t one = 1, two = 2;
        const float real = 1.0f;
        const char* version = "serialization_version";
        struct Row
        {
            const char* name;
            PluginField field;
            const char* words;
        };
        const Row rows[] = {
            {"an unknown field", {"gain", &one, PluginFieldType::kINT32, 1}, "gain"},
            {"a field of the wrong type", {version, &real, PluginFieldType::kFLOAT32, 1}, "one int32"},
            {"a field of the wrong length", {version, &one, PluginFieldType::kINT32, 2}, "one int32"},
            {"a field without data", {version, nullptr, PluginFieldType::kINT32, 1}, "one int32"},
            {"a field without name", {nullptr, &one, PluginFieldType::kINT32, 1}, "no name"},
            {"another version's plan", {version, &two, PluginFieldType::kINT32, 1}, "build the plan again"},
        };
        for (const auto& row : rows)
        {
            const PluginFieldCollection fields{1, &row.field};
            refused(row.name, creator_->createPlugin("a", &fields, TensorRTPhase::kRUNTIME) == nullptr, row.words);
        }
        const PluginFieldCollection none{0, nullptr}, lost{1, nullptr};
        const auto made = [&](const PluginFieldCollection* fields, TensorRTPhase phase) {
            return creator_->createPlugin("a", fields, phase) != nullptr;
        };
        refused("a plan without fields", !made(&none, TensorRTPhase::kRUNTIME), version);
        refused("no collection", !made(nullptr, TensorRTPhase::kBUILD), "no field");
        refused("lost fields", !made(&lost, TensorRTPhase::kBUILD), "no field");
    }

    void build_phase(IPluginV3& plugin)
    {
        auto* core = static_cast<IPluginV3OneCore*>(plugin.getCapabilityInterface(PluginCapabilityType::kCORE));
        const auto said = core == nullptr
            ? std::string()
            : std::string(core->getPluginNamespace()) + "::" + core->getPluginName() + " " + core->getPluginVersion();
        const auto name = std::string(kNamespace) + "::" + op_->name + " " + op_->version;
        expect("says who it is", said == name, said);
        build_ = static_cast<IPluginV3OneBuild*>(plugin.getCapabilityInterface(PluginCapabilityType::kBUILD));
        expect("has a build interface", build_ != nullptr && build_->getNbOutputs() == 3);
        const char* id = build_->getTimingCacheID();
        expect("names its kernels in the timing cache", id != nullptr && id[0] != '\0');
        std::printf("timing cache id %s\n", id == nullptr ? "" : id);
        types();
        shapes();
        formats();
        auto tensors = dynamic(op_->tensors);
        const int n = op_->inputs();
        expect("configured", build_->configurePlugin(tensors.data(), n, tensors.data() + n, 3) == 0, messages_.take());
        expect("needs no workspace", build_->getWorkspaceSize(tensors.data(), n, tensors.data() + n, 3) == 0);
        refused("a configuration with too few inputs",
            build_->configurePlugin(tensors.data(), n - 1, tensors.data() + n, 3) != 0, "inputs");
        refused("a configuration of nothing", build_->configurePlugin(nullptr, n, nullptr, 3) != 0, "null pointer");
    }

    void types()
    {
        const int n = op_->inputs();
        std::vector<DataType> in, out(3, DataType::kBOOL);
        for (int i = 0; i < n; ++i)
        {
            in.push_back(op_->tensors[i].type);
        }
        const bool well = build_->getOutputDataTypes(out.data(), 3, in.data(), n) == 0;
        expect("tells its types", well && out[0] == in[0] && out[1] == kF && out[2] == kF, messages_.take());
        in[0] = DataType::kINT8;
        refused("x of int8", build_->getOutputDataTypes(out.data(), 3, in.data(), n) != 0, "fp32, fp16 or bf16");
        in[0] = kF;
        in[n - 1] = DataType::kHALF;
        refused("a last input of fp16", build_->getOutputDataTypes(out.data(), 3, in.data(), n) != 0, "needs");
    }

    int output_shapes(const std::vector<std::vector<int64_t>>& sizes, DimsExprs* out)
    {
        std::vector<DimsExprs> in;
        for (const auto& each : sizes)
        {
            in.push_back(builder_.exprs(each));
        }
        return build_->getOutputShapes(in.data(), int32_t(in.size()), nullptr, 0, out, 3, builder_);
    }

    void shapes()
    {
        std::vector<std::vector<int64_t>> sizes;
        for (int i = 0; i < op_->inputs(); ++i)
        {
            const auto& dims = op_->tensors[i].dims;
            sizes.emplace_back(dims.d, dims.d + dims.nbDims);
        }
        DimsExprs out[3]{};
        bool same = output_shapes(sizes, out) == 0;
        for (int i = 0; same && i < 3; ++i)
        {
            const auto& dims = op_->tensors[op_->inputs() + i].dims;
            same = out[i].nbDims == dims.nbDims;
            for (int axis = 0; same && axis < dims.nbDims; ++axis)
            {
                same = out[i].d[axis]->getConstantValue() == dims.d[axis];
            }
        }
        expect("tells its shapes", same, messages_.take());
        auto open = sizes;
        for (auto& each : open)
        {
            each[0] = each.size() == 2 && &each != &open.back() ? each[0] : -1;
        }
        open.back()[0] = op_->inputs() == 6 ? -1 : open.back()[0];
        expect("tells its shapes with a batch unknown", output_shapes(open, out) == 0, messages_.take());
        auto wrong = sizes;
        wrong[0] = op_->wrong_x;
        refused("sizes that contradict each other", output_shapes(wrong, out) != 0, "x");
        wrong = sizes;
        wrong[0].pop_back();
        refused("x of a dimension too few", output_shapes(wrong, out) != 0, "dimensions");
        wrong = sizes;
        wrong[op_->inputs() == 6 ? 4 : 3][1] = op_->inputs() == 6 ? 5 : 7;
        refused("as many coefficients as the other op has", output_shapes(wrong, out) != 0, "coefficients");
        if (op_->inputs() == 6)
        {
            wrong = sizes;
            wrong[5] = {2, 4};
            refused("status of more frames than x", output_shapes(wrong, out) != 0, "status");
            wrong = sizes;
            wrong[1][0] = wrong[4][0] = wrong[2][1] = wrong[3][1] = 5;
            refused("maps that do not divide the channels", output_shapes(wrong, out) != 0, "divide");
        }
    }

    bool supports(const std::vector<PluginTensorDesc>& tensors)
    {
        const auto all = dynamic(tensors);
        bool well = true;
        for (int i = 0; well && i < int(all.size()); ++i)
        {
            well = build_->supportsFormatCombination(i, all.data(), op_->inputs(), 3);
        }
        return well;
    }

    void formats()
    {
        const int y = op_->inputs();
        expect("takes the plain format", supports(op_->tensors), messages_.take());
        auto tensors = op_->tensors;
        tensors[y].type = tensors[0].type == kF ? DataType::kHALF : kF;
        expect("wants y in the type of x", !supports(tensors));
        tensors = op_->tensors;
        tensors[2].type = DataType::kHALF;
        expect("keeps its state in fp32", !supports(tensors));
        tensors = op_->tensors;
        tensors[0].format = tensors[y].format = TensorFormat::kCHW32;
        expect("takes no other vectors", !supports(tensors));
        tensors[0].format = tensors[y].format = tensors[0].type == kF ? TensorFormat::kHWC : TensorFormat::kHWC8;
        expect("takes channels last if it is DIIRFGate", supports(tensors) == (op_->inputs() == 6));
        tensors[y].format = TensorFormat::kLINEAR;
        expect("wants y in the format of x", !supports(tensors));
        tensors[y].format = tensors[0].format;
        tensors[0].dims.d[1] = tensors[y].dims.d[1] = 12;
        expect("takes no padded channels", !supports(tensors));
        const auto all = dynamic(op_->tensors);
        refused("a position that is none", !build_->supportsFormatCombination(99, all.data(), y, 3), "position");
    }

    void runtime_phase(IPluginV3& plugin)
    {
        auto* before = static_cast<IPluginV3OneRuntime*>(plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        const auto* fields = before->getFieldsToSerialize();
        expect("serializes", fields != nullptr && fields->nbFields == 1);
        // A copy of the bytes, as in a plan.
        const int32_t stored = *static_cast<const int32_t*>(fields->fields[0].data);
        const PluginField field{"serialization_version", &stored, PluginFieldType::kINT32, 1};
        const PluginFieldCollection copy{1, &field};
        const std::unique_ptr<IPluginV3> again(creator_->createPlugin("a", &copy, TensorRTPhase::kRUNTIME));
        expect("created again from its serialized fields", again != nullptr, messages_.take());
        if (again == nullptr)
        {
            return;
        }
        auto* shared = static_cast<IPluginV3OneRuntime*>(again->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        const std::unique_ptr<IPluginV3> attached(shared->attachToContext(nullptr));
        expect("attached to a context", attached != nullptr);
        auto* runtime
            = static_cast<IPluginV3OneRuntime*>(attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
        const int n = op_->inputs();
        auto tensors = op_->tensors;
        const int heard = runtime->onShapeChange(tensors.data(), n, tensors.data() + n, 3);
        expect("hears of shapes", heard == 0, messages_.take());
        tensors[0] = describe(op_->wrong_x, tensors[0].type);
        refused("shapes that contradict each other",
            runtime->onShapeChange(tensors.data(), n, tensors.data() + n, 3) != 0, "x");
        enqueue(*runtime);
    }

    void enqueue(IPluginV3OneRuntime& runtime)
    {
        const int n = op_->inputs();
        std::vector<float> memory(1 << 16);
        std::vector<const void*> in(n, memory.data());
        std::vector<void*> out(3, memory.data());
        const auto call = [&](const std::vector<PluginTensorDesc>& tensors) {
            return runtime.enqueue(tensors.data(), tensors.data() + n, in.data(), out.data(), nullptr, nullptr);
        };
        if (!device_)
        {
            const int code = call(op_->tensors);
            refused("to compute without a driver, error " + std::to_string(code), code != 0, "cudaError");
        }
        auto tensors = op_->tensors;
        tensors[0] = describe(op_->wrong_x, tensors[0].type);
        refused("to compute with wrong shapes", call(tensors) != 0, "x");
        tensors = op_->tensors;
        tensors[0].dims.d[0] = int64_t(1) << 40;
        refused("to compute with a size beyond int", call(tensors) != 0, "x");
        in[1] = nullptr;
        refused("to compute without an input", call(op_->tensors) != 0, "null pointer");
        in[1] = memory.data();
        out[2] = nullptr;
        refused("to compute without an output", call(op_->tensors) != 0, "null pointer");
        tensors = op_->tensors;
        for (int i = 0; i < int(tensors.size()); ++i)
        {
            const bool batched = tensors[i].dims.nbDims > 2 || (n == 6 && i == 5);
            tensors[i].dims.d[0] = batched ? 0 : tensors[i].dims.d[0];
        }
        const long before = allocations;
        const int code = call(tensors);
        expect("allocates nothing in enqueue", allocations == before, std::to_string(allocations - before));
        expect("has nothing to do for an empty batch", code == 0, messages_.take());
    }

    IPluginRegistry& registry_;
    Messages& messages_;
    const bool device_;
    const Op* op_ = nullptr;
    IPluginCreatorV3One* creator_ = nullptr;
    IPluginV3OneBuild* build_ = nullptr;
    Sizes builder_;
};

bool has_device()
{
    void* driver = dlopen("libcuda.so.1", RTLD_NOW);
    const auto init = driver ? reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit")) : nullptr;
    return init != nullptr && init(0) == 0;
}

int run(IPluginRegistry& registry, const char* path)
{
    Messages messages;
    const auto handle = registry.loadLibrary(path);
    check("the registry loads the library", handle != nullptr);
    void* library = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    using Setter = void (*)(ILoggerFinder*);
    const auto set = library ? reinterpret_cast<Setter>(dlsym(library, "setLoggerFinder")) : nullptr;
    check("the library exports setLoggerFinder", set != nullptr);
    if (set == nullptr)
    {
        return 1;
    }
    set(&messages);
    for (const auto x : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16})
    {
        std::printf("x of data type %d\n", int(x));
        for (const auto& op : ops(x))
        {
            Checks(registry, messages, has_device()).run(op);
        }
    }
    set(nullptr);
    registry.deregisterLibrary(handle);
    check("the registry lets the library go", registry.getCreator("DIIRF", "1", kNamespace) == nullptr);
    return failures != 0;
}

int run_autoload(IPluginRegistry& registry, const char* path)
{
    check("dlopen", dlopen(path, RTLD_LAZY | RTLD_LOCAL) != nullptr, "see dlerror");
    for (const auto& op : ops(kF))
    {
        auto* creator = static_cast<IPluginCreatorV3One*>(registry.getCreator(op.name, op.version, kNamespace));
        check(std::string(op.name) + " registered itself", creator != nullptr);
        const PluginFieldCollection none{0, nullptr};
        std::unique_ptr<IPluginV3> plugin(creator ? creator->createPlugin("a", &none, TensorRTPhase::kBUILD) : nullptr);
        check(std::string(op.name) + " is created", plugin != nullptr);
    }
    return failures != 0;
}

} // namespace

// Counts the plugins' allocations too: their library calls this program's operators. Not inlined, because GCC would
// compare malloc with delete.
__attribute__((noinline)) void* operator new(std::size_t bytes)
{
    ++allocations;
    if (void* memory = std::malloc(bytes))
    {
        return memory;
    }
    throw std::bad_alloc();
}

__attribute__((noinline)) void operator delete(void* memory) noexcept
{
    std::free(memory);
}

__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}

int main(int count, char** arguments)
{
    if (count < 3)
    {
        std::fprintf(stderr, "usage: registry TENSORRT.so [--autoload] PLUGINS.so\n");
        return 2;
    }
    void* tensorrt = dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL);
    using Getter = IPluginRegistry* (*)();
    const auto get = tensorrt ? reinterpret_cast<Getter>(dlsym(tensorrt, "getPluginRegistry")) : nullptr;
    if (get == nullptr || get() == nullptr)
    {
        std::fprintf(stderr, "%s has no plugin registry: %s\n", arguments[1], tensorrt ? "" : dlerror());
        return 1;
    }
    const bool autoload = std::strcmp(arguments[2], "--autoload") == 0;
    return autoload && count > 3 ? run_autoload(*get(), arguments[3]) : run(*get(), arguments[2]);
}
