#include "cache.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <system_error>

namespace isosweep::kernels {
namespace {

constexpr std::string_view magic = "isosweep kernels 1\n";
constexpr std::size_t digits = 16;

/// FNV-1a, 64 bits, going on from `hash`: against damage, not against malice.
std::uint64_t hash_of(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325) {
    for (const char c : text) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3;
    }
    return hash;
}

std::string to_hex(std::uint64_t value) {
    std::array<char, digits> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value, 16).ptr;
    const std::string shortest(text.data(), end);
    return std::string(digits - shortest.size(), '0') + shortest;
}

std::filesystem::path from_environment(const char* name) {
    const char* const value = std::getenv(name);
    return value ? value : "";
}

}  // namespace

std::filesystem::path cache_folder() {
    if (const auto cache = from_environment("XDG_CACHE_HOME"); !cache.empty())
        return cache / "isosweep";
    if (const auto home = from_environment("HOME"); !home.empty())
        return home / ".cache" / "isosweep";
    return {};
}

std::string cache_name(std::span<const std::string> parts) {
    std::uint64_t hash = hash_of({});
    // With its size, so that parts cannot run into each other.
    for (const std::string& part : parts)
        hash = hash_of(part, hash_of(std::to_string(part.size()) + ":", hash));
    return "kernels-" + to_hex(hash);
}

std::optional<std::string> read_cached(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return std::nullopt;
    const std::string all{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    const std::size_t header = magic.size() + digits;
    if (!all.starts_with(magic) || all.size() < header) return std::nullopt;
    std::string content = all.substr(header);
    if (all.compare(magic.size(), digits, to_hex(hash_of(content))) != 0) return std::nullopt;
    return content;
}

std::string write_cached(const std::filesystem::path& file, std::string_view content) {
    std::error_code error;
    std::filesystem::create_directories(file.parent_path(), error);
    if (error) return file.parent_path().string() + ": " + error.message();
    const std::filesystem::path part = file.string() + "." + std::to_string(::getpid());
    errno = 0;
    std::ofstream out(part, std::ios::binary);
    out << magic << to_hex(hash_of(content)) << content;
    out.close();
    if (!out) {
        const std::string reason = std::generic_category().message(errno);
        std::filesystem::remove(part, error);
        return part.string() + ": " + reason;
    }
    std::filesystem::rename(part, file, error);
    return error ? file.string() + ": " + error.message() : "";
}

}  // namespace isosweep::kernels
