#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the conformance page: that it names every property of the schemas, and that the tests it names exercise them.

usage: page.py [OPTION...]     OPTION: a mount option that the page has to name, too

A line of the page is `.It NAME Ta WORD Ta TESTS AND REASON` in a section `.Ss /PATH`; the property is PATH/NAME.
"""
import os
import re
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import documents  # noqa: E402

TOP = os.path.join(HERE, "..", "..")
PAGE = os.path.join(TOP, "man", "hull-conformance.7")
TEST = re.compile(r"\b([a-z0-9_]+\.(?:bats|c))\b")
# These hold for every property and value of the schemas, whatever their names: check.py fails for one that they miss.
WHOLE = {"schema.bats": "every property", "features.bats": "every value that the features document lists"}
NEEDS_REASON = {"v1", "warned", "ignored", "refused", "unseen"}
WORDS = NEEDS_REASON | {"works"}


def lines():
    """(section, name, word, text) of each line."""
    section = ""
    with open(PAGE, encoding="utf-8") as page:
        for line in page:
            if line.startswith(".Ss "):
                section = line[4:].strip()
            parts = line[4:].strip().split(" Ta ")
            if line.startswith(".It ") and len(parts) == 3:
                yield (section, *parts)


def leaves():
    """(path, schema) of each property that is no mere object or list of objects; KEY and INDEX are both `*`."""
    schemas = documents.Schemas(os.path.join(HERE, "..", "data", "runtime-spec"))
    config = schemas.expand(schemas.files["config-schema.json"], "config-schema.json")
    for path, schema in documents.walk(config):
        inner = schema.get("items", schema.get("additionalProperties", schema))
        named = bool(path) and path[-1] not in (documents.INDEX, documents.KEY)
        if named and not inner.get("properties"):
            yield documents.path_text(path).replace(documents.KEY, "*"), inner


def test_file(name):
    for folder in ("integration", "unit"):
        path = os.path.join(TOP, "tests", folder, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                return f.read()
    return None


def has_word(word, text):
    return re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(word), text) is not None


def check_property(path, schema, row, problems):
    _, name, word, text = row
    tests = {test: test_file(test) for test in TEST.findall(text)}
    content = "\n".join(t for t in tests.values() if t)
    if "schema.bats" not in tests and not has_word(path.split("/")[-1], content):
        problems.append("%s: none of %s mentions it" % (path, ", ".join(tests)))
    for value in schema.get("enum", []):
        if not any(test in tests for test in WHOLE) and not has_word(value, content + text):
            problems.append("%s: none of %s mentions its value %s" % (path, ", ".join(tests), value))


def check_line(row, problems):
    section, name, word, text = row
    tests = TEST.findall(text)
    if word not in WORDS:
        problems.append("%s/%s: `%s` is not one of %s" % (section, name, word, ", ".join(sorted(WORDS))))
    if not tests:
        problems.append("%s/%s: no test is named" % (section, name))
    problems.extend("%s/%s: there is no test %s" % (section, name, t) for t in tests if test_file(t) is None)
    reason = TEST.sub("", text).strip(" ,;:")
    if word in NEEDS_REASON and len(reason) < 6 and section != "/":
        problems.append("%s/%s: %s, and no reason" % (section, name, word))


def main():
    rows, problems, options = list(lines()), [], sys.argv[1:]
    for row in rows:
        check_line(row, problems)
    of_path = {}
    for row in rows:
        if row[0].startswith("/") and row[0] != "/mounts/*/options":
            path = row[0].rstrip("/") + "/" + row[1]
            if path in of_path:
                problems.append("%s: two lines" % path)
            of_path[path] = row
    found = set()
    for path, schema in leaves():
        pattern = path if path in of_path else re.sub(r"^/hooks/\w+/", "/hooks/*/", path)
        if pattern not in of_path:
            problems.append("%s: not on the page" % path)
            continue
        found.add(pattern)
        check_property(path, schema, of_path[pattern], problems)
    problems.extend("%s: no such property" % path for path in of_path if path not in found)
    named = {option: row for row in rows if row[0] == "/mounts/*/options" for option in row[1].split()}
    for option in options:
        tests = TEST.findall(named[option][3]) if option in named else []
        if not any(has_word(option, test_file(test) or "") for test in tests):
            problems.append("mount option %s: not on the page, or not in its tests" % option)
    problems.extend("mount option %s: `hull features` has it not" % o for o in named if options and o not in options)
    print("\n".join(problems))
    print("%d properties, %d lines, of which %s" % (len(list(leaves())), len(rows), ", ".join(
        "%d %s" % (sum(row[2] == word for row in rows), word) for word in sorted(WORDS))))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
