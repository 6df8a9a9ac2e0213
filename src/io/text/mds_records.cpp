#include "mds_records.hpp"

#include <galapagos/core/error.hpp>
#include <galapagos/core/json.hpp>
#include <galapagos/io/mds.hpp>

namespace galapagos {
namespace {

class MdsRecords : public RecordSource {
 public:
  MdsRecords(const std::filesystem::path& folder, const TextOptions& options) : reader_(folder) {
    const auto column =
        reader_.find(options.text_key.empty() ? std::vector<std::string>{"text", "messages", "conversations"}
                                              : std::vector<std::string>{options.text_key});
    std::string names;
    for (const MdsColumn& each : reader_.columns())
      names +=
          (names.empty() ? "" : ", ") + printable(each.name, 40) + " (" + printable(each.encoding, 40) + ")";
    if (!column && mds_token_column(reader_)) {
      throw InputError("holds tokens, not texts", folder.string(),
                       "give it where tokens are taken: it needs no tokenizing");
    }
    if (!column) {
      throw InputError("shards without a column of texts; they have " + names, folder.string(),
                       "name the one with the text by --text-key");
    }
    column_ = *column;
    const MdsColumn& chosen = reader_.columns()[column_];
    text_ = chosen.encoding == "str";
    if (!text_ && chosen.encoding != "json") {
      throw InputError("a column '" + printable(chosen.name, 40) + "' of " + printable(chosen.encoding, 40) +
                           ", not str or json",
                       folder.string(), "name the one with the text by --text-key; the columns are " + names);
    }
    key_ = Json(chosen.name).dump();
  }

  bool next(std::string& record) override {
    if (!reader_.next()) return false;
    const std::string_view value = reader_.value(column_);
    record = text_ ? std::string(value) : "{" + key_ + ": " + std::string(value) + "}";
    return true;
  }
  bool plain_text() const override { return text_; }
  std::string where() const override { return reader_.where(); }

 private:
  MdsReader reader_;
  std::size_t column_ = 0;
  bool text_ = true;
  std::string key_;
};

}  // namespace

std::unique_ptr<RecordSource> open_mds_records(const std::filesystem::path& folder,
                                               const TextOptions& options) {
  return std::make_unique<MdsRecords>(folder, options);
}

}  // namespace galapagos
