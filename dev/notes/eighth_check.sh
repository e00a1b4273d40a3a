#!/bin/sh
# Is dev/notes/eighth.patch still true? Applies it to a copy of the tree, builds that, runs the
# gradient tests of every model with the new variant, and 20 steps uniform and in a hybrid. Also
# counts: the patch may change fewer than 60 lines of train_attnvar.c. Prints what failed; exits 1.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
OMP_WAIT_POLICY=passive
export OMP_WAIT_POLICY
cp -r "$root/train_attnvar.c" "$root/test_attnvar.c" "$root/Makefile" "$dir" || exit 1
mkdir "$dir/dev" && cp -r "$root/dev/data" "$dir/dev" || exit 1
cd "$dir" || exit 1

fail() { echo "eighth.patch: $*"; exit 1; }

patch -p1 < "$root/dev/notes/eighth.patch" > patched 2>&1 ||
    { cat patched; fail "does not apply to the present files: make it again, see eighth.md"; }
lines=$(($(awk '/^diff / { main = /train_attnvar.c/ } main && /^[-+]/ && !/^(---|\+\+\+)/' \
            "$root/dev/notes/eighth.patch" | wc -l)))
[ "$lines" -lt 60 ] || fail "changes $lines lines of train_attnvar.c, expected fewer than 60"
make -s CFLAGS='-O1 -Werror' train_attnvar test_attnvar > log 2>&1 || { cat log; fail "does not build"; }

for models in 'gradient W' 'gradient SMANRFEW' 'mixer double window'; do
    ./test_attnvar "$models" > log 2>&1 || { cat log; fail "the gradient test '$models' fails"; }
done
for layers in WWWW WSWS; do
    ./train_attnvar --steps 20 --warmup 0 --min-lr 3e-3 --batch 4 --log-every 1 --sample 0 \
        --layout $layers > log 2>&1 || { cat log; fail "$layers does not train"; }
    awk '/^step/ && !/val/ { if (!n++) first = $4; last = $4 }
         END { exit !(n == 20 && last < first - 1) }' log || { cat log; fail "$layers: no lower loss"; }
done
./train_attnvar --help | grep -q '^  W  window' || fail "--help does not list the variant"
echo "eighth.patch: $lines lines of train_attnvar.c, gradients right, 20 steps lower the loss"
