#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace galapagos::torch_format {

/// A class of torch that a storage can be of, what safetensors calls its type, and the bytes of an element.
struct StorageType {
  std::string_view name, dtype;
  std::int64_t size;
};

inline constexpr std::array storage_types = std::to_array<StorageType>({
    {"torch.FloatStorage", "F32", 4},
    {"torch.HalfStorage", "F16", 2},
    {"torch.BFloat16Storage", "BF16", 2},
    {"torch.DoubleStorage", "F64", 8},
    {"torch.LongStorage", "I64", 8},
    {"torch.IntStorage", "I32", 4},
    {"torch.ShortStorage", "I16", 2},
    {"torch.CharStorage", "I8", 1},
    {"torch.ByteStorage", "U8", 1},
    {"torch.BoolStorage", "BOOL", 1},
});

/// The other things of Python that a file may name.
inline constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2",
                                  ordered_dict = "collections.OrderedDict";

}  // namespace galapagos::torch_format
