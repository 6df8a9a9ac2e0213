#include "support/catch.hpp"

#include <cmath>

#include <galapagos/core/error.hpp>
#include <galapagos/training/schedule.hpp>

using namespace galapagos;

namespace {

Schedule schedule_of(Decay decay) {
  Schedule schedule;
  schedule.decay = decay;
  schedule.peak = 1;
  schedule.least = 0.1;
  schedule.warmup = 4;
  schedule.steps = 12;
  return schedule;
}

}  // namespace

TEST_CASE("learning rates warm up and decay", "[schedule]") {
  for (const Decay decay : {Decay::constant, Decay::linear, Decay::cosine}) {
    const Schedule schedule = schedule_of(decay);
    for (std::int64_t step = 0; step < 4; ++step)
      CHECK(schedule.at(step) == Approx(0.25 * static_cast<double>(step + 1)));
    CHECK(schedule.at(4) == 1);
  }
  CHECK(schedule_of(Decay::constant).at(11) == 1);
  CHECK(schedule_of(Decay::linear).at(8) == Approx(0.55));  // half of the way
  CHECK(schedule_of(Decay::cosine).at(8) == Approx(0.55));
  CHECK(schedule_of(Decay::linear).at(6) == Approx(0.775));
  CHECK(schedule_of(Decay::cosine).at(6) == Approx(0.1 + 0.9 * (1 + std::sqrt(0.5)) / 2));
  for (const Decay decay : {Decay::linear, Decay::cosine}) {
    CHECK(schedule_of(decay).at(12) == Approx(0.1));
    CHECK(schedule_of(decay).at(100) == Approx(0.1));  // never beyond the end
  }
}

TEST_CASE("a schedule of one update, without warm-up or with nothing else", "[schedule]") {
  Schedule schedule = schedule_of(Decay::cosine);
  schedule.warmup = 0;
  schedule.steps = 1;
  CHECK(schedule.at(0) == 1);
  schedule.warmup = 1;
  CHECK(schedule.at(0) == 1);
  CHECK(schedule.at(1) == 1);
}
