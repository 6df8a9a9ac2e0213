#pragma once

#include <memory>
#include <optional>
#include <string>

namespace galapagos {

/// The energy that one GPU of this node takes, by NVML, which is loaded where there is one. It counts for all
/// that runs on the GPU.
class GpuEnergy {
 public:
  /// `uuid`: "GPU-01234567-89ab-..."; `library`: of NVML.
  explicit GpuEnergy(const std::string& uuid, const std::string& library = "libnvidia-ml.so.1");
  ~GpuEnergy();
  GpuEnergy(const GpuEnergy&) = delete;
  GpuEnergy& operator=(const GpuEnergy&) = delete;

  /// Joules since the making of this; nothing where they are not counted (before Volta, or no NVML).
  std::optional<double> so_far() const;

 private:
  struct Nvml;
  std::unique_ptr<Nvml> nvml_;
};

}  // namespace galapagos
