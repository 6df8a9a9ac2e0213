#include "kept_texts.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <span>
#include <sstream>
#include <vector>

#include <galapagos/core/error.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/logging.hpp>

namespace galapagos::app {
namespace {

namespace fs = std::filesystem;

constexpr const char *identity_name = "run.json", *output_name = "output.jsonl";
constexpr std::string_view file_prefix = "texts-", file_suffix = ".jsonl";
constexpr std::array reasons = {StopReason::end, StopReason::word, StopReason::length};

/// That of a TextFile; nothing for other files.
std::optional<std::int64_t> number_of(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(file_prefix) || !name.ends_with(file_suffix)) return std::nullopt;
  const char *begin = name.data() + file_prefix.size(), *end = name.data() + name.size() - file_suffix.size();
  std::int64_t number = 0;
  const auto [at, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || at != end || number < 0) return std::nullopt;
  return number;
}

bool is_own(const fs::path& path) {
  const fs::path name = path.filename();
  return name == identity_name || name == part_path(identity_name) || name == output_name || number_of(path);
}

/// What decides the texts goes last, so that what is left says whose it is.
void remove_own(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> own;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (is_own(entry.path()) && entry.path().filename() != identity_name) own.push_back(entry.path());
  own.push_back(folder / identity_name);
  for (const fs::path& path : own) fs::remove(path);
}

void check_own(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  const auto own = [](const fs::directory_entry& entry) { return is_own(entry.path()); };
  if (fs::is_directory(folder) && std::all_of(fs::directory_iterator(folder), fs::directory_iterator(), own))
    return;
  throw InputError("is there, and holds what is not of a generation", folder.string(),
                   "move it elsewhere, or choose another --output");
}

struct KeptText {
  std::size_t prompt = 0;
  GeneratedText text;
};

/// Nothing for what is no whole record, as where its writer was killed.
std::optional<KeptText> read_record(const std::string& line, std::size_t prompts, std::int64_t vocabulary) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("prompt") || !json["prompt"].is_number_unsigned() ||
      !json.contains("ids") || !json["ids"].is_array() || !json.contains("stop"))
    return std::nullopt;
  KeptText kept;
  kept.prompt = json["prompt"].get<std::size_t>();
  const auto* reason =
      std::ranges::find_if(reasons, [&](StopReason one) { return json["stop"] == name_of(one); });
  if (kept.prompt >= prompts || reason == reasons.end()) return std::nullopt;
  kept.text.reason = *reason;
  for (const Json& id : json["ids"]) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocabulary))
      return std::nullopt;
    kept.text.ids.push_back(id.get<std::int32_t>());
  }
  return kept;
}

}  // namespace

const char* name_of(StopReason reason) {
  switch (reason) {
    case StopReason::end:
      return "eos";
    case StopReason::word:
      return "stop";
    case StopReason::length:
      return "length";
  }
  return "";
}

void TextFile::add(std::size_t prompt, const GeneratedText& text) {
  Json record;
  record["prompt"] = prompt;
  record["ids"] = text.ids;
  record["stop"] = name_of(text.reason);
  const std::string line = record.dump() + "\n";
  if (!file_) file_.emplace(path_, O_WRONLY | O_CREAT | O_TRUNC);
  file_->write_at(std::as_bytes(std::span(line)), size_);
  size_ += line.size();
}

KeptTexts::KeptTexts(const fs::path& output) : output_(output), folder_(part_path(output)) {}

fs::path KeptTexts::file(std::int64_t number) const {
  return folder_ / fmt::format("{}{}{}", file_prefix, number, file_suffix);
}

EarlierTexts KeptTexts::open(const Json& identity, std::size_t prompts, std::int64_t vocabulary,
                             Resume resume, bool fresh) const {
  check_own(folder_);
  if (fresh) remove_own(folder_);
  const fs::path decided = folder_ / identity_name;
  const Found found = fs::exists(decided) ? Found::unfinished : Found::nothing;
  check_found(resume, found, "generation", folder_.string());
  EarlierTexts earlier;
  if (found == Found::nothing) {
    remove_own(folder_);  // of a run that was killed as it began or ended
    make_folders(folder_);
    write_file_atomically(decided, identity.dump(2) + "\n");
    return earlier;
  }
  check_identity(read_file(decided), identity.dump(), "generation", decided.string());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::optional<std::int64_t> number = number_of(entry.path());
    if (!number) continue;
    earlier.next_file = std::max(earlier.next_file, *number + 1);
    std::istringstream lines(read_file(entry.path()));
    for (std::string line; std::getline(lines, line);) {
      std::optional<KeptText> kept = read_record(line, prompts, vocabulary);
      if (kept) earlier.texts.emplace(kept->prompt, std::move(kept->text));
    }
  }
  log_info("goes on from {}, {} of {} texts done; --fresh begins anew", folder_.string(),
           earlier.texts.size(), prompts);
  return earlier;
}

void KeptTexts::publish(const std::string& lines) const {
  const fs::path whole = folder_ / output_name;
  FileDescriptor(whole, O_WRONLY | O_CREAT | O_TRUNC).write_at(std::as_bytes(std::span(lines)), 0);
  publish_file(whole, output_);
  try {
    remove_own(folder_);
    fs::remove(folder_);
  } catch (const fs::filesystem_error& error) {  // the texts are there
    log_warning("{} is left: {}", folder_.string(), error.code().message());
  }
}

}  // namespace galapagos::app
