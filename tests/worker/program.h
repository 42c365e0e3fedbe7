#pragma once

#include <string>
#include <vector>

namespace isosweep {

/// What a program did, from start to end.
struct ProgramRun {
    int exit_code = -1;  ///< -1 where a signal ended it
    std::string out;
    std::string err;

    std::vector<std::string> out_lines() const;
};

/// Runs the worker with `arguments`, feeds it `input`, and waits for its end. CUDA is hidden from
/// it unless `with_cuda`, so that a test means the same everywhere.
ProgramRun run_worker(const std::vector<std::string>& arguments, const std::string& input = {},
                      bool with_cuda = false);

/// A path for this test's files, gone with its owner.
class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    std::string file(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

}  // namespace isosweep
