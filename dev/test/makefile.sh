#!/bin/sh
# Is the Makefile right? dev/test/makefile.sh [MAKE...]: with these makes (none: make). Every Mac has GNU
# make 3.81, so nothing newer may stand in it; flags are tried out when something is compiled, not before,
# and again when they may have changed; Apple's clang gets OpenMP in its own way.
# The last line is "makefile: N passed, N failed".
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0
check() {       # check WHAT COMMAND...: passes if the command does
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL  $what"; fi
}
not() { ! "$@"; }

# newer FILE: prints the lines that make 3.81 does not understand, each with the reason
newer() {
    awk '
    function say(why) { printf "%d: %s: %s\n", NR, why, $0; bad = 1 }
    function comment_in_call(s,   i, c) {       # a # between $( and its ), also on a later line
        gsub(/\$\$/, "", s)
        if (!continued) depth = 0
        continued = s ~ /\\$/
        for (i = 1; i <= length(s); i++) {
            c = substr(s, i, 1)
            if (c == "#") return depth > 0
            if (c == "(" && (depth || substr(s, i - 1, 1) == "$")) depth++
            if (c == ")" && depth) depth--
        }
        return 0
    }
    { recipe = /^\t/; code = $0; if (!recipe && code ~ /^[ ]*#/) next }
    !recipe && comment_in_call(code)                 { say("# in a function call: a comment before 4.3") }
    code ~ /\$[({](file|guile|let|intcmp) /          { say("a function of 4.0 or later") }
    recipe { next }
    code ~ /^[A-Za-z_. ]+(!=|::=|:::=|\+:=)/         { say("an assignment of 4.0 or later") }
    code ~ /^[ ]*(undefine|private|load|-load) /     { say("a directive of 3.82 or later") }
    code ~ /^[^=]*: *private /                       { say("private: 3.82") }
    code ~ /^[ ]*(override +)?define +[^ ]+ *[:+?]?=/ { say("define with =: 3.82") }
    code ~ /^[^#=]*&::? /                            { say("grouped targets: 4.3") }
    code ~ /^\.(ONESHELL|RECIPEPREFIX|SHELLFLAGS|EXTRA_PREREQS|NOTINTERMEDIATE|WAIT)/ ||
    code ~ /: .*\.WAIT/                              { say("a special target or variable after 3.81") }
    code ~ /(--output-sync|--shuffle|--trace|--eval)/ { say("an option after 3.81") }
    END { exit bad }' "$1"
}
check "the Makefile has nothing that make 3.81 lacks" newer "$root/Makefile"
printf '%s\n' "A := \$(call probe,x,'#ifdef X')" 'B != uname' 'C ::= x' 'D := $(file <x)' '.ONESHELL:' 'a b &: c' \
    'define E =' 'undefine F' 'private G := 1' 'x: private H := 1' '.RECIPEPREFIX = >' 'a: b .WAIT c' \
    'X := $(if $(Y),a,# b)' 'I := $(let x,1,$x)' > "$dir/planted"
while IFS= read -r line; do
    printf '%s\n' "$line" > "$dir/one"
    newer "$dir/one" > /dev/null
    check "noticed: $line" [ $? -eq 1 ]
done < "$dir/planted"

mkdir "$dir/it's a tree" && cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/Makefile" "$root/dev" "$dir/it's a tree" && cd "$dir/it's a tree" || exit 1
# A compiler that writes down what it was asked; and as Apple's clang, without and with its libomp.
cat > "$dir/cc" << 'END'
#!/bin/sh
echo "$*" >> "$LOG"
exec cc "$@"
END
cat > "$dir/apple" << 'END'
#!/bin/sh
case " $* " in
*-mprefer*) exit 1 ;;
*" -Xpreprocessor -fopenmp "*-I"$HAS"/*) exec cc $(echo " $* " | sed 's/ -Xpreprocessor / /; s/ -lomp / /') ;;
*" -fopenmp "*) echo "clang: error: unsupported option '-fopenmp'" >&2; exit 1 ;;
*) exec cc "$@" ;;
esac
END
chmod +x "$dir/cc" "$dir/apple"
LOG=$dir/log
export LOG
built() {       # built WHAT COMPILED? ARGUMENT...: is the program compiled anew?
    what="$make: $1" want=$2
    shift 2
    : > "$LOG"
    "$make" -s CC="$dir/cc" "$@" train_attnvar > said 2>&1 || cat said
    found=no
    grep -q 'train_attnvar\.c' "$LOG" && found=yes
    check "$what: compiled: $found, expected $want" [ $found = $want ]
}
for make in "${@:-make}"; do
    "$make" -s clean
    : > "$LOG"
    for arguments in clean "-n" "-n NO_OMP=1 test" "-n clean" "-n debug tools bench"; do
        "$make" CC="$dir/cc" $arguments > said 2>&1
        check "$make $arguments runs no compiler" [ $? -eq 0 -a ! -s "$LOG" ]
    done
    quick="CFLAGS=-O0"
    built "a first build" yes $quick
    built "nothing changed" no $quick
    check "$make: nothing is tried out again" [ ! -s "$LOG" ]
    built "NO_OMP" yes $quick NO_OMP=1
    check "$make: NO_OMP builds without OpenMP" not grep -q -e '-fopenmp' "$LOG"
    built "NO_OMP, again" no $quick NO_OMP=1
    built "PORTABLE" yes $quick PORTABLE=1
    check "$make: PORTABLE is for any machine" not grep -q -e '-march' "$LOG"
    built "CFLAGS with quotes" yes CFLAGS="-O0 -DUNUSED_NAME='\"a b\"'"
    built "CFLAGS with quotes, again" no CFLAGS="-O0 -DUNUSED_NAME='\"a b\"'"
    built "a compiler with an option" yes CC="$dir/cc -DUNUSED" $quick
    mkdir -p "$dir/a folder"
    TMPDIR="$dir/a folder"; export TMPDIR
    built "temporary files in a folder whose name has a space" yes $quick PORTABLE=1
    unset TMPDIR
    built "a line of the Makefile" yes $quick
    sleep 1; touch train_attnvar.c                          # 3.81 compares whole seconds
    built "a newer source" yes $quick
    sleep 1; echo '# longer' >> Makefile
    built "a newer Makefile, but the same flags" yes $quick
    mv "$dir/cc" "$dir/cc2"
    "$make" -s CC="$dir/cc" train_attnvar > said 2>&1
    check "$make: a compiler that is not there: $(cat said)" \
        grep -q "make: error: $dir/cc does not compile" said
    built "another compiler" yes CC="$dir/cc2" $quick
    mv "$dir/cc2" "$dir/cc"

    for HAS in none /opt/homebrew/opt/libomp /usr/local/opt/libomp /opt/local; do
        export HAS
        "$make" -s clean
        "$make" CC="$dir/apple" $quick train_attnvar > said 2>&1
        if [ $HAS = none ]; then
            check "$make: Apple's clang without libomp: how to get it" grep -q 'note: .*one thread;.*brew install libomp' said
            check "$make: Apple's clang without libomp builds" ./train_attnvar --help > /dev/null
        else
            check "$make: Apple's clang finds OpenMP in $HAS" grep -q -e "-Xpreprocessor -fopenmp.*$HAS.* -lomp" .flags
            check "$make: which runs" ./train_attnvar --help > /dev/null
        fi
    done
done
echo "makefile: $passed passed, $failed failed"
[ $failed -eq 0 ]
