#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds hull against the JSON schemas of the OCI runtime specification, with a validator of JSON Schema as the judge.

usage: check.py verdicts PROGRAM       thousands of configurations: PROGRAM (verdict.c) says what hull makes of them
       check.py run HULL ROOT BUNDLE   about a hundred of them through `hull --root ROOT run --bundle BUNDLE`
       check.py valid SCHEMA           a document on standard input, such as `hull features` prints
       check.py properties             every property of config.json, a line each

Ends with status 77 where there is no python3-jsonschema.
"""
import collections
import json
import os
import re
import subprocess
import sys
import warnings

try:
    warnings.simplefilter("ignore", DeprecationWarning)  # newer versions would have RefResolver called otherwise
    import jsonschema
    from jsonschema import RefResolver
except ImportError:
    print("python3-jsonschema is not installed")
    sys.exit(77)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
import documents  # noqa: E402
import exceptions  # noqa: E402

SCHEMAS = documents.Schemas(os.path.join(HERE, "..", "data", "runtime-spec"))
CONFIG = SCHEMAS.expand(SCHEMAS.files["config-schema.json"], "config-schema.json")
COMBINATIONS, SEED = 12000, 1


# ---- the judge -------------------------------------------------------------------------------------


def validator(name):
    base = "file:///schema/"
    store = {base + file: schema for file, schema in SCHEMAS.files.items()}
    for platform in ("solaris", "windows", "zos", "freebsd"):  # see data/runtime-spec/README.md
        store[base + "config-%s.json" % platform] = {platform: {}}
    schema = SCHEMAS.files[name]
    cls = jsonschema.validators.validator_for(schema)
    cls.check_schema(schema)
    return cls(schema, resolver=RefResolver(base + name, schema, store=store))


def complaints(error):
    """The paths that an error is about."""
    if error.context:
        for inner in error.context:
            yield from complaints(inner)
        return
    path = "".join("/%s" % token for token in error.absolute_path)
    if error.validator == "required":
        yield from (path + "/" + name for name in error.validator_value if name not in error.instance)
    else:
        yield path or "/"


def judge(config, text):
    """The paths of all that the schema finds wrong."""
    return {path for error in config.iter_errors(json.loads(text)) for path in complaints(error)}


# ---- hull's view -----------------------------------------------------------------------------------


def verdicts(program, texts):
    """(verdict, path, message) of each text."""
    run = subprocess.run([program], input="".join(t + "\n" for t in texts), stdout=subprocess.PIPE, check=True,
                         encoding="utf-8")
    lines = run.stdout.splitlines()
    assert len(lines) == len(texts), "%d verdicts for %d documents" % (len(lines), len(texts))
    for line in lines:
        word, _, message = line.partition(" ")
        yield word, message.partition(": ")[0], message


def value_at(text, path):
    value = json.loads(text)
    for token in path.strip("/").split("/"):
        try:
            value = value[int(token) if isinstance(value, list) else token]
        except (KeyError, IndexError, TypeError, ValueError):
            return exceptions.ABSENT
    return value


class Comparison:
    def __init__(self):
        self.count = collections.Counter()
        self.used = collections.Counter()
        self.failures = []

    def excused(self, table, text, path):
        for entry in table:
            if re.fullmatch(entry[0], path) and entry[1](value_at(text, path)):
                self.used[entry[2], entry[0]] += 1
                return True
        return False

    def fail(self, what, text, message, wrong):
        self.failures.append("%s\n  hull: %s\n  schema: %s\n  %s" % (what, message, sorted(wrong), text))

    def compare(self, text, wrong, verdict):
        word, path, message = verdict
        excused = exceptions.STRICTER if word == "reject" else exceptions.REFUSED
        if word == "accept":
            if not wrong:
                self.count["accepted by both"] += 1
            elif all(self.excused(exceptions.LAXER, text, p) for p in wrong):
                self.count["rejected by the schemas, accepted by hull: an exception"] += 1
            else:
                self.fail("hull accepts what the schemas reject", text, message, wrong)
        elif not path.startswith("/"):
            self.fail("a message without a path", text, message, wrong)
        elif path in wrong:
            self.count["rejected by both, in the same place"] += 1
        elif not self.excused(excused, text, path):
            self.fail("hull complains where the schemas do not", text, message, wrong)
        elif wrong:
            self.count["rejected by both, hull first where an exception says so"] += 1
        elif word == "reject":
            self.count["accepted by the schemas, rejected by hull: an exception"] += 1
        else:
            self.count["accepted by both, and then no container can be so"] += 1

    def unused(self):
        for table in (exceptions.STRICTER, exceptions.LAXER, exceptions.REFUSED):
            for pattern, _, reason in table:
                if not self.used[reason, pattern]:
                    yield pattern, reason


# ---- the commands ----------------------------------------------------------------------------------


def respelled(text):
    """hull also takes the spelling of the Go types, which the schemas do not know."""
    return text.replace('"hwConfig":', '"hwconfig":')


def command_verdicts(program):
    config = validator("config-schema.json")
    cases = collections.defaultdict(set)  # what each document is about
    for path, text in documents.singles(CONFIG):
        cases[text].add(path)
        cases[respelled(text)].add(path)
    for text in documents.combinations(CONFIG, COMBINATIONS, SEED):
        cases[text].add(())
    comparison, good, bad = Comparison(), set(), set()
    for (spelled, paths), verdict in zip(cases.items(), verdicts(program, cases)):
        text = spelled.replace('"hwconfig":', '"hwConfig":')
        wrong = judge(config, text)
        comparison.compare(text, wrong, tuple(v.replace("hwconfig", "hwConfig") for v in verdict))
        (bad if wrong else good).update(paths)
    for failure in comparison.failures[:20]:
        print(failure)
    for pattern, reason in comparison.unused():
        comparison.failures.append(pattern)
        print("an exception that no document needs: %s (%s)" % (pattern, reason))
    for path in properties():
        if path not in good or path not in bad:
            comparison.failures.append(path)
            print("no valid and invalid document for %s" % documents.path_text(path))
    print("%6d documents" % len(cases))
    for what, count in sorted(comparison.count.items()):
        print("%6d %s" % (count, what))
    print("%6d properties, each with valid and invalid documents" % len(list(properties())))
    print("%6d exceptions: %d stricter by the text, %d laxer for engines; %d kinds of contradiction" % (
        len(exceptions.STRICTER) + len(exceptions.LAXER), len(exceptions.STRICTER), len(exceptions.LAXER),
        len(exceptions.REFUSED)))
    return 1 if comparison.failures else 0


def properties():
    """The paths of all properties that have a name or are an element of a list."""
    return (path for path, schema in documents.walk(CONFIG) if path and schema)


def run_hull(hull, root, bundle, text):
    with open(os.path.join(bundle, "config.json"), "w", encoding="utf-8") as f:
        f.write(text)
    return subprocess.run([hull, "--root", root, "run", "--bundle", bundle, "schema-test"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace", timeout=60)


def command_run(hull, root, bundle):
    config, comparison = validator("config-schema.json"), Comparison()
    kinds, accepted, ran = collections.defaultdict(list), [], 0
    for path, text in documents.singles(CONFIG):
        errors = list(config.iter_errors(json.loads(text)))
        wrong = {p for error in errors for p in complaints(error)}
        if errors and all(comparison.excused(exceptions.LAXER, text, p) for p in wrong):
            continue
        for error in errors:
            kinds[error.validator, str(error.validator_value)[:40], path[0] if path else ""].append((text, wrong))
        # Not what takes devices, limits or labels that this host may lack.
        if not errors and path[:2] not in (("linux", "resources"), ("linux", "intelRdt")) and path[:1] != ("vm",):
            accepted.append(text)
    for cases in kinds.values():
        text, wrong = cases[len(cases) // 2]
        result = run_hull(hull, root, bundle, text)
        named = any("config.json: %s:" % path in result.stdout for path in wrong)
        if result.returncode == 0 or result.stdout.count("\n") != 1 or not named or os.listdir(root):
            comparison.fail("status %d, left: %s" % (result.returncode, os.listdir(root)), text, result.stdout, wrong)
    accepted = documents.every(accepted, 50)
    for text in accepted:
        result = run_hull(hull, root, bundle, text)
        named = re.search(r"config\.json: (/[^:]*):", result.stdout)
        ran += result.returncode == 0
        if os.listdir(root) or named and not comparison.excused(exceptions.STRICTER, text, named.group(1)):
            comparison.fail("status %d, left: %s" % (result.returncode, os.listdir(root)), text, result.stdout, ())
    print("\n".join(comparison.failures))
    print("%d rejected with the path, of %d kinds; of %d valid ones %d ran" % (
        len(kinds), len({kind[0] for kind in kinds}), len(accepted), ran))
    return 1 if comparison.failures or ran < len(accepted) / 2 else 0


def command_valid(name):
    document = json.load(sys.stdin)
    errors = list(validator(name).iter_errors(document))
    for error in errors:
        print("%s: %s" % ("/".join(str(t) for t in error.absolute_path), error.message))
    return 1 if errors else 0


def command_properties():
    for path in properties():
        if isinstance(path[-1], str) and path[-1] != documents.KEY:
            print(documents.path_text(path))
    return 0


def main():
    commands = {"verdicts": (command_verdicts, 1), "run": (command_run, 3), "valid": (command_valid, 1),
                "properties": (command_properties, 0)}
    command, arguments = commands.get(sys.argv[1] if len(sys.argv) > 1 else "", (None, 0))
    if not command or len(sys.argv) != 2 + arguments:
        print("\n".join(__doc__.splitlines()[2:7]), file=sys.stderr)
        return 2
    return command(*sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
