#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include <galapagos/report/scale.hpp>

namespace galapagos::report {
namespace {

/// 1, 2 or 5 times a power of ten, not less than `least`.
double nice_step(double least) {
  const double power = std::pow(10.0, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

std::string without_zeros(std::string text) {
  if (text.find('.') == std::string::npos) return text;
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string scientific(double value, int digits) {
  const int power = static_cast<int>(std::floor(std::log10(std::abs(value)) + 1e-9));
  return fmt::format("{}e{}", without_zeros(fmt::format("{:.{}f}", value / std::pow(10.0, power), digits)),
                     power);
}

struct Suffix {
  double size;
  const char* letter;
};

Suffix suffix_of(double value) {
  for (const Suffix suffix : {Suffix{1e12, "T"}, Suffix{1e9, "B"}, Suffix{1e6, "M"}, Suffix{1e3, "k"}})
    if (std::abs(value) >= suffix.size * (1 - 1e-9)) return suffix;
  return {1, ""};
}

}  // namespace

Scale Scale::linear(double low, double high, double from, double to, int count, bool widened) {
  Scale scale;
  if (!(high - low > 1e-12 * std::max(std::abs(low), std::abs(high)))) {  // all alike
    const double room = low == 0 ? 1 : 0.05 * std::abs(low);
    low -= room;
    high += room;
  }
  scale.step_ = nice_step((high - low) / std::max(count, 1));
  constexpr double near = 1e-6;
  const double first = widened ? std::floor(low / scale.step_ + near) : std::ceil(low / scale.step_ - near);
  const double last = widened ? std::ceil(high / scale.step_ - near) : std::floor(high / scale.step_ + near);
  for (double k = first; k <= last + 0.5; ++k) scale.ticks_.push_back(k == 0 ? 0 : k * scale.step_);
  scale.low_ = widened ? first * scale.step_ : low;
  scale.high_ = widened ? last * scale.step_ : high;
  scale.from_ = from;
  scale.to_ = to;
  return scale;
}

Scale Scale::logarithmic(double low, double high, double from, double to) {
  Scale scale;
  scale.logarithmic_ = true;
  if (!(high > low)) {
    low /= 2;
    high *= 2;
  }
  scale.low_ = low;
  scale.high_ = high;
  scale.from_ = from;
  scale.to_ = to;
  const double decades = std::log10(high / low);
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / 7)));
  const auto add = [&](double tick) {
    if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) scale.ticks_.push_back(tick);
  };
  for (int power = static_cast<int>(std::floor(std::log10(low))); power <= std::log10(high) + 1; ++power) {
    const double ten = std::pow(10.0, power);
    if (power % stride == 0) add(ten);
    if (decades < 3.2) {
      add(2 * ten);
      add(5 * ten);
    }
  }
  if (scale.ticks_.size() >= 3) return scale;
  // Few of these steps: as on a linear axis.
  const Scale plain = linear(low, high, from, to, 4, false);
  scale.ticks_.clear();
  for (const double tick : plain.ticks_)
    if (tick > 0) scale.ticks_.push_back(tick);
  scale.step_ = plain.step_;
  return scale;
}

Scale Scale::at(std::vector<double> ticks, double from, double to) {
  std::ranges::sort(ticks);
  Scale scale;
  scale.logarithmic_ = true;
  scale.low_ = ticks.empty() ? 1 : ticks.front();
  scale.high_ = ticks.empty() ? 1 : ticks.back();
  if (!(scale.high_ > scale.low_)) {
    scale.low_ /= 2;
    scale.high_ *= 2;
  }
  const double room = 0.05 * (to - from);
  scale.from_ = from + room;
  scale.to_ = to - room;
  scale.ticks_ = std::move(ticks);
  return scale;
}

double Scale::operator()(double value) const {
  const double share =
      logarithmic_ ? std::log(value / low_) / std::log(high_ / low_) : (value - low_) / (high_ - low_);
  return from_ + share * (to_ - from_);
}

std::string Scale::name_of(double tick) const {
  if (step_ == 0) return short_number(tick);
  if (tick == 0) return "0";
  const double most = std::max(std::abs(ticks_.front()), std::abs(ticks_.back()));
  // Thousands and so on of the largest, with as many decimals as the step has.
  const Suffix suffix = most >= 1e4 ? suffix_of(most) : Suffix{1, ""};
  const double step = step_ / suffix.size;
  if (step < 0.9e-4 || most < 0.9e-2)
    return scientific(tick, std::max(0, static_cast<int>(std::ceil(std::log10(most / step_) - 1e-9))));
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return without_zeros(fmt::format("{:.{}f}", tick / suffix.size, decimals)) + suffix.letter;
}

std::string short_number(double value, int digits) {
  if (std::isnan(value)) return "";
  if (std::isinf(value)) return value > 0 ? "infinite" : "-infinite";
  if (value == std::floor(value) && std::abs(value) < 1e4)
    return fmt::format("{:.0f}", value == 0 ? 0 : value);
  // Rounded first, as 999.9 may become a thousand.
  const double power = std::pow(10.0, digits - 1 - std::floor(std::log10(std::abs(value))));
  const double rounded = std::isfinite(power) && power > 0 ? std::round(value * power) / power : value;
  if (std::abs(rounded) < 1e-4 || std::abs(rounded) >= 1e15) return scientific(rounded, digits - 1);
  const Suffix suffix = std::abs(rounded) >= 1e4 ? suffix_of(rounded) : Suffix{1, ""};
  const double scaled = rounded / suffix.size;
  const int before = static_cast<int>(std::floor(std::log10(std::abs(scaled)) + 1e-9)) + 1;
  return without_zeros(fmt::format("{:.{}f}", scaled, std::max(0, digits - before))) + suffix.letter;
}

TimeUnit time_unit(double most) {
  if (most > 2 * 86400) return {86400, "days"};
  if (most > 2 * 3600) return {3600, "hours"};
  if (most > 300) return {60, "minutes"};
  return {1, "seconds"};
}

}  // namespace galapagos::report
