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
     torch_ratio_10m torch_compile_ratio_10m -- --selftest
keys gemm_vs_openblas step_10m_vs_sgemm step_tiny_vs_sgemm -- --selftest --quick --sizes tiny
keys nonapprox_8192_vs_512 -- --selftest --mixers --threads 3

# with more threads: a row for each count
rows=$("$program" --selftest --scaling --threads 3 --sizes tiny | awk '$1 == "tiny" && $3 > 0 && $5 > 0 { printf "%s ", $2 }')
if [ "$rows" = "1 2 3 " ]; then result yes; else result no "--scaling measures 1, 2, 3 threads" "$rows"; fi

# what the self-test can measure without other libraries is a number
case $("$program" --selftest --mixers) in
    *"nonapprox_8192_vs_512: n/a"*) result no "the mixers are measured" "n/a" ;;
    *) result yes ;;
esac
peak=$("$program" --peak tiny | awk '$1 == "peak" { print ($2 > 1e6 && $2 < 1e9) }')
if [ "$peak" = 1 ]; then result yes; else result no "--peak tiny" "not between 1 and 1000 MB"; fi

# The shell cannot choose OpenBLAS's kernel: the same one runs, and the variable is reported.
kernel_of() { awk '/^OpenBLAS/ { sub(/^OpenBLAS +/, ""); sub(/;.*/, ""); print }'; }
plain=$("$program" --selftest --gemm --sizes tiny | kernel_of)
forced=$(OPENBLAS_CORETYPE=Prescott "$program" --selftest --gemm --sizes tiny)
case $forced in
    *"ignored   OPENBLAS_CORETYPE=Prescott"*) result yes ;;
    *) result no "a forced kernel is reported" "$forced" ;;
esac
if [ "$(printf '%s\n' "$forced" | kernel_of)" = "$plain" ]; then result yes
else result no "a forced kernel is not used" "$plain / $forced"; fi

# A library that names its kernel: with wide vectors it is compared with, with narrow ones it is not
# where this program's are wider.
work=$(mktemp -d) || exit 1
cat > "$work/blas.c" << 'END'
#include <stddef.h>
void openblas_set_num_threads(int n) { (void)n; }
char *openblas_get_corename(void) { return NAME; }
void cblas_sgemm(int order, int ta, int tb, int M, int N, int K, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
    (void)order;
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            double sum = 0;
            for (int k = 0; k < K; k++)
                sum += (double)a[ta == 112 ? (size_t)k * lda + i : (size_t)i * lda + k]
                     * b[tb == 112 ? (size_t)j * ldb + k : (size_t)k * ldb + j];
            float *x = c + (size_t)i * ldc + j;
            *x = (float)(alpha * sum) + (beta == 0 ? 0 : beta * *x);
        }
}
END
bytes=$("$program" --selftest --gemm --sizes tiny | sed -n 's/.*vectors of \([0-9]*\) bytes.*/\1/p')
for kernel in SkylakeX Prescott; do
    ${CC:-cc} -O2 -shared -fPIC -DNAME="\"$kernel\"" "$work/blas.c" -o "$work/blas.so" || exit 1
    out=$("$program" --selftest --gemm --sizes tiny --openblas "$work/blas.so" 2>&1)
    expected=number
    [ "$kernel" = Prescott ] && [ "$bytes" -gt 16 ] && expected=n/a
    found=$(printf '%s\n' "$out" | awk '$1 == "gemm_vs_openblas:" { print ($2 == "n/a" ? $2 : "number") }')
    named=$(printf '%s\n' "$out" | grep -c "kernel $kernel")
    if [ "$found" = $expected ] && [ "$named" = 1 ]; then result yes
    else result no "a library with kernel $kernel" "expected $expected, it said: $out"; fi
done
rm -rf "$work"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
