#include <dlfcn.h>

#include <galapagos/core/gpu_energy.hpp>

namespace galapagos {
namespace {

// Of nvml.h, which a build without CUDA does not have.
using Handle = void*;
using Init = int (*)();
using Find = int (*)(const char*, Handle*);
using Read = int (*)(Handle, unsigned long long*);
constexpr int success = 0;

}  // namespace

struct GpuEnergy::Nvml {
  void* library = nullptr;
  Init shutdown = nullptr;  ///< once init has been
  Read read = nullptr;
  Handle gpu = nullptr;
  unsigned long long first = 0;  ///< millijoules

  template <typename Function>
  Function find(const char* name) const {
    return reinterpret_cast<Function>(dlsym(library, name));
  }

  bool open(const std::string& uuid) {
    const auto init = find<Init>("nvmlInit_v2"), end = find<Init>("nvmlShutdown");
    const auto by_uuid = find<Find>("nvmlDeviceGetHandleByUUID");
    read = find<Read>("nvmlDeviceGetTotalEnergyConsumption");
    if (init == nullptr || end == nullptr || by_uuid == nullptr || read == nullptr) return false;
    if (init() != success) return false;
    shutdown = end;
    return by_uuid(uuid.c_str(), &gpu) == success && read(gpu, &first) == success;
  }

  ~Nvml() {
    if (shutdown != nullptr) shutdown();
    if (library != nullptr) dlclose(library);
  }
};

GpuEnergy::GpuEnergy(const std::string& uuid, const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  nvml->library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (nvml->library != nullptr && nvml->open(uuid)) nvml_ = std::move(nvml);
}

GpuEnergy::~GpuEnergy() = default;

std::optional<double> GpuEnergy::so_far() const {
  unsigned long long now = 0;
  if (!nvml_ || nvml_->read(nvml_->gpu, &now) != success) return std::nullopt;
  return 1e-3 * static_cast<double>(now - nvml_->first);
}

}  // namespace galapagos
