#pragma once

#include <cstdint>

namespace galapagos::torch_format {

/// The operations of protocol 2 that torch.save needs.
enum Operation : std::uint8_t {
  mark = '(',
  stop = '.',
  binfloat = 'G',
  binint = 'J',
  binint1 = 'K',
  binint2 = 'M',
  none = 'N',
  binpersid = 'Q',
  reduce = 'R',
  binunicode = 'X',
  append_one = 'a',
  appends = 'e',
  global = 'c',
  binget = 'h',
  long_binget = 'j',
  empty_list = ']',
  empty_tuple = ')',
  empty_dict = '}',
  binput = 'q',
  long_binput = 'r',
  setitem = 's',
  tuple = 't',
  setitems = 'u',
  proto = 0x80,
  tuple1 = 0x85,
  tuple2 = 0x86,
  tuple3 = 0x87,
  newtrue = 0x88,
  newfalse = 0x89,
  long1 = 0x8a,
};

}  // namespace galapagos::torch_format
