#include "budget.hpp"

#include "fault.hpp"

#include <cstdint>

namespace galapagos::jinja {
namespace {

constexpr std::size_t most = std::size_t{1} << 30;
constexpr int deepest = 1500;

thread_local Budget* of_thread = nullptr;

}  // namespace

Budget::Budget() : left_(most), outer_(of_thread) {
  of_thread = this;
}

Budget::~Budget() {
  of_thread = outer_;
}

Budget* Budget::current() {
  return of_thread;
}

void spend(std::size_t cost) {
  if (of_thread == nullptr) return;
  if (cost > of_thread->left_) fail("goes on for too long, or makes too much");
  of_thread->left_ -= cost;
}

void spend_search(std::size_t text, std::size_t part) {
  if (part <= text) spend(step_cost + text / 64 * part);
}

Level::Level(int levels) : budget_(of_thread), levels_(levels) {
  if (budget_ == nullptr) return;
  if (budget_->depth_ + levels_ > deepest) fail("calls macros or nests expressions too deeply");
  budget_->depth_ += levels_;
}

Level::~Level() {
  if (budget_ != nullptr) budget_->depth_ -= levels_;
}

}  // namespace galapagos::jinja
