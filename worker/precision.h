#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>
#include <isosweep/cell.h>

namespace isosweep {

/// While it lives, fp32 matrix products on the GPU run as the precision says (TF32 or exact).
class MatmulPrecision {
  public:
    explicit MatmulPrecision(Precision precision);
    ~MatmulPrecision();
    MatmulPrecision(const MatmulPrecision&) = delete;
    MatmulPrecision& operator=(const MatmulPrecision&) = delete;

  private:
    bool allowed_before_;
};

/// The type of the factors of matrix products.
c10::ScalarType product_type(Precision precision);

/// While it lives, this thread's operations on `device` run under autocast to bf16 if the precision
/// says so, and without autocast otherwise. Its end drops the casts of weights that autocast keeps,
/// so that each step casts anew.
class Autocast {
  public:
    Autocast(c10::DeviceType device, Precision precision);
    ~Autocast();
    Autocast(const Autocast&) = delete;
    Autocast& operator=(const Autocast&) = delete;

  private:
    c10::DeviceType device_;
    bool enabled_before_;
    c10::ScalarType type_before_;
};

}  // namespace isosweep
