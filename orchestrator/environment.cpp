#include "orchestrator/environment.h"

#include <unistd.h>

#include <algorithm>
#include <array>

namespace isosweep {
namespace {

constexpr std::array<std::string_view, 12> secret_words = {
    "TOKEN", "SECRET",  "PASS",    "KEY",       "CREDENTIAL", "COOKIE",
    "AUTH",  "SESSION", "PRIVATE", "SIGNATURE", "BEARER",     "_PWD"};

constexpr std::array<std::string_view, 15> measurement_prefixes = {
    "ISOSWEEP_",  // what our worker reads
    "CUDA_",     "CUBLAS_",        "CUDNN_", "PYTORCH_", "TORCH_",           "OMP_",
    "GOMP_",     "KMP_",           "MKL_",   "NCCL_",    "LD_LIBRARY_PATH=", "LD_PRELOAD=",
    "NVIDIA_",   "GLIBC_TUNABLES="};

std::string upper_case(std::string_view text) {
    std::string upper(text);
    for (char& c : upper)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    return upper;
}

std::string_view name_of(std::string_view variable) {
    return variable.substr(0, variable.find('='));
}

std::string_view value_of(std::string_view variable) {
    const auto equals = variable.find('=');
    return equals == std::string_view::npos ? std::string_view() : variable.substr(equals + 1);
}

bool is_shell_name(std::string_view name) {
    return name.find_first_not_of(
               "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
               "0123456789_") == std::string_view::npos;
}

/// "scheme://user:password@host", and a token alone in front of the '@'.
bool holds_url_with_user(std::string_view value) {
    for (auto at = value.find("://"); at != std::string_view::npos; at = value.find("://", at)) {
        at += 3;
        // A password may hold a '/', so that a path with an '@' is taken for one, too.
        const auto end = value.find_first_of(" \t\n\"'@", at);
        if (end != std::string_view::npos && value[end] == '@') return true;
    }
    return false;
}

/// Options and objects inside of a value: "-Dpassword=x", {"api_key": "x"}.
bool holds_secret_setting(std::string_view value) {
    const std::string upper = upper_case(value);
    for (const std::string_view word : secret_words)
        for (auto at = upper.find(word); at != std::string::npos; at = upper.find(word, at + 1)) {
            const std::string_view rest = std::string_view(upper).substr(at + word.size());
            const auto end = rest.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
            if (end == std::string_view::npos) continue;
            if (rest[end] == '=' || rest.substr(end).starts_with("\":") ||
                rest.substr(end).starts_with("':"))
                return true;
        }
    return false;
}

}  // namespace

std::vector<std::string> own_environment() {
    std::vector<std::string> environment;
    for (char** variable = environ; variable && *variable; ++variable)
        environment.emplace_back(*variable);
    return environment;
}

bool looks_secret(std::string_view variable) {
    const std::string name = upper_case(name_of(variable));
    const std::string_view value = value_of(variable);
    return std::any_of(
               secret_words.begin(), secret_words.end(),
               [&](std::string_view word) { return name.find(word) != std::string::npos; }) ||
           holds_url_with_user(value) || holds_secret_setting(value) ||
           value.find("-----BEGIN ") != std::string_view::npos;
}

std::vector<std::string> masked_environment(std::vector<std::string> environment) {
    std::erase_if(environment, [](const std::string& variable) {
        return name_of(variable) == "ISOSWEEP_WORKER_TOKEN";
    });
    for (std::string& variable : environment)
        if (looks_secret(variable)) variable = std::string(name_of(variable)) + "=***";
    std::sort(environment.begin(), environment.end());
    return environment;
}

std::vector<std::string> measurement_environment(std::vector<std::string> environment) {
    std::erase_if(environment, [](const std::string& variable) {
        // What a shell exports as a function has a name that none can be given by hand.
        return looks_secret(variable) || !is_shell_name(name_of(variable)) ||
               std::none_of(measurement_prefixes.begin(), measurement_prefixes.end(),
                            [&](std::string_view prefix) { return variable.starts_with(prefix); });
    });
    std::sort(environment.begin(), environment.end());
    return environment;
}

std::string environment_text(const std::vector<std::string>& environment) {
    std::string text;
    for (const std::string& variable : environment) {
        for (const char c : variable) {
            constexpr std::string_view digits = "0123456789abcdef";
            const auto byte = static_cast<unsigned char>(c);
            if (c == '\n')
                text += "\\n";
            else if (byte < 32 || byte == 127)
                text += std::string("\\x") + digits[byte >> 4U] + digits[byte & 15U];
            else
                text += c;
        }
        text += '\n';
    }
    return text;
}

}  // namespace isosweep
