#include <isosweep/model_config.h>

namespace isosweep {

const std::vector<std::pair<std::string, ModelConfig>>& model_configs() {
    // The original module's sizes; its course later called 2.7B "xl" and added 10B.
    static const std::vector<std::pair<std::string, ModelConfig>> sizes = {
        {"tiny", {128, 512, 2, 4}},       {"small", {768, 3072, 12, 12}},
        {"medium", {1024, 4096, 24, 16}}, {"large", {1280, 5120, 36, 20}},
        {"xl", {1600, 6400, 48, 25}},     {"2.7B", {2560, 10240, 32, 32}},
        {"10B", {4608, 12288, 50, 36}},
    };
    return sizes;
}

const ModelConfig* find_model_config(std::string_view name) {
    for (const auto& [known, config] : model_configs())
        if (known == name) return &config;
    return nullptr;
}

std::string invalid_reason(const ModelConfig& config) {
    const auto text = [](const char* name, std::int64_t value) {
        return std::string(name) + " (" + std::to_string(value) + ")";
    };
    const std::pair<const char*, std::int64_t> sizes[] = {{"d_model", config.d_model},
                                                          {"d_ff", config.d_ff},
                                                          {"num_layers", config.num_layers},
                                                          {"num_heads", config.num_heads},
                                                          {"vocab_size", config.vocab_size}};
    for (const auto& [name, value] : sizes)
        if (value < 1) return text(name, value) + " is not positive";
    if (config.d_model % config.num_heads != 0)
        return text("num_heads", config.num_heads) + " does not divide " +
               text("d_model", config.d_model);
    if (config.d_model / config.num_heads % 2 != 0)
        return text("the head size", config.d_model / config.num_heads) +
               " is odd: rotary positions turn pairs";
    return {};
}

std::int64_t num_params(const ModelConfig& c) {
    const std::int64_t layer = 4 * c.d_model * c.d_model + 3 * c.d_model * c.d_ff + 2 * c.d_model;
    return 2 * c.vocab_size * c.d_model + c.num_layers * layer + c.d_model;
}

}  // namespace isosweep
