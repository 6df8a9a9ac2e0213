#include "bad/bad_input.hpp"

#include "support/files.hpp"

#include <stdexcept>

#include <galapagos/core/file.hpp>

namespace galapagos::storm {

namespace fs = std::filesystem;
using Spoil = std::function<void(const fs::path&)>;

Spoil edit(std::function<std::string(std::string)> made) {
  return [=](const fs::path& file) { test::write_text(file, made(read_file(file))); };
}

Spoil put(std::string text) {
  return edit([=](const std::string&) { return text; });
}

Spoil cut(double share) {
  return edit([=](const std::string& text) {
    return text.substr(0, static_cast<std::size_t>(share * static_cast<double>(text.size())));
  });
}

Spoil swap_text(std::string old, std::string with) {
  return edit([=](std::string text) {
    const std::size_t at = text.find(old);
    if (at == std::string::npos) throw std::runtime_error("there is no " + old + " to replace");
    return text.replace(at, old.size(), with);
  });
}

Spoil edit_json(std::function<void(Json& json)> change) {
  return edit([=](const std::string& text) {
    Json json = Json::parse(text);
    change(json);
    return json.dump();
  });
}

}  // namespace galapagos::storm
