# Warnings and sanitizers for our own targets, linked PRIVATE; never global flags, so that what is
# third-party is left alone. -Werror comes from the `ci` presets.
add_library(isosweep_settings INTERFACE)
target_compile_options(isosweep_settings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                                   -Wold-style-cast)
# g++ 12 warns of what std::string's own operator+ does when it is optimised (GCC bug 105651), and takes
# members of std::optional and of temporaries for uninitialised.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(isosweep_settings INTERFACE -Wno-restrict -Wno-stringop-overflow
                                                       -Wno-array-bounds -Wno-maybe-uninitialized)
endif()
if(ISOSWEEP_SANITIZE)
    target_compile_options(isosweep_settings INTERFACE -fsanitize=${ISOSWEEP_SANITIZE} -fno-omit-frame-pointer
                                                       -fno-sanitize-recover=all)
    target_link_options(isosweep_settings INTERFACE -fsanitize=${ISOSWEEP_SANITIZE})
    # g++ warns of fences in its own library, which the thread sanitizer does not follow.
    if(ISOSWEEP_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
        target_compile_options(isosweep_settings INTERFACE -Wno-tsan)
    endif()
endif()

find_program(ISOSWEEP_CCACHE ccache)
if(ISOSWEEP_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    # Without the hash of the directory, clones in different places share what they compiled; with
    # this sloppiness ccache also takes units with a precompiled header.
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1
        CCACHE_SLOPPINESS=pch_defines,time_macros ${ISOSWEEP_CCACHE})
endif()
