#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include <galapagos/core/file.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/core/resume.hpp>
#include <galapagos/model/generation_options.hpp>

namespace galapagos::app {

/// What ends a text, as the output says it: "eos", "stop" or "length".
const char* name_of(StopReason reason);

/// Texts that have ended, in a file of one writer; the next one reads them, also where the writer was killed.
class TextFile {
 public:
  explicit TextFile(std::filesystem::path path) : path_(std::move(path)) {}

  /// ResourceError where it cannot be written.
  void add(std::size_t prompt, const GeneratedText& text);

 private:
  std::filesystem::path path_;
  std::optional<FileDescriptor> file_;
  std::uint64_t size_ = 0;
};

/// What earlier runs have kept.
struct EarlierTexts {
  std::map<std::size_t, GeneratedText> texts;  ///< by their prompts
  std::int64_t next_file = 0;                  ///< the number of the first TextFile of this run
};

/// Where `generate` keeps what it has written until it has written all: the folder OUT.part, with what
/// decides the texts in run.json and a TextFile of each writer of each run. One rank of a run opens and
/// publishes.
class KeptTexts {
 public:
  explicit KeptTexts(const std::filesystem::path& output);

  /// Makes the folder where there is none, and reads the texts that are there. `identity`: what decides them.
  /// InputError where they are another run's, --resume says no, or the folder holds something else.
  EarlierTexts open(const Json& identity, std::size_t prompts, std::int64_t vocabulary, Resume resume,
                    bool fresh) const;
  std::filesystem::path file(std::int64_t number) const;

  /// Gives `lines` the name of the output, and removes the folder.
  void publish(const std::string& lines) const;

 private:
  std::filesystem::path output_, folder_;
};

}  // namespace galapagos::app
