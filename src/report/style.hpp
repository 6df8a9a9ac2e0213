#pragma once

// The page's style sheet and the little script that it does not need: both without '<' and '&', so that the
// page is well-formed XML.
namespace galapagos::report {

extern const char* const style_sheet;
extern const char* const script;

}  // namespace galapagos::report
