#!/bin/sh
# The benchmark still works: dev/test/bench.sh dev/bench/bench. Bad options are refused, and every
# part runs once, on shapes too small to measure anything, down to its last lines. A few seconds.
. "$(dirname "$0")/lib.sh"

refuse "unknown option '--colour'" "--help" -- --colour red
refuse "--repeats '0'" "1 to 99" -- --repeats 0
refuse "--threads '2x'" "1 to 1024" -- --threads 2x
refuse "--sizes: a value is missing" -- --sizes
refuse "--sizes 'huge'" -- --sizes tiny,huge
refuse "--variants ''" -- --variants standard,
refuse "--peak 'huge'" -- --peak huge
refuse "--openblas ./none.so: cannot be loaded" -- --gemm --openblas ./none.so

# keys KEY... -- ARGUMENT...: exit code 0, and the last lines are these keys with a number or n/a
keys() {
    expected=
    while [ "$1" != -- ]; do expected="$expected$1: VALUE "; shift; done
    shift
    out=$("$program" "$@" 2>&1 </dev/null)
    code=$?
    found=$(printf '%s\n' "$out" | tail -n "$(($(printf '%s' "$expected" | tr -cd : | wc -c)))" |
        sed -E 's/: (n\/a|[0-9.]+(e[-+][0-9]+)?)$/: VALUE/' | tr '\n' ' ')
    if [ $code -eq 0 ] && [ "$found" = "$expected" ]; then result yes
    else result no "keys: $*" "exit code $code, expected $expected, it said: $out"; fi
}

keys gemm_vs_openblas step_10m_vs_sgemm step_tiny_vs_sgemm nonapprox_8192_vs_512 rss_160m_gb \
     torch_ratio_10m -- --selftest
keys gemm_vs_openblas step_10m_vs_sgemm step_tiny_vs_sgemm -- --selftest --quick --sizes tiny
keys nonapprox_8192_vs_512 -- --selftest --mixers --threads 3

# what the self-test can measure without other libraries is a number
case $("$program" --selftest --mixers) in
    *"nonapprox_8192_vs_512: n/a"*) result no "the mixers are measured" "n/a" ;;
    *) result yes ;;
esac
peak=$("$program" --peak tiny | awk '$1 == "peak" { print ($2 > 1e6 && $2 < 1e9) }')
if [ "$peak" = 1 ]; then result yes; else result no "--peak tiny" "not between 1 and 1000 MB"; fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
