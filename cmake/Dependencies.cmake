# Boost, spdlog and fmt end up inside the programs (static archives, or header-only where Debian has
# no archive), so that they run on another Linux that has only LibTorch.
set(Boost_USE_STATIC_LIBS ON)
find_package(Boost 1.81 REQUIRED COMPONENTS program_options json filesystem)
if(Boost_VERSION_MINOR GREATER_EQUAL 86)
    find_package(Boost 1.86 REQUIRED COMPONENTS process)  # compiled from there on
endif()
find_package(Threads REQUIRED)
find_package(spdlog REQUIRED)
# The distributions' spdlog names the shared fmt; the headers alone do as well.
get_target_property(isosweep_spdlog_links spdlog::spdlog_header_only INTERFACE_LINK_LIBRARIES)
list(TRANSFORM isosweep_spdlog_links REPLACE "^fmt::fmt$" "fmt::fmt-header-only")
set_target_properties(spdlog::spdlog_header_only PROPERTIES INTERFACE_LINK_LIBRARIES "${isosweep_spdlog_links}")

# Vince La's CSV Parser. PyPI's fastpycsv is its own release; `make setup` unpacks it into .deps/.
set(ISOSWEEP_CSV_DIR ${PROJECT_SOURCE_DIR}/.deps/fastpycsv-5.6.0 CACHE PATH "CSV Parser's source")
if(NOT EXISTS ${ISOSWEEP_CSV_DIR}/CMakeLists.txt)
    message(FATAL_ERROR "No CSV Parser in ${ISOSWEEP_CSV_DIR}: run `make setup` first")
endif()
set(CSV_BUILD_PROGRAMS OFF)
set(CSV_BUILD_TESTS OFF)
set(CSV_ENABLE_THREADS OFF CACHE BOOL "Our files are small")
add_subdirectory(${ISOSWEEP_CSV_DIR} ${PROJECT_BINARY_DIR}/csv EXCLUDE_FROM_ALL SYSTEM)
# In one unit its nine files take a sixth of the time.
set_target_properties(csv PROPERTIES COMPILE_WARNING_AS_ERROR OFF UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
