#!/usr/bin/env bash
# clang-format and clang-tidy over our own C++ files, with the versions below from PyPI.
#   scripts/lint.sh format FILE...   formats these files
#   scripts/lint.sh format --all     formats every file
#   scripts/lint.sh check [SINCE]    checks the format of every file, and runs clang-tidy over those
#                                    that differ from revision SINCE (without it: over every file)
# clang-tidy takes the compile commands of the presets that are configured and built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    sed -n '2,7s/^# //p' scripts/lint.sh >&2
    exit 2
}
# Before anything is installed or written.
case ${1:-}:$# in
format:[2-9]* | format:1[0-9]*)
    for file in "${@:2}"; do
        if [[ $file == --all && $# == 2 ]]; then continue; fi
        if [[ ! -f $file || $file != *.@(cpp|h) ]]; then
            echo "lint: no C++ file: $file" >&2
            usage
        fi
    done
    ;;
check:1) ;;
check:2) git rev-parse --verify --quiet "$2^{commit}" >/dev/null || usage ;;
*) usage ;;
esac

tools=.deps/tools
version=23.1.4
format=$tools/clang_format/data/bin/clang-format
tidy=$tools/clang_tidy/data/bin/clang-tidy

if [[ $(cat $tools/.version 2>/dev/null) != "$version" ]]; then
    echo "lint: installing clang-format and clang-tidy $version" >&2
    rm -rf $tools $tools.part
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
        python3 -m pip -q install --no-deps --target $tools.part \
        clang-format==$version clang-tidy==$version
    echo "$version" >$tools.part/.version
    mv $tools.part $tools
fi

ours() { git ls-files --cached --others --exclude-standard -- '*.cpp' '*.h'; }

if [[ $1 == format ]]; then
    if [[ $2 == --all ]]; then mapfile -t files < <(ours); else files=("${@:2}"); fi
    "$format" -i "${files[@]}"
    exit
fi

failed=0
ours | xargs --no-run-if-empty "$format" --dry-run --Werror || failed=1

changed() {
    if [[ -n ${1:-} ]]; then
        git diff --name-only --diff-filter=d "$1" -- '*.cpp' '*.h'
        git ls-files --others --exclude-standard -- '*.cpp' '*.h'
    else
        ours
    fi
}

# The compile commands that name a file; those without LibTorch first. A header is read with the unit
# of its name where that is looked at too, else alone, as the files beside it are. The example is built
# against the installed package only, so has no command here.
commands_for() {
    local dir
    for dir in build/ci-asan build/asan build/dev build; do
        if [[ -e $dir/compile_commands.json ]] && grep -q "$PWD/$1" $dir/compile_commands.json; then
            echo $dir
            return
        fi
    done
    return 1
}
mapfile -t files < <(changed "${2:-}" | grep -v '^examples/' | sort -u)
units=" $(printf '%s ' "${files[@]##*/}")"
list=$(mktemp)
trap 'rm -f "$list"' EXIT
for file in "${files[@]}"; do
    like=$file
    unit=${file##*/}
    if [[ $file == *.h && $units == *" ${unit%.h}.cpp "* ]]; then continue; fi
    if [[ $file == *.h ]]; then like=${file%%/*}/; fi
    if dir=$(commands_for "$like"); then
        printf '%s %s\n' "$dir" "$file" >>"$list"
    else
        echo "lint: no compile command for $file; configure the presets release and dev first" >&2
        failed=1
    fi
done
echo "lint: clang-tidy over $(wc -l <"$list") files" >&2
# The compiler's own warnings are g++'s business.
# shellcheck disable=SC2016
xargs --no-run-if-empty -L 1 -P "$(nproc)" sh -c '"$0" --quiet --extra-arg=-w -p "$1" "$2" 2>/dev/null' \
    "$tidy" <"$list" || failed=1
exit $failed
