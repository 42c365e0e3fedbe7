#include "precision.h"

#include <ATen/Context.h>
#include <ATen/autocast_mode.h>

namespace isosweep {

MatmulPrecision::MatmulPrecision(Precision precision)
    : allowed_before_(at::globalContext().allowTF32CuBLAS()) {
    at::globalContext().setAllowTF32CuBLAS(precision == Precision::tf32);
}

MatmulPrecision::~MatmulPrecision() { at::globalContext().setAllowTF32CuBLAS(allowed_before_); }

c10::ScalarType product_type(Precision precision) {
    return precision == Precision::bf16 ? c10::ScalarType::BFloat16 : c10::ScalarType::Float;
}

Autocast::Autocast(c10::DeviceType device, Precision precision)
    : device_(device),
      enabled_before_(at::autocast::is_autocast_enabled(device)),
      type_before_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, precision == Precision::bf16);
    at::autocast::set_autocast_dtype(device, c10::ScalarType::BFloat16);
    at::autocast::increment_nesting();
}

Autocast::~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, enabled_before_);
    at::autocast::set_autocast_dtype(device_, type_before_);
}

}  // namespace isosweep
