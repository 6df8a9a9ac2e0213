#include "byte_stream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
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

/// The compressed side of a decompressor: a buffer over what it reads from.
class CompressedInput {
 public:
  explicit CompressedInput(std::unique_ptr<ByteStream> from)
      : from_(std::move(from)), buffer_(std::size_t{1} << 18) {}

  /// Bytes not used yet; empty at the end of the file.
  std::span<char> peek() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = from_->read(buffer_);
    }
    return std::span(buffer_).subspan(begin_, end_ - begin_);
  }
  void use(std::size_t bytes) { begin_ += bytes; }

 private:
  std::unique_ptr<ByteStream> from_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

/// A stream of which the first bytes have been looked at.
class PeekedStream : public ByteStream {
 public:
  explicit PeekedStream(std::unique_ptr<ByteStream> from) : from_(std::move(from)), head_(8, '\0') {
    head_.resize(from_->read(std::span(head_)));
  }

  std::string_view head() const { return head_; }
  bool decompresses() const override { return from_->decompresses(); }

  std::size_t read(std::span<char> bytes) override {
    const std::size_t known = std::min(head_.size() - used_, bytes.size());
    std::copy_n(head_.begin() + static_cast<std::ptrdiff_t>(used_), known, bytes.begin());
    used_ += known;
    return known + from_->read(bytes.subspan(known));
  }

 private:
  std::unique_ptr<ByteStream> from_;
  std::string head_;
  std::size_t used_ = 0;
};

/// A frame, or one to be skipped, with which files begin that can be read in parts.
bool is_zstd(std::string_view head) {
  return head.starts_with("\x28\xb5\x2f\xfd") ||
         (head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0u) == 0x50u &&
          head.substr(1).starts_with("\x2a\x4d\x18"));
}

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
  GzipStream(const std::filesystem::path& path, std::unique_ptr<ByteStream> from)
      : path_(path), input_(std::move(from)) {
    constexpr int gzip_only = 15 + 16;
    if (inflateInit2(&state_, gzip_only) != Z_OK) {
      throw ResourceError("cannot start zlib", path.string(), "free memory");
    }
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  bool decompresses() const override { return true; }
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
  ZstdStream(const std::filesystem::path& path, std::unique_ptr<ByteStream> from)
      : path_(path), input_(std::move(from)), state_(ZSTD_createDStream(), ZSTD_freeDStream) {
    if (state_ == nullptr) throw ResourceError("cannot start zstd", path.string(), "free memory");
    // Files made with --long=31 ask for as much.
    ZSTD_DCtx_setParameter(state_.get(), ZSTD_d_windowLogMax, sizeof(void*) == 8 ? 31 : 30);
  }

  bool decompresses() const override { return true; }
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
  std::unique_ptr<ByteStream> from = std::make_unique<PlainStream>(path);
  for (int layer = 0; layer < 4; ++layer) {
    auto peeked = std::make_unique<PeekedStream>(std::move(from));
    const std::string_view head = peeked->head();
    if (head.starts_with("\x1f\x8b")) {
      from = std::make_unique<GzipStream>(path, std::move(peeked));
    } else if (is_zstd(head)) {
      from = std::make_unique<ZstdStream>(path, std::move(peeked));
    } else {
      return peeked;
    }
  }
  throw InputError("is compressed again and again", path.string(), "decompress it before");
}

}  // namespace galapagos
