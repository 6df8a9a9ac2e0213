#include "kept_texts.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fcntl.h>
#include <fmt/format.h>
#include <span>
#include <sstream>

#include <galapagos/core/error.hpp>
#include <galapagos/core/identity.hpp>
#include <galapagos/core/logging.hpp>
#include <galapagos/core/own_files.hpp>

namespace galapagos::app {
namespace {

namespace fs = std::filesystem;

constexpr const char *identity_name = "run.json", *output_name = "output.jsonl";
constexpr std::string_view before_number = "texts-", behind_number = ".jsonl";
constexpr std::array reasons = {StopReason::end, StopReason::word, StopReason::length};

const OwnFiles& own_files() {
  static const OwnFiles files = {"run.json", "run.json.part", "output.jsonl", "texts-*.jsonl"};
  return files;
}

/// That of a TextFile; nothing for other files.
std::optional<std::int64_t> number_of(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with(before_number) || !name.ends_with(behind_number)) return std::nullopt;
  const char *begin = name.data() + before_number.size(),
             *end = name.data() + name.size() - behind_number.size();
  std::int64_t number = 0;
  const auto [at, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || at != end || number < 0) return std::nullopt;
  return number;
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
  return folder_ / fmt::format("{}{}{}", before_number, number, behind_number);
}

std::map<std::size_t, GeneratedText> KeptTexts::open(const Json& identity, std::size_t prompts,
                                                     std::int64_t vocabulary, Resume resume, bool fresh) {
  const fs::path decided = folder_ / identity_name;
  if (fs::exists(folder_) && !fs::exists(decided) && !(fs::is_directory(folder_) && fs::is_empty(folder_)))
    throw InputError("is there, and not of a generation", folder_.string(),
                     "move it elsewhere, or choose another --output");
  if (fresh) remove_own_files(folder_, own_files());
  const Found found = fs::exists(decided) ? Found::unfinished : Found::nothing;
  check_found(resume, found, "generation", folder_.string());
  std::map<std::size_t, GeneratedText> texts;
  if (found == Found::nothing) {
    make_folders(folder_);
    write_file_atomically(decided, identity.dump(2) + "\n");
    return texts;
  }
  check_identity(read_file(decided), identity.dump(), "generation", decided.string());
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::optional<std::int64_t> number = number_of(entry.path());
    if (!number) continue;
    first_file_ = std::max(first_file_, *number + 1);
    std::istringstream lines(read_file(entry.path()));
    for (std::string line; std::getline(lines, line);) {
      std::optional<KeptText> kept = read_record(line, prompts, vocabulary);
      if (kept) texts.emplace(kept->prompt, std::move(kept->text));
    }
  }
  log_info("goes on from {}, {} of {} texts done; --fresh begins anew", folder_.string(), texts.size(),
           prompts);
  return texts;
}

void KeptTexts::publish(const std::string& lines) const {
  const fs::path whole = folder_ / output_name;
  FileDescriptor(whole, O_WRONLY | O_CREAT | O_TRUNC).write_at(std::as_bytes(std::span(lines)), 0);
  publish_file(whole, output_);
  remove_own_files(folder_, own_files());
  std::error_code other_files;
  fs::remove(folder_, other_files);
}

}  // namespace galapagos::app
