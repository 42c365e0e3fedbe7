#include "orchestrator/setting.h"

#include "orchestrator/errors.h"

namespace isosweep {

std::optional<SettingDifference> find_difference(const Setting& was, const Setting& is) {
    std::optional<SettingDifference> first;
    const auto compare = [&](const char* part, const std::string& one, const std::string& other) {
        if (!first && one != other) first = {part, one, other};
    };
    compare("isolation", was.isolation, is.isolation);
    compare("GPU", was.gpu, is.gpu);
    compare("driver", was.driver, is.driver);
    compare("isosweep", was.isosweep, is.isosweep);
    if (was.worker && is.worker) compare("worker build", *was.worker, *is.worker);
    if (was.torch && is.torch) compare("torch", *was.torch, *is.torch);
    return first;
}

void refuse_difference(const SettingDifference& difference, const std::filesystem::path& journal) {
    throw UsageError(journal.string() + ": this sweep was begun with " + difference.part + " '" +
                     difference.was + "', now it is '" + difference.is +
                     "': go on with the former, start over with --fresh, or have rows of both with "
                     "--allow-mixed");
}

}  // namespace isosweep
