#include <chrono>

#include <galapagos/core/meter.hpp>
#include <galapagos/core/quiet_thread.hpp>

namespace galapagos {

Meter::~Meter() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Meter::begin(bool counts_node, const std::filesystem::path& sys) {
  watch_.emplace();
  if (!counts_node) return;
  auto counters = std::make_unique<EnergyCounters>(sys);
  if (counters->empty()) return;
  node_ = std::move(counters);
  try {
    thread_ = quiet_thread([this] { sample(); });
  } catch (const ResourceError&) {  // no reason to end a run
    node_.reset();
  }
}

/// A processor at full load turns its counter over in a quarter of an hour.
void Meter::sample() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, std::chrono::minutes(1), [this] { return over_; })) node_->so_far();
}

void Meter::watch_gpu(const std::string& uuid) {
  const std::lock_guard lock(mutex_);
  if (uuid == gpu_uuid_) return;  // a later step of the same program
  gpu_uuid_ = uuid;
  gpu_ = std::make_unique<GpuEnergy>(uuid);
}

Meter::Reading Meter::total() {
  const std::lock_guard lock(mutex_);
  Reading reading;
  if (watch_) reading.seconds = watch_->seconds();
  reading.gpu = gpu_uuid_;
  if (node_) reading.joules = node_->so_far();
  if (gpu_) {
    if (const std::optional<double> joules = gpu_->so_far()) reading.joules["gpus"] = *joules;
  }
  return reading;
}

Meter::Reading Meter::since_last() {
  const Reading now = total();
  Reading difference = now;
  difference.seconds -= last_.seconds;
  for (auto& [of, joules] : difference.joules) {
    const auto before = last_.joules.find(of);
    if (before != last_.joules.end()) joules -= before->second;
  }
  last_ = now;
  asked_ = true;
  return difference;
}

Meter& meter() {
  static Meter one;
  return one;
}

}  // namespace galapagos
