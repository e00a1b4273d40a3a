#!/bin/sh
# Opens a report in headless Chromium, from the file system: dev/test/report_browser.sh FOLDER, where
# FOLDER holds results.csv and details.json. No error on the console, every figure with a size and
# with marks, nothing wider than a phone, sorting, and all of it with scripts disabled. Not part of
# `make test`; without Chromium (Debian: apt-get install chromium) it says so and exits 0.
set -u
chromium=$(command -v chromium || command -v chromium-browser) ||
    { echo "note: no chromium: the report is not opened in a browser"; exit 0; }
[ $# -eq 1 ] || { echo "usage: dev/test/report_browser.sh FOLDER" >&2; exit 1; }
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
cp "$1/results.csv" "$dir" || exit 1
[ ! -f "$1/details.json" ] || cp "$1/details.json" "$dir"
python3 -B "$root/dev/experiments/report.py" "$dir" > "$dir/said" || exit 1
passed=0
failed=0
check() {       # check WHAT COMMAND...
    what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAIL  $what"; fi
}
browse() {      # browse PAGE OPTION...: the document after it was loaded; the console in $dir/console
    page=$1
    shift
    perl -e 'alarm 300; exec @ARGV' "$chromium" --headless=new --no-sandbox --disable-gpu --user-data-dir="$dir/profile" \
        --enable-logging=stderr --virtual-time-budget=3000 "$@" --dump-dom "file://$page" 2> "$dir/console"
}

# The same page with a script at its end that measures it and writes what it found into the page.
cat > "$dir/measure.js" << 'END'
(function () {
  var figures = document.querySelectorAll('svg.figure'), bad = 0;
  figures.forEach(function (f) {
    if (getComputedStyle(f).display === 'none') return;         // drawn for another width
    var box = f.getBoundingClientRect(), marks = f.querySelectorAll('circle,polygon,path,rect,image');
    if (box.width < 50 || box.height < 50 || marks.length < 4) bad++;
  });
  var head = document.querySelector('table.sortable th:nth-child(2) button'), order = 'none';
  if (head) {
    head.click();
    var cells = Array.from(head.closest('table').tBodies[0].rows).map(function (row) {
      return row.cells[1].getAttribute('data-v'); }).filter(function (v) { return v !== ''; });
    order = cells.every(function (v, i) { return i === 0 || +cells[i - 1] <= +v; });
  }
  document.body.setAttribute('data-found', 'figures=' + figures.length + ' bad=' + bad + ' sorted=' + order);
}());
END
python3 - "$dir" << 'END'
import sys
folder = sys.argv[1]
with open(folder + "/report.html", encoding="utf-8") as file:
    text = file.read()
with open(folder + "/measure.js", encoding="utf-8") as file:
    text = text.replace("</body>", "<script>" + file.read() + "</script></body>")
with open(folder + "/measured.html", "w", encoding="utf-8") as file:
    file.write(text)
with open(folder + "/phone.html", "w", encoding="utf-8") as file:      # a window of 390 pixels
    file.write('<iframe id="f" src="report.html" style="width:390px;height:800px;border:0" onload="'
               "var d=this.contentDocument;document.body.setAttribute('data-wide',"
               "d&&d.documentElement.scrollWidth<=d.documentElement.clientWidth?'no':'yes')\"></iframe>")
with open(folder + "/still.html", "w", encoding="utf-8") as file:      # a frame that runs no script
    file.write('<iframe sandbox="allow-same-origin" src="report.html" onload="'
               "var d=this.contentDocument;document.body.setAttribute('data-still','figures='+"
               "d.querySelectorAll('svg.figure').length+' buttons='+"
               "d.querySelectorAll('button').length)\"></iframe>")
END
count=$(grep -o 'class="figure' "$dir/report.html" | wc -l)
browse "$dir/measured.html" > "$dir/dom"
check "figures: $count, none empty, tables sort: $(grep -o 'data-found="[^"]*"' "$dir/dom")" \
    grep -q "data-found=\"figures=$count bad=0 sorted=true\"" "$dir/dom"
no_errors() { ! grep -E 'CONSOLE|Uncaught' "$dir/console"; }
check "no error on the console" no_errors
browse "$dir/still.html" --allow-file-access-from-files > "$dir/dom"
check "without scripts: all figures, no button that does nothing: $(grep -o 'data-still="[^"]*"' "$dir/dom")" \
    grep -q "data-still=\"figures=$count buttons=0\"" "$dir/dom"
browse "$dir/phone.html" --allow-file-access-from-files > "$dir/dom"
check "390 pixels are enough" grep -q 'data-wide="no"' "$dir/dom"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
