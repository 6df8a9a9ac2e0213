#pragma once

#include <string>
#include <vector>

namespace galapagos::report {

/// Numbers onto a line: an axis of a picture.
class Scale {
 public:
  /// From `low` to `high`, drawn from `from` to `to`; about `count` ticks at 1, 2 or 5 times a power of ten.
  /// `widened`: the ends become ticks.
  static Scale linear(double low, double high, double from, double to, int count, bool widened = true);
  /// The same of logarithms; ticks at powers of ten, and at 2 and 5 times them where there are few.
  static Scale logarithmic(double low, double high, double from, double to);
  /// The ticks are these numbers alone, on logarithms.
  static Scale at(std::vector<double> ticks, double from, double to);

  double operator()(double value) const;
  const std::vector<double>& ticks() const { return ticks_; }
  /// What a tick is called, as short as all are told apart.
  std::string name_of(double tick) const;
  double low() const { return low_; }
  double high() const { return high_; }

 private:
  double low_ = 0, high_ = 1, from_ = 0, to_ = 1, step_ = 0;
  bool logarithmic_ = false;
  std::vector<double> ticks_;
};

/// 1234567 as "1.23M", 0.00001234 as "1.23e-5"; `digits` that count.
std::string short_number(double value, int digits = 3);

/// The unit for times up to so many seconds: its length in seconds, and its name.
struct TimeUnit {
  double seconds;
  const char* name;
};
TimeUnit time_unit(double most);

}  // namespace galapagos::report
