#include "byte_stream.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <vector>
#include <zlib.h>
#include <zstd.h>

#include <galapagos/core/error.hpp>
#include <galapagos/core/file.hpp>
#include <galapagos/core/file_remedy.hpp>

namespace galapagos {
namespace {

class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::filesystem::path& path) : path_(path), file_(path, O_RDONLY) {
    if (std::filesystem::is_directory(path)) {
      throw InputError("is a folder", path.string(), "give the files in it");
    }
  }

  std::size_t read(std::span<char> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = ::read(file_.get(), bytes.data() + done, bytes.size() - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        const int error = errno;
        throw InputError(std::string("cannot read: ") + std::strerror(error), path_.string(),
                         remedy_for(error));
      }
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
};

/// The compressed side of a decompressor: a buffer over the plain file.
class CompressedInput {
 public:
  explicit CompressedInput(const std::filesystem::path& path) : file_(path), buffer_(std::size_t{1} << 18) {}

  /// Bytes not used yet; empty at the end of the file.
  std::span<char> peek() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = file_.read(buffer_);
    }
    return std::span(buffer_).subspan(begin_, end_ - begin_);
  }
  void use(std::size_t bytes) { begin_ += bytes; }

 private:
  PlainStream file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

[[noreturn]] void cut_short(const std::filesystem::path& path) {
  throw InputError("compressed file ends too early", path.string(), "copy or make the file again");
}

[[noreturn]] void damaged(const std::filesystem::path& path, const char* reason) {
  throw InputError(std::string("compressed file is damaged: ") + (reason != nullptr ? reason : "bad data"),
                   path.string(), "copy or make the file again");
}

/// Gzip: any number of members, then perhaps padding of zeros.
class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::filesystem::path& path) : path_(path), input_(path) {
    constexpr int gzip_only = 15 + 16;
    if (inflateInit2(&state_, gzip_only) != Z_OK) {
      throw ResourceError("cannot start zlib", path.string(), "free memory");
    }
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  std::size_t read(std::span<char> bytes) override {
    std::size_t done = 0;
    while (done < bytes.size() && (inside_member_ || start_member())) {
      const std::span<char> in = input_.peek();
      if (in.empty()) cut_short(path_);
      const std::size_t room = std::min<std::size_t>(bytes.size() - done, std::size_t{1} << 30);
      state_.next_in = reinterpret_cast<Bytef*>(in.data());
      state_.avail_in = static_cast<uInt>(in.size());
      state_.next_out = reinterpret_cast<Bytef*>(bytes.data() + done);
      state_.avail_out = static_cast<uInt>(room);
      const int code = inflate(&state_, Z_NO_FLUSH);
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) damaged(path_, state_.msg);
      input_.use(in.size() - state_.avail_in);
      done += room - state_.avail_out;
      if (code == Z_STREAM_END) inside_member_ = false;
    }
    return done;
  }

 private:
  /// False at the end of the file.
  bool start_member() {
    if (any_member_) {
      while (!input_.peek().empty() && input_.peek().front() == '\0') input_.use(1);
      if (input_.peek().empty()) return false;
    }
    any_member_ = true;
    inside_member_ = true;
    return inflateReset(&state_) == Z_OK;
  }

  std::filesystem::path path_;
  CompressedInput input_;
  z_stream state_{};
  bool any_member_ = false;
  bool inside_member_ = false;
};

/// Zstandard: any number of frames.
class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(const std::filesystem::path& path)
      : path_(path), input_(path), state_(ZSTD_createDStream(), ZSTD_freeDStream) {
    if (state_ == nullptr) throw ResourceError("cannot start zstd", path.string(), "free memory");
  }

  std::size_t read(std::span<char> bytes) override {
    ZSTD_outBuffer out{bytes.data(), bytes.size(), 0};
    while (out.pos < out.size) {
      const std::span<char> data = input_.peek();
      if (data.empty() && frame_done_) break;
      ZSTD_inBuffer in{data.data(), data.size(), 0};
      const std::size_t before = out.pos;
      const std::size_t left = ZSTD_decompressStream(state_.get(), &out, &in);
      if (ZSTD_isError(left) != 0) damaged(path_, ZSTD_getErrorName(left));
      input_.use(in.pos);
      frame_done_ = left == 0;
      if (data.empty() && out.pos == before && !frame_done_) cut_short(path_);
    }
    return out.pos;
  }

 private:
  std::filesystem::path path_;
  CompressedInput input_;
  std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> state_;
  bool frame_done_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> ByteStream::open(const std::filesystem::path& path) {
  if (path.extension() == ".gz") return std::make_unique<GzipStream>(path);
  if (path.extension() == ".zst") return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

}  // namespace galapagos
