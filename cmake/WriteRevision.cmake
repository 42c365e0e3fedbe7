# Writes the git revision of SOURCE_DIR as a header to OUTPUT, touching the file only on a change.
# The last revision of what is compiled: a new config or document makes no new build, and a sweep goes
# on with it.
set(compiled common orchestrator worker cmake CMakeLists.txt)
execute_process(COMMAND git -C ${SOURCE_DIR} log -1 --abbrev=10 --format=%h -- ${compiled}
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed OR NOT revision)
    set(revision unknown)
else()
    execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no -- ${compiled}
        OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
        string(APPEND revision -dirty)
    endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define ISOSWEEP_REVISION \"${revision}\"\n")
