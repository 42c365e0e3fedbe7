#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

int main(int argc, char** argv) {
    const int code = doctest::Context(argc, argv).run();
    // As the worker ends: static destructors of CUDA's libraries crash at times.
    std::cout.flush();
    std::fflush(nullptr);
    ::_exit(code);
}
