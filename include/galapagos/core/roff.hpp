#pragma once

#include <string>

// Text for pages of man(1).
namespace galapagos {

/// A text as roff shows it: words that begin with a hyphen keep theirs, as they are typed.
std::string roff(const std::string& text);

/// The same with all of its hyphens kept, as of a name that is typed.
std::string roff_name(const std::string& name);

/// The first line of a page: `name` in section 1, of this version of the program.
std::string roff_title(const std::string& name);

}  // namespace galapagos
