#pragma once

#include <string>

namespace apotnet {

/// Unpacks the .tar.gz at `archive` and moves the folder `name` that it holds to `to`/`name`, all at once: a half
/// unpacked folder is never found there. Only plain files and folders are taken, with relative names that stay inside.
/// What the files hold is not checked: an archive is known by its SHA-256 (download.h).
/// Error(damaged_data) for an archive that is cut off, damaged, too large, or holds anything else; Error(cannot_write),
/// also when `to`/`name` is there already.
void unpack_folder(const std::string& archive, const std::string& name, const std::string& to);

/// "3.6.2", of the library that unpacks.
std::string archive_library_version();

}  // namespace apotnet
