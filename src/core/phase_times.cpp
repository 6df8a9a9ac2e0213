#include <algorithm>

#include <galapagos/core/phase_times.hpp>

namespace galapagos {

std::size_t PhaseTimes::go_to(const std::string& name) {
  charge();
  const std::size_t before = current_;
  current_ = place_of(name);
  return before;
}

void PhaseTimes::go_back(std::size_t before) {
  charge();
  current_ = before;
}

void PhaseTimes::move(const std::string& from, const std::string& to, double seconds) {
  phases_[place_of(from)].seconds -= seconds;
  phases_[place_of(to)].seconds += seconds;
}

std::vector<PhaseTimes::Phase> PhaseTimes::phases() {
  charge();
  std::vector<Phase> all = phases_;
  std::rotate(all.begin(), all.begin() + 1, all.end());
  return all;
}

std::size_t PhaseTimes::place_of(const std::string& name) {
  for (std::size_t i = 0; i < phases_.size(); ++i) {
    if (phases_[i].name == name) return i;
  }
  phases_.push_back({name});
  return phases_.size() - 1;
}

void PhaseTimes::charge() {
  const double now = watch_.seconds();
  phases_[current_].seconds += now - charged_;
  charged_ = now;
}

}  // namespace galapagos
