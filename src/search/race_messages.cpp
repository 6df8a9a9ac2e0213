#include "race_messages.hpp"

#include <cstring>
#include <string>
#include <type_traits>

namespace galapagos {
namespace {

class Writer {
 public:
  template <typename T>
  void add(const T& value) {
    static_assert(std::is_arithmetic_v<T> || std::is_enum_v<T>);
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  }
  template <typename Values>
  void add_all(const Values& values) {
    add(std::uint64_t{values.size()});
    const auto raw = std::as_bytes(std::span(values));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  }

  std::vector<std::byte> bytes;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  void take(T& value) {
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
  }
  template <typename Values>
  void take_all(Values& values) {
    std::uint64_t count = 0;
    take(count);
    values.resize(count);
    const std::size_t size = count * sizeof(typename Values::value_type);
    if (size > 0) std::memcpy(values.data(), bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace

std::vector<std::byte> to_bytes(const RaceMessage& message) {
  Writer writer;
  writer.add(std::uint64_t{message.trials.size()});
  for (const MeasuredTrial& one : message.trials) {
    for (const std::int64_t number : {one.island, one.generation, one.index, one.block}) writer.add(number);
    writer.add(one.trial.origin);
    writer.add(one.trial.expected);
    writer.add_all(one.trial.assignment);
    writer.add_all(one.sums);
  }
  writer.add_all(message.standing ? to_line(*message.standing) : std::string());
  writer.add(std::uint8_t{message.watched ? std::uint8_t{1} : std::uint8_t{0}});
  const Watched watched = message.watched.value_or(Watched());
  for (const std::int64_t number : {watched.island, watched.generation}) writer.add(number);
  writer.add(watched.loss);
  return std::move(writer.bytes);
}

RaceMessage race_message_of(std::span<const std::byte> bytes, const SearchSpace& space) {
  RaceMessage message;
  Reader reader(bytes);
  std::uint64_t count = 0;
  reader.take(count);
  message.trials.resize(count);
  for (MeasuredTrial& one : message.trials) {
    for (std::int64_t* number : {&one.island, &one.generation, &one.index, &one.block}) reader.take(*number);
    reader.take(one.trial.origin);
    reader.take(one.trial.expected);
    reader.take_all(one.trial.assignment);
    reader.take_all(one.sums);
  }
  std::string standing;
  reader.take_all(standing);
  message.standing = standing_of(standing, space);
  std::uint8_t is_watched = 0;
  Watched watched;
  reader.take(is_watched);
  for (std::int64_t* number : {&watched.island, &watched.generation}) reader.take(*number);
  reader.take(watched.loss);
  if (is_watched != 0) message.watched = watched;
  return message;
}

}  // namespace galapagos
