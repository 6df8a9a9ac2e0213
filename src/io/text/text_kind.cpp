#include "text_kind.hpp"

#include "table_files.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fmt/format.h>
#include <optional>
#include <string>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_compression(const std::string& suffix) {
  return suffix == ".gz" || suffix == ".gzip" || suffix == ".zst" || suffix == ".zstd";
}

/// The last suffix that is not of a compression, in small letters.
std::string kind_suffix(fs::path name) {
  while (is_compression(lower(name.extension()))) name = name.stem();
  return lower(name.extension());
}

std::optional<TextKind> kind_by_name(const std::string& suffix) {
  if (suffix == ".txt" || suffix == ".text") return TextKind::whole;
  if (suffix == ".jsonl" || suffix == ".ndjson" || suffix == ".jsonlines") return TextKind::lines;
  if (suffix == ".json") return TextKind::json;
  return std::nullopt;
}

struct Signature {
  std::string_view bytes;
  std::size_t at;
  const char *name, *remedy;
};

constexpr std::array signatures = {
    Signature{"PAR1"sv, 0, "a Parquet file", jsonl_of_parquet},
    Signature{"ARROW1"sv, 0, "an Arrow file", jsonl_of_arrow},
    Signature{"\xff\xff\xff\xff"sv, 0, "an Arrow stream", jsonl_of_arrow},
    Signature{"BZh"sv, 0, "compressed with bzip2", "bunzip2 it, or make it .zst"},
    Signature{"\xfd"
              "7zXZ"sv,
              0, "compressed with xz", "unxz it, or make it .zst"},
    Signature{"\x04\x22\x4d\x18"sv, 0, "compressed with lz4", "unlz4 it, or make it .zst"},
    Signature{"PK\x03\x04"sv, 0, "a zip archive",
              "unzip it and give the files in it; of a PyTorch file (.pt) write the texts as .jsonl or the "
              "token ids as "
              "Megatron's .bin"},
    Signature{"7z\xbc\xaf\x27\x1c"sv, 0, "a 7z archive", "unpack it and give the files in it"},
    Signature{"ustar"sv, 257, "a tar archive", "unpack it and give the files in it"},
    Signature{"\x89HDF"sv, 0, "an HDF5 file", "write its texts into .jsonl"},
    Signature{"\x93NUMPY"sv, 0, "a NumPy array", "give text, or tokens as Megatron's or llm.c's .bin"},
    Signature{"%PDF-"sv, 0, "a PDF file", "make text of it, as by pdftotext"},
    Signature{"SQLite format 3"sv, 0, "an SQLite database", "write its texts into .jsonl"},
};

bool has_zero(std::string_view head) {
  return head.find('\0') != std::string_view::npos;
}

/// Whether nearly every other byte is 0, from `first` on, and hardly one of the rest: UTF-16 of mostly ASCII.
bool alternates(std::string_view head, std::size_t first) {
  std::array<std::size_t, 2> zeros = {0, 0};
  for (std::size_t i = 0; i < head.size(); ++i) zeros[i % 2] += head[i] == '\0' ? 1 : 0;
  const std::size_t half = head.size() / 2;
  return half >= 4 && zeros[first] * 10 > half * 6 && zeros[1 - first] * 20 < half;
}

const char* utf16_name(std::string_view head) {
  if (head.starts_with("\xff\xfe\0\0"sv) || head.starts_with("\0\0\xfe\xff"sv)) return "UTF-32";
  if (head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff")) return "UTF-16";
  if (alternates(head, 1)) return "UTF-16LE";
  return alternates(head, 0) ? "UTF-16BE" : nullptr;
}

void refuse_other_encodings(const fs::path& path, std::string_view head) {
  const char* name = utf16_name(head);
  if (name == nullptr) return;
  throw InputError(fmt::format("is {}, not UTF-8", name), path.string(),
                   fmt::format("convert it: iconv -f {} -t UTF-8 FILE > NEW", name));
}

void refuse_signatures(const fs::path& path, std::string_view head, bool named_text) {
  for (const Signature& signature : signatures) {
    if (head.size() < signature.at || !head.substr(signature.at).starts_with(signature.bytes)) continue;
    const bool printable_bytes = static_cast<unsigned char>(signature.bytes.front()) < 0x80;
    if (named_text && printable_bytes && !has_zero(head)) continue;  // a text may begin with any word
    throw InputError(fmt::format("is {}, not text", signature.name), path.string(), signature.remedy);
  }
}

/// The first letters, small ones.
std::string start_of(std::string_view head) {
  if (head.starts_with(byte_order_mark)) head.remove_prefix(byte_order_mark.size());
  head.remove_prefix(std::min(head.find_first_not_of(" \t\r\n"), head.size()));
  return lower(std::string(head.substr(0, 16)));
}

void refuse_stand_ins(const fs::path& path, std::string_view head, bool named_text) {
  if (head.starts_with("version https://git-lfs.github.com/spec/")) {
    throw InputError("is a Git LFS pointer, not the file itself", path.string(),
                     "get the file: git lfs pull, or download it from its page");
  }
  if (named_text) return;
  if (is_web_page(head)) {
    throw InputError("is an HTML page, not the data: perhaps one that asks for a login", path.string(),
                     "download the file again, with the rights that it needs");
  }
  if (start_of(head).starts_with("<?xml")) {
    throw InputError("is XML, not JSON: perhaps the answer of a server that refused", path.string(),
                     "download the file again, with the rights that it needs");
  }
}

std::optional<TextKind> kind_by_content(std::string_view head) {
  if (head.starts_with(byte_order_mark)) head.remove_prefix(byte_order_mark.size());
  const auto skip = [&] { head.remove_prefix(std::min(head.find_first_not_of(" \t\r\n"), head.size())); };
  skip();
  if (head.starts_with('[')) {
    head.remove_prefix(1);
    skip();
  }
  if (head.starts_with('{')) return TextKind::json;
  return std::nullopt;
}

}  // namespace

bool is_web_page(std::string_view head) {
  const std::string start = start_of(head);
  return start.starts_with("<!doctype html") || start.starts_with("<html");
}

bool named_compressed(const fs::path& path) {
  return is_compression(lower(path.extension()));
}

TextKind text_kind(const fs::path& path, std::string_view head) {
  const auto named = kind_by_name(kind_suffix(path.filename()));
  const bool named_text = named == TextKind::whole;
  refuse_stand_ins(path, head, named_text);
  refuse_signatures(path, head, named_text);
  refuse_other_encodings(path, head);
  if (named) return *named;
  if (const auto found = kind_by_content(head)) return *found;
  throw InputError("does not end in .txt, .jsonl, .json (also .gz or .zst), .bin or .idx", path.string(),
                   "rename or convert the file");
}

}  // namespace galapagos
