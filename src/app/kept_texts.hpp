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

/// Where `generate` keeps what it has written until it has written all: the folder OUT.part, with what
/// decides the texts in run.json and a TextFile of each writer of each run.
class KeptTexts {
 public:
  explicit KeptTexts(const std::filesystem::path& output);

  /// For one rank of a run: makes the folder where there is none, and reads the texts that are there, by
  /// their prompts. `identity`: what decides them. InputError where they are another run's or --resume says
  /// no.
  std::map<std::size_t, GeneratedText> open(const Json& identity, std::size_t prompts,
                                            std::int64_t vocabulary, Resume resume, bool fresh);
  /// The number of the first TextFile of this run.
  std::int64_t first_file() const { return first_file_; }
  std::filesystem::path file(std::int64_t number) const;
  const std::filesystem::path& folder() const { return folder_; }

  /// For the same rank: gives `lines` the name of the output, and removes the folder.
  void publish(const std::string& lines) const;

 private:
  std::filesystem::path output_, folder_;
  std::int64_t first_file_ = 0;
};

}  // namespace galapagos::app
