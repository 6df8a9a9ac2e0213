#include "arrow_json.hpp"
#include "table_files.hpp"

#include <algorithm>
#include <arrow/api.h>
#include <arrow/io/api.h>
#include <arrow/ipc/api.h>
#include <fmt/format.h>
#include <functional>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include <galapagos/core/error.hpp>

namespace galapagos {
namespace {

namespace fs = std::filesystem;

using Batch = std::shared_ptr<arrow::RecordBatch>;
using Names = std::vector<std::string>;
/// The next batch; null at the end.
using Batches = std::function<Batch()>;

void check(const arrow::Status& status, const fs::path& file) {
  if (!status.ok())
    throw InputError("cannot be read by Arrow: " + printable(status.ToString(), 200), file.string(),
                     "copy or make the file again");
}

template <typename T>
T checked(arrow::Result<T> result, const fs::path& file) {
  check(result.status(), file);
  return std::move(result).ValueUnsafe();
}

/// Those columns of `names` that a record is made of. InputError where there are none.
Names choose(const Names& names, const TextOptions& options, const fs::path& file) {
  const auto has = [&](const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  Names chosen;
  if (!options.text_key.empty()) {
    for (std::size_t dot = options.text_key.size(); chosen.empty() && dot != std::string::npos && dot > 0;
         dot = options.text_key.rfind('.', dot - 1)) {
      if (const std::string outer = options.text_key.substr(0, dot); has(outer)) chosen.push_back(outer);
    }
  } else {
    const std::vector<Names> kinds = {{"text"}, {"prompt", "response"}, {"messages"}, {"conversations"}};
    for (const Names& kind : kinds) {
      if (chosen.empty() && std::all_of(kind.begin(), kind.end(), has)) chosen = kind;
    }
  }
  if (chosen.empty()) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + printable(name, 40);
    throw InputError("has no column with a text; its columns are " + printable(all, 300), file.string(),
                     "name one by --text-key");
  }
  for (const std::string& name : chosen) {
    if (std::count(names.begin(), names.end(), name) > 1)
      throw InputError("has several columns named " + printable(name, 40), file.string(),
                       "rename one of them");
  }
  for (const char* more : {"tools", "chat_template_kwargs"}) {
    if (std::count(names.begin(), names.end(), more) == 1 &&
        (chosen[0] == "messages" || chosen[0] == "conversations"))
      chosen.emplace_back(more);
  }
  return chosen;
}

Names names_of(const arrow::Schema& schema) {
  return schema.field_names();
}

/// Of rows of a Parquet file; Arrow has handed the reader over in two ways.
template <typename Reader>
std::shared_ptr<arrow::RecordBatchReader> batches_of(Reader& reader, const std::vector<int>& groups,
                                                     const std::vector<int>& columns, const fs::path& file) {
  if constexpr (requires { reader.GetRecordBatchReader(groups, columns); }) {
    return checked(reader.GetRecordBatchReader(groups, columns), file);
  } else {
    std::unique_ptr<arrow::RecordBatchReader> batches;
    check(reader.GetRecordBatchReader(groups, columns, &batches), file);
    return batches;
  }
}

Batches open_parquet(const fs::path& file, const TextOptions& options) {
  parquet::ArrowReaderProperties properties;
  properties.set_batch_size(1024);
  parquet::arrow::FileReaderBuilder builder;
  check(builder.OpenFile(file.string()), file);
  builder.properties(properties);
  const std::shared_ptr<parquet::arrow::FileReader> reader = checked(builder.Build(), file);
  std::shared_ptr<arrow::Schema> schema;
  check(reader->GetSchema(&schema), file);
  const Names chosen = choose(names_of(*schema), options, file);
  const auto metadata = reader->parquet_reader()->metadata();
  std::vector<int> columns, groups;
  for (int i = 0; i < metadata->schema()->num_columns(); ++i) {
    const std::string root = metadata->schema()->Column(i)->path()->ToDotVector().front();
    if (std::find(chosen.begin(), chosen.end(), root) != chosen.end()) columns.push_back(i);
  }
  for (int i = 0; i < metadata->num_row_groups(); ++i) groups.push_back(i);
  const std::shared_ptr<arrow::RecordBatchReader> batches = batches_of(*reader, groups, columns, file);
  return [reader, batches, file] {
    Batch batch;
    check(batches->ReadNext(&batch), file);
    return batch;
  };
}

Batches open_ipc(const fs::path& file, bool stream) {
  const auto input = checked(arrow::io::ReadableFile::Open(file.string()), file);
  if (stream) {
    const auto reader = checked(arrow::ipc::RecordBatchStreamReader::Open(input), file);
    return [reader, file] {
      Batch batch;
      check(reader->ReadNext(&batch), file);
      return batch;
    };
  }
  const auto reader = checked(arrow::ipc::RecordBatchFileReader::Open(input), file);
  return [reader, file, next = 0]() mutable {
    return next < reader->num_record_batches() ? checked(reader->ReadRecordBatch(next++), file) : Batch();
  };
}

class Tables : public RecordSource {
 public:
  Tables(const std::vector<fs::path>& files, const TextOptions& options) : files_(files), options_(options) {
    open();
  }

  bool next(std::string& record) override {
    try {
      while (batch_ == nullptr || row_ == batch_->num_rows()) {
        if (batches_ == nullptr) return false;
        row_ = 0;
        batch_ = batches_();
        if (batch_ == nullptr) {
          open();
        } else {
          check(batch_->ValidateFull(), files_[file_ - 1]);  // readers take offsets as they come
        }
      }
      if (row_ == 0) chosen_ = choose(names_of(*batch_->schema()), options_, files_[file_ - 1]);
      const std::int64_t row = row_++;
      ++rows_;
      record = "{";
      for (const std::string& name : chosen_) {
        if (record.size() > 1) record += ',';
        append_json_text(record, name);
        record += ':';
        append_json(record, *batch_->GetColumnByName(name), row, where());
      }
      record += '}';
    } catch (const parquet::ParquetException& error) {
      throw InputError(std::string("cannot be read by Arrow: ") + printable(error.what(), 200),
                       files_[file_ - 1].string(), "copy or make the file again");
    }
    return true;
  }
  bool plain_text() const override { return false; }
  std::string where() const override { return fmt::format("{}, row {}", files_[file_ - 1].string(), rows_); }

 private:
  void open() {
    batches_ = nullptr;
    rows_ = 0;
    if (file_ == files_.size()) return;
    const fs::path& file = files_[file_++];
    try {
      const TableKind kind = table_kind(file);
      if (kind == TableKind::none)
        throw InputError("is neither Parquet nor Arrow, or is cut short", file.string(),
                         "copy or make the file again");
      batches_ = kind == TableKind::parquet ? open_parquet(file, options_)
                                            : open_ipc(file, kind == TableKind::arrow_stream);
    } catch (const parquet::ParquetException& error) {
      throw InputError(std::string("cannot be read by Arrow: ") + printable(error.what(), 200), file.string(),
                       "copy or make the file again");
    }
  }

  std::vector<fs::path> files_;
  TextOptions options_;
  std::size_t file_ = 0;  // the next one to open
  Batches batches_;
  Batch batch_;
  Names chosen_;
  std::int64_t row_ = 0;   // the next one in batch_
  std::int64_t rows_ = 0;  // of this file so far
};

}  // namespace

std::unique_ptr<RecordSource> open_tables(const std::vector<fs::path>& files, const TextOptions& options) {
  return std::make_unique<Tables>(files, options);
}

}  // namespace galapagos
