#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <vector>

namespace galapagos {

/// A hash table from pairs of non-negative ids to a rank and an id, quick to look up in and not to be removed
/// from.
class PairTable {
 public:
  struct Entry {
    std::int32_t left = -1;
    std::int32_t right = -1;
    std::uint32_t rank = 0;
    std::int32_t result = 0;
  };

  /// The later of two entries for one pair counts.
  void insert(const Entry& entry) {
    if ((size_ + 1) * 2 > slots_.size()) grow();
    Entry& slot = slots_[slot_of(entry.left, entry.right)];
    if (slot.left < 0) ++size_;
    slot = entry;
  }

  /// Null where the pair has no entry.
  const Entry* find(std::int32_t left, std::int32_t right) const {
    if (slots_.empty()) return nullptr;
    const Entry& slot = slots_[slot_of(left, right)];
    return slot.left < 0 ? nullptr : &slot;
  }

  std::size_t size() const { return size_; }

  /// In the order of their ranks.
  std::vector<Entry> entries() const {
    std::vector<Entry> entries;
    std::ranges::copy_if(slots_, std::back_inserter(entries),
                         [](const Entry& entry) { return entry.left >= 0; });
    std::ranges::sort(entries, {}, &Entry::rank);
    return entries;
  }

 private:
  /// Where the pair is, or would be put.
  std::size_t slot_of(std::int32_t left, std::int32_t right) const {
    const std::uint64_t key =
        (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) | static_cast<std::uint32_t>(right);
    const std::size_t mask = slots_.size() - 1;
    auto at = static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> 20) & mask;
    while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  void grow() {
    std::vector<Entry> old(slots_.empty() ? 64 : slots_.size() * 2);
    old.swap(slots_);
    for (const Entry& entry : old) {
      if (entry.left >= 0) slots_[slot_of(entry.left, entry.right)] = entry;
    }
  }

  std::vector<Entry> slots_;
  std::size_t size_ = 0;
};

}  // namespace galapagos
