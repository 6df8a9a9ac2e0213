#include "builtins.hpp"

#include <ctime>

#include <galapagos/core/error.hpp>

namespace galapagos::jinja {
namespace {

/// The named arguments, and those of a dictionary.
Dict members_of(const Arguments& arguments) {
  if (arguments.positional.size() > 1) fail("makes a dictionary of several values");
  Dict members;
  for (const Value& value : arguments.positional) {
    if (value.dict() == nullptr) fail(std::string("makes a dictionary of ") + value.kind());
    members = *value.dict();
  }
  for (const auto& [name, value] : arguments.named) {
    check_kept(value);
    put(members, name, value);
  }
  return members;
}

Value range(const Arguments& arguments) {
  constexpr std::int64_t most = 100'000;  // as Jinja's sandbox
  std::int64_t parts[3] = {0, 0, 1};
  const std::size_t count = arguments.positional.size();
  if (count < 1 || count > 3) fail("range needs 1 to 3 numbers");
  for (std::size_t i = 0; i < count; ++i) {
    const auto number = as_integer(arguments.positional[i]);
    if (!number) fail(std::string("range of ") + arguments.positional[i].kind());
    parts[count == 1 ? 1 : i] = *number;
  }
  const auto [first, last, step] = parts;
  if (step == 0) fail("range with step 0");
  List numbers;
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    if (numbers.size() >= static_cast<std::size_t>(most)) fail("range of too many numbers");
    numbers.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return numbers;
}

/// Always the same day, that which Llama's templates take where there is no clock: a text is to be the same
/// tomorrow.
Value date(const Arguments& arguments) {
  if (arguments.positional.size() != 1 || arguments.positional[0].text() == nullptr)
    fail("strftime_now needs a format");
  std::tm day{};
  day.tm_year = 2024 - 1900;
  day.tm_mon = 6;
  day.tm_mday = 26;
  day.tm_wday = 5;
  day.tm_yday = 207;
  const std::string& format = *arguments.positional[0].text();
  if (format.size() > 200) fail("a date's format is too long");
  char text[4096];
  return std::string(text, std::strftime(text, sizeof text, format.c_str(), &day));
}

Value refuse(const Arguments& arguments) {
  const bool said = !arguments.positional.empty() && arguments.positional[0].text() != nullptr;
  fail("refuses the conversation: " +
       (said ? printable(*arguments.positional[0].text(), 200) : std::string("?")));
}

}  // namespace

Dict globals() {
  return {
      {"namespace", Function([](const Arguments& a) {
         return Value(Value::Namespace{std::make_shared<Dict>(members_of(a))});
       })},
      {"dict", Function([](const Arguments& a) { return Value(members_of(a)); })},
      {"range", Function(range)},
      {"strftime_now", Function(date)},
      {"raise_exception", Function(refuse)},
  };
}

}  // namespace galapagos::jinja
