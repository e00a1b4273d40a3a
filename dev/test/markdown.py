#!/usr/bin/env python3
"""Checks every Markdown file of the repository: links, line numbers, commands.

    python3 dev/test/markdown.py            [--selftest: on doctored files alone]
    python3 dev/test/markdown.py --fix      sets the line numbers of links anew

- A relative link leads to a file or folder that is there, an anchor (#...) to a heading.
- [`name`](path.c#L123), or [name](...): line 123 must hold the name, be it a function, a chapter's
  heading ("// ---- 4.3  approx") or a section's; or a comment block begins there and the name
  stands in it or on the line behind it. --fix finds the definition or heading itself.
- In blocks marked sh, and in those that are indented by four spaces: every target of make, every
  script and program called by a path, and every option of ./train_attnvar and of the programs in
  dev/tools and dev/bench exist. Options are known from the sources, so nothing need be built.

Standard library only. A line a mistake; then "N passed, N failed", exits 1 if any failed."""

import os
import re
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
BUILT = {"train_attnvar": "train_attnvar.c", "test_attnvar": "test_attnvar.c",
         "train_debug": "train_attnvar.c", "test_debug": "test_attnvar.c"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def markdown_files(root):
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        for name in sorted(files):
            if name.endswith(".md"):
                yield os.path.join(folder, name)


def split(text):
    """(prose, blocks): lines outside of code as (number, line), and blocks (lang, lines)."""
    prose, blocks, block, lang = [], [], None, None
    before = ""
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            if lang is None:
                lang, block = line.strip()[3:].strip() or "text", []
            else:
                blocks.append((lang, block))
                lang, block = None, None
        elif lang is not None:
            block.append((number, line))
        elif line.startswith("    ") and (not before.strip() or before.startswith("    ")):
            if not before.startswith("    ") or not blocks or blocks[-1][0] != "indented":
                blocks.append(("indented", []))
            blocks[-1][1].append((number, line))
        else:
            prose.append((number, line))
        before = line
    return prose, blocks


def anchors(text):
    """GitHub's names of the headings."""
    found = set()
    for _, line in split(text)[0]:
        if re.match(r"#{1,6} ", line):
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip().lower())
            name = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
            again = 0
            while name + ("-%d" % again if again else "") in found:
                again += 1
            found.add(name + ("-%d" % again if again else ""))
    return found


def definition(lines, name):
    """The line, from 1, where a C file defines a name or heads a chapter with it; else None."""
    word = re.escape(name)
    for pattern in (r"^\} %s;" % word, r"^// ---- (\d\.\d  )?%s\b" % word,
                    r"^//  ?\d+  %s\b" % word,
                    r"^(static|int|typedef|#define)\b[^;=]*\b%s\b[^;]*[{,)]$" % word,
                    r"^(static|enum|typedef|struct|\}|#define|extern)\b.*\b%s\b" % word):
        for number, line in enumerate(lines, 1):
            if re.match(pattern, line):
                return number
    return None


def names_of(text):
    """What a link says it points to: its words in backticks, else the text itself."""
    return re.findall(r"`([^`]+)`", text) or [text]


def points_to(lines, number, last, text):
    """Does line `number` (or those up to `last`) hold what the link's text names?"""
    if not 1 <= number <= len(lines):
        return False
    place = lines[number - 1:max(number, last)]
    if place[0].startswith("//") and (number == 1 or not lines[number - 2].startswith("//")):
        end = number
        while end < len(lines) and lines[end].startswith("//"):
            end += 1
        place = lines[number - 1:end + 1]
    held = "\n".join(place)
    return all(re.search(r"(?<!\w)%s(?!\w)" % re.escape(n), held) for n in names_of(text))


def check_links(root, path, text, fix=None):
    wrong, count = [], 0
    for number, line in split(text)[0]:
        for label, target in LINK.findall(re.sub(r"(`[^`\[\]]*`)(?!\])", "", line)):
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            where, _, anchor = target.partition("#")
            full = os.path.normpath(os.path.join(os.path.dirname(path), where)) if where else path
            at = "%s:%d: [%s](%s): " % (os.path.relpath(path, root), number, label, target)
            lined = re.fullmatch(r"L(\d+)(?:-L(\d+))?", anchor)
            if not os.path.exists(full):
                wrong.append(at + "no such file")
            elif lined:
                lines = read(full).split("\n")
                first, last = int(lined.group(1)), int(lined.group(2) or lined.group(1))
                right = definition(lines, names_of(label)[0])
                if fix is not None and right and not lined.group(2) and right != first:
                    fix.append((number, "(%s)" % target, "(%s#L%d)" % (where, right), label))
                elif not points_to(lines, first, last, label):
                    wrong.append(at + "the line does not hold it%s"
                                 % ("; it is at L%d: run with --fix" % right if right else ""))
            elif anchor and full.endswith(".md") and anchor not in anchors(read(full)):
                wrong.append(at + "no such heading")
    return wrong, count


def make_targets(root):
    makefile = read(os.path.join(root, "Makefile")).replace("\\\n", " ")
    found = set()
    for names in re.findall(r"^([\w./$() -]+?):(?!=)", makefile, re.M):
        found.update(names.split())
    tools = re.search(r"^TOOLS\s*:?=\s*(.*)$", makefile, re.M)
    return found | set(tools.group(1).split() if tools else [])


