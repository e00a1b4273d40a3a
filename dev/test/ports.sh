#!/bin/sh
# dev/ports/attnvar.js against the golden vectors and against the program: ports.sh ./train_attnvar
# Needs node 18 or newer. The last line is "N passed, N failed".
. "$(dirname "$0")/lib.sh"
if ! command -v node > /dev/null; then
    echo "ports.sh: error: no node found; on Debian: apt-get install nodejs" >&2
    exit 1
fi
node "$root/dev/test/ports.js" "$program"
