#include <isosweep/build_info.h>

#include "revision.h"

namespace isosweep {

std::string build_id() {
    std::string id = ISOSWEEP_VERSION "+" ISOSWEEP_REVISION " " ISOSWEEP_BUILD_TYPE;
#if defined(__clang__)
    id += " clang-" + std::to_string(__clang_major__) + "." + std::to_string(__clang_minor__);
#else
    id += " gcc-" + std::to_string(__GNUC__) + "." + std::to_string(__GNUC_MINOR__);
#endif
    if (const std::string sanitizers = ISOSWEEP_SANITIZE; !sanitizers.empty())
        id += " -fsanitize=" + sanitizers;
    return id;
}

std::string version() { return ISOSWEEP_VERSION; }

bool is_debug_build() {
#ifdef __OPTIMIZE__
    return !std::string(ISOSWEEP_SANITIZE).empty();
#else
    return true;
#endif
}

}  // namespace isosweep