def source_of(root, program):
    """The C or Python source of a program, or None."""
    stem = BUILT.get(program, program)
    for path in (stem, stem + ".c"):
        if os.path.isfile(os.path.join(root, path)):
            return os.path.join(root, path)
    return None


def knows(root, source, option):
    """Does the program's own text, or what it includes, name the option as --help would?"""
    text = read(source)
    for included in re.findall(r'^#include "([^"]+)"', text, re.M):
        path = os.path.normpath(os.path.join(os.path.dirname(source), included))
        if os.path.exists(path) and not included.endswith("train_attnvar.c"):
            text += read(path)
    return option == "help" or '{"%s"' % option in text or "--%s" % option in text \
        or '"%s"' % option in text


def commands(blocks):
    for lang, lines in blocks:
        if lang not in ("sh", "indented"):
            continue
        joined = ""
        for number, line in lines:
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1] + " "
                continue
            command = re.sub(r"(^|\s)#.*", "", joined)
            if lang == "indented":                  # there a wide gap begins the explanation
                command = re.split(r"\s{3,}", command)[0]
            joined = ""
            command = re.sub(r'"--[^"]*"', '""', command)       # options handed on to another program
            for part in re.split(r"&&|\|\||[;|]|\bdo\b|\bthen\b", command):
                words = part.split()
                while words and (re.match(r"\w+=", words[0]) or words[0] in ("nice", "time")):
                    words = words[1:]
                if words:
                    yield number, words


def check_command(root, words, targets):
    """None, or what is wrong with it; raises nothing for what is no command of ours."""
    if words[0] == "make":
        for word in words[1:]:
            if re.fullmatch(r"[a-z][\w/.-]*", word) and word not in targets:
                return "make has no target %s" % word
            if not re.fullmatch(r"[\w/.=-]+", word):
                break
        return None
    program = words[1] if words[0].startswith("python3") and len(words) > 1 else words[0]
    if words[0].startswith("python3") and program.startswith("-"):
        return None
    program = program[2:] if program.startswith("./") else program
    ours = words[0].startswith(("./", "dev/")) or program.startswith("dev/") or \
        (words[0] == "python3" and program.endswith(".py"))
    if not ours or not re.fullmatch(r"[\w./-]+", program):
        return None
    source = source_of(root, program)
    if source is None:
        return "no program %s" % program
    if not source.endswith((".c", ".py")):
        return None
    for word in words:
        option = re.match(r"--([a-z][\w-]*)", word)
        if option and not knows(root, source, option.group(1)):
            return "%s has no option --%s" % (program, option.group(1))
    return None


def check_file(root, path, targets):
    text = read(path)
    wrong, count = check_links(root, path, text)
    for number, words in commands(split(text)[1]):
        count += 1
        what = check_command(root, words, targets)
        if what:
            wrong.append("%s:%d: %s: %s" % (os.path.relpath(path, root), number,
                                            " ".join(words)[:60], what))
    return wrong, count


def fix(root):
    for path in markdown_files(root):
        text, changes = read(path), []
        check_links(root, path, text, changes)
        lines = text.split("\n")
        for number, old, new, label in changes:
            old, new = "[%s]%s" % (label, old), "[%s]%s" % (label, new)
            lines[number - 1] = lines[number - 1].replace(old, new)
            print("%s:%d: %s" % (os.path.relpath(path, root), number, new))
        if changes:
            with open(path, "w", encoding="utf-8") as f:
                f.write("\n".join(lines))


def selftest():
    """Files that are right pass; each with one mistake in it fails."""
    right = ("# A b\n\n[c](x.c) [`f`](x.c#L3) [f](x.c#L2) [b](#a-b) [s](s.md#one-two)\n\n"
             "```sh\nmake all\n./x --good 1 && python3 p.py --fine\n```\n")
    broken = (("(x.c)", "(y.c)"), ("#L3", "#L4"), ("#L3", "#L99"), ("[`f`]", "[`g`]"),
              ("(x.c#L2", "(x.c#L1"), ("#a-b", "#a-c"), ("one-two", "one"), ("make all", "make al"),
              ("./x ", "./z "), ("--good", "--bad"), ("p.py", "q.py"), ("--fine", "--coarse"))
    with tempfile.TemporaryDirectory() as root:
        for name, text in (("x.c", 'int a;\n// f is this\nint f(void) {\n}\n{"good"}\n'),
                           ("p.py", '"--fine"\n'), ("s.md", "## One two\n"),
                           ("Makefile", "all: x\n\ttrue\n")):
            with open(os.path.join(root, name), "w", encoding="utf-8") as f:
                f.write(text)
        path, failed = os.path.join(root, "t.md"), 0
        for old, new in (("", ""),) + broken:
            with open(path, "w", encoding="utf-8") as f:
                f.write(right.replace(old, new, 1) if old else right)
            wrong = check_file(root, path, make_targets(root))[0]
            if len(wrong) != (1 if old else 0):
                failed += 1
                print("FAIL  doctored '%s' to '%s': found %s" % (old, new, wrong))
    return len(broken) + 1 - failed, failed


def main():
    if sys.argv[1:] == ["--fix"]:
        fix(ROOT)
    passed, failed = selftest()
    if sys.argv[1:] != ["--selftest"]:
        targets = make_targets(ROOT)
        for path in markdown_files(ROOT):
            wrong, count = check_file(ROOT, path, targets)
            failed, passed = failed + len(wrong), passed + count - len(wrong)
            for line in wrong:
                print("FAIL  " + line)
    print("%d passed, %d failed" % (passed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
