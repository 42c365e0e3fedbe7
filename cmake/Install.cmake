# `cmake --install`: both programs, and the libraries for find_package(isosweep).
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/isosweep)

install(TARGETS isosweep RUNTIME)
install(FILES ${PROJECT_BINARY_DIR}/orchestrator/completions/isosweep
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${PROJECT_BINARY_DIR}/orchestrator/completions/_isosweep
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(TARGETS isosweep_common EXPORT isosweep ARCHIVE FILE_SET HEADERS)
set(ISOSWEEP_TORCH_PARENT "")
if(ISOSWEEP_BUILD_WORKER)
    install(TARGETS isosweep-worker RUNTIME)
    install(TARGETS isosweep_worker EXPORT isosweep ARCHIVE FILE_SET HEADERS)
    install(FILES ${CMAKE_CURRENT_LIST_DIR}/Torch.cmake DESTINATION ${package_dir})
    get_filename_component(ISOSWEEP_TORCH_PARENT ${ISOSWEEP_TORCH_DIR} DIRECTORY)
endif()
install(EXPORT isosweep NAMESPACE isosweep:: FILE isosweepTargets.cmake DESTINATION ${package_dir})

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/isosweepConfig.cmake.in
    ${PROJECT_BINARY_DIR}/isosweepConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/isosweepConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/isosweepConfig.cmake ${PROJECT_BINARY_DIR}/isosweepConfigVersion.cmake
    DESTINATION ${package_dir})
