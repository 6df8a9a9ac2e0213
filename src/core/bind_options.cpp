#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <limits>
#include <sstream>
#include <type_traits>

#include <galapagos/core/error.hpp>
#include <galapagos/core/options.hpp>
#include <galapagos/core/text.hpp>

// How options are bound to members of each type.
namespace galapagos {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

using Words = std::vector<std::string>;

template <typename T>
const T* held(const T& member) {
  return &member;
}
template <typename T>
const T* held(const std::optional<T>& member) {
  return member ? &*member : nullptr;
}

/// The greatest unit that leaves a whole number.
std::string bytes_text(std::uint64_t bytes) {
  constexpr std::pair<char, int> units[] = {{'T', 40}, {'G', 30}, {'M', 20}, {'K', 10}};
  for (const auto& [unit, power] : units)
    if (bytes > 0 && bytes % (std::uint64_t{1} << power) == 0)
      return fmt::format("{}{}", bytes >> power, unit);
  return fmt::format("{}", bytes);
}

std::string range_text(const OptionRules& rules) {
  if (rules.above) return fmt::format("above {:g} and up to {:g}", rules.least, rules.most);
  if (std::isinf(rules.most)) return fmt::format("{:g} or more", rules.least);
  return fmt::format("{:g} to {:g}", rules.least, rules.most);
}

}  // namespace

template <typename T>
void Options::add(const std::string& name, T& member, const std::string& help, const OptionRules& rules) {
  using Held = std::remove_cvref_t<decltype(*held(member))>;
  if constexpr (std::is_same_v<T, bool>) {
    keep(po::bool_switch()->notifier([&member](bool value) { member = value; }),
         {name, help, rules, [&member] { return Json(member); }, {}});
  } else if constexpr (std::is_same_v<T, Words> || std::is_same_v<T, std::vector<fs::path>>) {
    const auto set = [&member](const Words& words) { member = {words.begin(), words.end()}; };
    const auto value = [&member] {
      Json json = Json::array();
      for (const auto& one : member) json.push_back(fs::path(one).string());
      return json;
    };
    keep(po::value<Words>()->multitoken()->composing()->notifier(set), {name, help, rules, value, {}});
  } else if constexpr (std::is_arithmetic_v<Held>) {
    using Read = std::conditional_t<std::is_floating_point_v<Held>, double, std::int64_t>;
    const auto set = [&member](Read value) {
      constexpr Read most = std::numeric_limits<int>::max();  // out of every range
      member = static_cast<Held>(std::is_same_v<Held, int> ? std::clamp(value, -most, most) : value);
    };
    auto* semantic = po::value<Read>()->notifier(set);
    const Held* usual = held(member);
    if (usual != nullptr && !(rules.none_at_0 && *usual == 0))
      semantic->default_value(static_cast<Read>(*usual));
    const auto value = [&member] { return held(member) ? Json(*held(member)) : Json(); };
    keep(semantic, {name, help, rules, value, Json(static_cast<Held>(-1))});
  } else {
    const auto write = [&member] { return held(member) ? fs::path(*held(member)).string() : ""; };
    add_text(
        name, write, [&member](const std::string& text) { member = text; }, help, rules);
  }
}

using Name = const std::string&;
using Rules = const OptionRules&;
template void Options::add(Name, bool&, Name, Rules);
template void Options::add(Name, int&, Name, Rules);
template void Options::add(Name, std::int64_t&, Name, Rules);
template void Options::add(Name, std::uint64_t&, Name, Rules);
template void Options::add(Name, double&, Name, Rules);
template void Options::add(Name, std::string&, Name, Rules);
template void Options::add(Name, fs::path&, Name, Rules);
template void Options::add(Name, std::optional<std::int64_t>&, Name, Rules);
template void Options::add(Name, std::optional<double>&, Name, Rules);
template void Options::add(Name, std::optional<std::string>&, Name, Rules);
template void Options::add(Name, std::optional<fs::path>&, Name, Rules);
template void Options::add(Name, Words&, Name, Rules);
template void Options::add(Name, std::vector<fs::path>&, Name, Rules);

