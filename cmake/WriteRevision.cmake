# Writes the git revision of SOURCE_DIR as a header to OUTPUT, touching the file only on a change.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse --short=10 HEAD
    OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
    set(revision unknown)
else()
    execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no
        OUTPUT_VARIABLE changes ERROR_QUIET)
    if(changes)
        string(APPEND revision -dirty)
    endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "#define ISOSWEEP_REVISION \"${revision}\"\n")
