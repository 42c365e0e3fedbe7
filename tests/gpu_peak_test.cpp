#include <doctest/doctest.h>
#include <isosweep/gpu_peak.h>

using namespace isosweep;
using enum Precision;

TEST_CASE("a GPU's datasheet is found by the driver's name") {
    CHECK(datasheet_tflops("NVIDIA H100 80GB HBM3", bf16) == 989.4);
    CHECK(datasheet_tflops("NVIDIA H200", tf32) == 494.7);
    CHECK(datasheet_tflops("NVIDIA H200", fp32) == 67);
    CHECK(datasheet_tflops("NVIDIA H100 PCIe", bf16) == 756);
    CHECK(datasheet_tflops("NVIDIA H100 NVL", bf16) == 835);
    CHECK(datasheet_tflops("NVIDIA H200 NVL", bf16) == 835);
    for (const char* const a100 :
         {"NVIDIA A100-SXM4-80GB", "NVIDIA A100-PCIE-40GB", "NVIDIA A100 80GB PCIe"}) {
        CHECK(datasheet_tflops(a100, fp32) == 19.5);
        CHECK(datasheet_tflops(a100, tf32) == 156);
        CHECK(datasheet_tflops(a100, bf16) == 312);
    }
    CHECK(datasheet_tflops("NVIDIA B200", bf16) == 2250);
}

TEST_CASE("a GPU's memory has the bandwidth of its datasheet") {
    CHECK(datasheet_gb_per_s("NVIDIA H200") == 4800);
    CHECK(datasheet_gb_per_s("NVIDIA H100 80GB HBM3") == 3350);
    CHECK(datasheet_gb_per_s("NVIDIA A100-SXM4-40GB") == 1555);
    CHECK(datasheet_gb_per_s("NVIDIA A100-SXM4-80GB") == 2039);
    CHECK_FALSE(datasheet_gb_per_s("NVIDIA H200 MIG 1g.18gb"));
    CHECK_FALSE(datasheet_gb_per_s("NVIDIA GH200 480GB"));
}

TEST_CASE("what is not known has no peak") {
    CHECK_FALSE(datasheet_tflops("NVIDIA B200", fp32));
    CHECK_FALSE(datasheet_tflops("NVIDIA GH200 480GB", bf16));
    CHECK_FALSE(datasheet_tflops("NVIDIA H100 80GB HBM3 MIG 1g.10gb", bf16));
    CHECK_FALSE(datasheet_tflops("AMD EPYC 9654", fp32));
    CHECK_FALSE(datasheet_tflops("", bf16));
    CHECK_FALSE(max_clock_tflops(7, 0, 80, 1530, fp32));
    CHECK_FALSE(max_clock_tflops(8, 6, 84, 1800, bf16));
    CHECK_FALSE(max_clock_tflops(9, 0, 0, 1980, bf16));
    CHECK_FALSE(max_clock_tflops(9, 0, 132, 0, bf16));
}

TEST_CASE("at the datasheet's clock the multiprocessors make the datasheet's peak") {
    CHECK(*max_clock_tflops(9, 0, 132, 1830, bf16) == doctest::Approx(989.4).epsilon(1e-3));
    CHECK(*max_clock_tflops(9, 0, 132, 1830, tf32) == doctest::Approx(494.7).epsilon(1e-3));
    CHECK(*max_clock_tflops(8, 0, 108, 1410, bf16) == doctest::Approx(312).epsilon(1e-3));
    CHECK(*max_clock_tflops(8, 0, 108, 1410, tf32) == doctest::Approx(156).epsilon(1e-3));
    CHECK(*max_clock_tflops(8, 0, 108, 1410, fp32) == doctest::Approx(19.5).epsilon(1e-3));
    CHECK(*max_clock_tflops(9, 0, 132, 1980, fp32) == doctest::Approx(66.9).epsilon(1e-3));
}