void Options::add_bytes(const std::string& name, std::uint64_t& member, const std::string& help) {
  const auto read = [&member, name](const std::string& text) { member = parse_bytes(text, "--" + name); };
  add_text(
      name, [&member] { return bytes_text(member); }, read, help);
}

void Options::add_seconds(const std::string& name, double& member, const std::string& help) {
  const auto read = [&member, name](const std::string& text) { member = parse_duration(text, "--" + name); };
  add_text(
      name, [&member] { return fmt::format("{:g}", member); }, read, help);
}

void Options::add_text(const std::string& name, const std::function<std::string()>& write,
                       const std::function<void(const std::string&)>& read, const std::string& help,
                       const OptionRules& rules) {
  auto* semantic = po::value<std::string>()->notifier(read);
  if (const std::string usual = write(); !usual.empty()) semantic->default_value(usual);
  if (!rules.implied.empty()) semantic->implicit_value(rules.implied);
  keep(semantic, {name, help, rules, [write] { return Json(write()); }, {}});
}

void Options::add_word(const std::string& name, const std::string& kind, const Words& words,
                       const std::function<std::ptrdiff_t()>& place,
                       const std::function<void(std::size_t)>& choose, const std::string& help,
                       OptionRules rules) {
  rules.takes = fmt::format("{} or {}", fmt::join(words.begin(), words.end() - 1, ", "), words.back());
  const auto read = [=](const std::string& word) {
    const auto found = std::find(words.begin(), words.end(), word);
    if (found != words.end()) return choose(static_cast<std::size_t>(found - words.begin()));
    const std::string quoted = "'" + printable(word) + "'";
    if (kind.empty()) throw UsageError(quoted, "--" + name, "give " + rules.takes);
    throw UsageError("unknown " + kind + " " + quoted, "--" + name, "choose " + rules.takes);
  };
  add_text(
      name, [=] { return words.at(static_cast<std::size_t>(place())); }, read, help, rules);
}

void Options::keep(const po::value_semantic* semantic, Bound option) {
  declared_.add_options()(option.name.c_str(), semantic, option.help.c_str());
  if (std::isfinite(option.rules.least)) {
    option.rules.takes = range_text(option.rules);
    const char* begin = std::isinf(option.rules.most) ? "give "
                        : option.rules.above          ? "give a number "
                                                      : "give a number from ";
    if (option.rules.remedy.empty()) option.rules.remedy = begin + option.rules.takes;
  }
  bound_.push_back(std::move(option));
}

void Options::check() const {
  for (const auto& [name, help, rules, value, absent] : bound_) {
    const Json found = value();
    if (!std::isfinite(rules.least) || !found.is_number()) continue;
    const auto number = found.get<double>();
    if (number <= rules.most && (rules.above ? number > rules.least : number >= rules.least)) continue;
    const std::string text = found.is_number_float() ? fmt::format("{:g}", number) : found.dump();
    throw UsageError(fmt::format(fmt::runtime(rules.refusal), text), "--" + name, rules.remedy);
  }
}

Json Options::identity() const {
  Json json = Json::object();
  for (const auto& [name, help, rules, value, absent] : bound_) {
    if (!rules.decides) continue;
    const Json found = value();
    json[name] = found.is_null() ? absent : found;
  }
  return json;
}

std::vector<std::int64_t> parse_integers(const std::string& text, const std::string& option) {
  std::vector<std::int64_t> numbers;
  std::string spaced = text;
  std::replace(spaced.begin(), spaced.end(), ',', ' ');
  std::istringstream stream(spaced);
  for (std::string word; stream >> word;) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw UsageError("'" + printable(word) + "' is not a whole number", option,
                       "write whole numbers separated by spaces");
    }
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace galapagos
