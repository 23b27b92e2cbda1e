# SPDX-License-Identifier: Apache-2.0
"""Configurations made from the JSON schemas: for every property of the schema the values that it may have, and others.

Nothing here says which documents are valid: that is for a validator (check.py). A document is a base that is valid, in
which one property was given a value, or taken away, or (combinations()) several were. The base has what belongs to the
property (CONTEXTS), so that a value of the property is the only thing that can be wrong with the document.
"""
import copy
import itertools
import json
import os
import random


class Raw(str):
    """A JSON token as it is to be written: numbers that Python would write otherwise."""


def to_text(value):
    """The document as JSON on one line."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + to_text(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(to_text(v) for v in value) + "]"
    return json.dumps(value)


# ---- the schema ------------------------------------------------------------------------------------


class Schemas:
    """The schema files of a directory; expand() resolves their references."""

    def __init__(self, directory):
        self.files = {}
        for name in sorted(os.listdir(directory)):
            if name.endswith(".json"):
                with open(os.path.join(directory, name), encoding="utf-8") as f:
                    self.files[name] = json.load(f)

    def expand(self, schema, file):
        """The same schema without $ref, allOf and anyOf. What is in no file of ours may be anything."""
        if "$ref" in schema:
            target, pointer = schema["$ref"].split("#", 1)
            target = target or file
            if target not in self.files:
                return {}
            schema = self.files[target]
            for token in pointer.strip("/").split("/"):
                schema = schema[token]
            return self.expand(schema, target)
        new = {k: v for k, v in schema.items() if k not in ("allOf", "anyOf")}
        for part in schema.get("allOf", []) + schema.get("anyOf", []):
            assert "anyOf" not in schema or len(schema["anyOf"]) == 1, "alternatives are not understood"
            for key, value in self.expand(part, file).items():
                if key == "properties":
                    new[key] = {**new.get(key, {}), **value}
                elif key == "required":
                    new[key] = new.get(key, []) + value
                else:
                    new[key] = value
        if "properties" in new:
            new["properties"] = {k: self.expand(v, file) for k, v in new["properties"].items()}
        for key in ("items", "additionalProperties"):
            if key in new:
                new[key] = self.expand(new[key], file)
        if "patternProperties" in new:
            (value,) = new.pop("patternProperties").values()
            new["additionalProperties"] = self.expand(value, file)
        return new


INDEX, KEY = 0, "<key>"  # in a path: the elements of an array, the members of a map


def walk(schema, path=()):
    """Every property below a schema, as a path (a tuple of names, INDEX and KEY) and its own schema."""
    yield path, schema
    for name, sub in schema.get("properties", {}).items():
        yield from walk(sub, path + (name,))
    if "items" in schema:
        yield from walk(schema["items"], path + (INDEX,))
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], path + (KEY,))


def path_text(path):
    return "/" + "/".join("*" if isinstance(token, int) else token for token in path)


# ---- what a property is by itself, where any value of its type would not do ------------------------

PATTERNS = {  # of strings: what matches, and what does not
    "^RLIMIT_[A-Z]+$": (["RLIMIT_CORE", "RLIMIT_NPROC"], ["", "RLIMIT_", "rlimit_core", "RLIMIT_CORE1", "xRLIMIT_CORE", "CORE"]),
    "^[0-9, -]*$": (["0", "", "0-1", "0, 1"], ["a", "0;1", "0\t1", "0x1", "+0"]),
    "^[1-9][0-9]*[KMG]B$": (["2MB", "1GB", "64KB"], ["", "MB", "0MB", "02MB", "2M", "2TB", "2mb", "2MB ", " 2MB", "2.5MB", "-2MB"]),
    "^MB:[^\\n]*$": (["MB:0=20;1=70", "MB:"], ["", "MB", "L3:0=f", "mb:0=1", "MB:0=1\nL3:0=f", " MB:0=1"]),
    "^[cbup]$": (["c", "b", "u", "p"], ["", "a", "C", "cc", "cb", " c"]),
}

SAMPLES = {
    "/ociVersion": "1.3.0",
    "/root/path": "rootfs",
    "/mounts/*": {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"},
    "/mounts/*/destination": "/mnt",
    "/mounts/*/type": "tmpfs",
    "/mounts/*/source": "tmpfs",
    "/mounts/*/options/*": "ro",
    "/process/cwd": "/tmp",
    "/process/rlimits/*/hard": 1024,
    "/process/rlimits/*/soft": 1024,
    "/process/oomScoreAdj": 100,
    "/process/scheduler/nice": 1,
    "/process/ioPriority/priority": 4,
    "/process/env/*": "A=b",
    "/process/capabilities/bounding/*": "CAP_KILL",
    "/process/user/umask": 18,
    "/linux/namespaces/*/path": "/proc/self/ns/pid",
    "/linux/devices/*": {"path": "/dev/fifo", "type": "p"},
    "/linux/devices/*/path": "/dev/fifo",
    "/linux/seccomp/defaultAction": "SCMP_ACT_ALLOW",
    "/linux/seccomp/syscalls/*/names": ["kexec_load"],
    "/linux/seccomp/syscalls/*/names/*": "kexec_load",
    "/linux/seccomp/syscalls/*/action": "SCMP_ACT_ERRNO",
    "/linux/seccomp/syscalls/*/args/*/index": 0,
    "/linux/memoryPolicy/nodes": "0",
    "/linux/maskedPaths/*": "/proc/keys",
    "/linux/readonlyPaths/*": "/proc/bus",
    "/linux/sysctl/<key>": "1",
    "/linux/intelRdt/schemata/*": "L3:0=f",
    "/linux/intelRdt/l3CacheSchema": "L3:0=f",
    "/linux/resources/devices/*/type": "c",
    "/linux/resources/devices/*/access": "r",
    "/linux/resources/cpu/cpus": "0",
    "/linux/resources/cpu/mems": "0",
    "/linux/personality/flags/*": "ADDR_NO_RANDOMIZE",
    "/vm/kernel/path": "/vmlinux",
    "/vm/kernel/initrd": "/initrd",
    "/vm/hypervisor/path": "/hypervisor",
    "/vm/image/path": "/image",
    "/vm/hwConfig/deviceTree": "/device-tree",
}
for _hook in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
    SAMPLES["/hooks/%s/*/path" % _hook] = "/bin/true"

KEYS = {"/annotations": "org.example.key", "/linux/sysctl": "kernel.shm_rmid_forced", "/linux/netDevices": "eth7",
        "/linux/resources/rdma": "mlx5_0", "/linux/resources/unified": "memory.high"}

# More values that a string is worth being given, valid or not.
STRINGS = {
    "/ociVersion": ["1.0.0", "1.0.2-dev", "1.3.0+dev", "1.99.0", "2.0.0", "0.1.0", "1.0", "latest"],
    "/root/path": ["/srv/rootfs", "./rootfs"],
    "/process/cwd": ["/", "tmp", "./"],
    "/mounts/*/destination": ["/a/b", "relative"],
    "/linux/resources/devices/*/type": ["a", "b", "c", "d", "all"],
    "/linux/resources/devices/*/access": ["r", "w", "m", "rwm", "mr", "x", "rx"],
    "/linux/rootfsPropagation": ["rprivate", "rshared", "rslave", "runbindable"],
    "/linux/personality/flags/*": ["SHORT_INODE", "UNKNOWN"],
    "/linux/mountLabel": ["system_u:object_r:container_file_t:s0:c1,c2", "a\nb", "a\"b"],
    "/mounts/*/options/*": ["rw", "size=1m", "idmap", "no such option"],
    "/vm/kernel/path": ["vmlinux"],
}

# What the specification's Go types write for objects that are not there, and what is nearly that.
OBJECTS = {
    "/vm/image": [{"path": "", "format": ""}, {"path": ""}, {"format": ""}, {"path": "", "format": "raw"},
                  {"path": "", "format": "iso"}, {"path": "/image", "format": ""}, {"path": "", "format": None}],
    "/vm/hypervisor": [{"path": ""}, {"path": "", "parameters": []}, {"path": "", "parameters": [1]}, {"path": "", "x": ""}],
}

NUMBERS = {"/process/oomScoreAdj": [-1000, 0, 1000, 1001, -1001],
           "/linux/devices/*/fileMode": [0o600, 0o666, 0o1666, 0o10666, 0o20666, 0o60660, 0o100644]}


def at(path, table, default=None):
    return table.get(path_text(path), default)


def sample(schema, path):
    """The simplest value that suits a property."""
    value = at(path, SAMPLES)
    if value is not None:
        return copy.deepcopy(value)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "string":
        return PATTERNS[schema["pattern"]][0][0] if "pattern" in schema else "text"
    if kind == "integer":
        return max(1, schema.get("minimum", 1))
    if kind == "boolean":
        return False
    if kind == "array":
        return [sample(schema["items"], path + (INDEX,))] if schema.get("minItems") or path[-1] == "args" else []
    return {name: sample(schema["properties"][name], path + (name,)) for name in schema.get("required", [])}


# ---- values ----------------------------------------------------------------------------------------

INTEGER_ENDS = [-2**63, -2**31, 0, 2**15, 2**16, 2**31, 2**32, 2**63, 2**64]
OF_EACH_TYPE = {"null": None, "boolean": True, "integer": 7, "number": 1.5, "string": "text", "array": [], "object": {}}


def strings_of(schema, path):
    if "enum" in schema:
        return schema["enum"] + ["", "no such", schema["enum"][0].lower() + "x", schema["enum"][0] + " "] + at(path, STRINGS, [])
    if "pattern" in schema:
        return sum(PATTERNS[schema["pattern"]], []) + at(path, STRINGS, [])
    return [sample(schema, path), ""] + at(path, STRINGS, ["text", "\u00e9 \U0001f600", "x" * 300])


def integers_of(schema, path):
    ends = INTEGER_ENDS + [schema[k] for k in ("minimum", "maximum") if k in schema]
    values = {sample(schema, path), 1, *(end + d for end in ends for d in (-1, 0, 1)), *at(path, NUMBERS, [])}
    return sorted(values) + [Raw(t) for t in ("-0", "1.0", "1e3", "0.5", "-1.5", "1e400", str(10**30), str(-10**30))]


def arrays_of(schema, path):
    items = schema["items"]
    one = sample(items, path + (INDEX,))
    yield []
    yield [one]
    yield [one, copy.deepcopy(one)]
    if "enum" in items:
        yield list(items["enum"])
    for kind, wrong in OF_EACH_TYPE.items():
        if kind != items.get("type"):
            yield [wrong]
            yield [one, wrong]


def objects_of(schema, path):
    properties = schema.get("properties", {})
    whole = {name: sample(sub, path + (name,)) for name, sub in properties.items()}
    least = sample(schema, path)
    yield least
    yield whole
    yield {**least, "no such property": {"a": [None]}}
    yield {}
    yield from copy.deepcopy(at(path, OBJECTS, []))
    for name in properties:
        yield {k: v for k, v in whole.items() if k != name}
    if "additionalProperties" in schema:
        sub, key = schema["additionalProperties"], at(path, KEYS, "key")
        for name in (key, "", "with space", "\u00e9"):
            yield {name: sample(sub, path + (KEY,))}
        yield {"%s%d" % (key, i): sample(sub, path + (KEY,)) for i in range(30)}


def values_of(schema, path):
    """What a property is given: everything that its type allows or just does not, and every other type."""
    kind = schema.get("type")
    make = {"string": strings_of, "integer": integers_of, "array": arrays_of, "object": objects_of,
            "boolean": lambda s, p: [True, False]}
    yield from make[kind](schema, path)
    for name, value in OF_EACH_TYPE.items():
        if name != kind:
            yield copy.deepcopy(value)


# ---- documents -------------------------------------------------------------------------------------

BASE = {
    "ociVersion": "1.3.0",
    "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "env": ["PATH=/bin"], "cwd": "/"},
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/keys"],
        "readonlyPaths": ["/proc/sys"],
    },
}


def without_mounts(doc):
    """A container that shares the host's mounts and names: any list of namespaces suits it."""
    doc["mounts"] = []
    for name in ("maskedPaths", "readonlyPaths"):
        doc["linux"].pop(name, None)
    doc["root"].pop("readonly", None)
    doc.pop("hostname", None)


MAPPING = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def with_user_namespace(doc):
    doc["linux"]["namespaces"].append({"type": "user"})
    doc["linux"].update(uidMappings=MAPPING, gidMappings=copy.deepcopy(MAPPING))


def with_time_namespace(doc):
    doc["linux"]["namespaces"].append({"type": "time"})


def scheduled(**scheduler):
    return lambda doc: doc["process"].update(scheduler=copy.deepcopy(scheduler))


def linux(**members):
    return lambda doc: doc["linux"].update(copy.deepcopy(members))


DEADLINE = scheduled(policy="SCHED_DEADLINE", runtime=10**6, deadline=10**7, period=10**7)

CONTEXTS = {  # what a property needs to make sense, by the beginning of its path
    "/linux/namespaces": without_mounts,
    "/linux/uidMappings": with_user_namespace,
    "/linux/gidMappings": with_user_namespace,
    "/linux/timeOffsets": with_time_namespace,
    "/process/scheduler/priority": scheduled(policy="SCHED_FIFO", priority=1),
    "/process/scheduler/flags": DEADLINE,
    "/process/scheduler/runtime": DEADLINE,
    "/process/scheduler/deadline": DEADLINE,
    "/process/scheduler/period": DEADLINE,
    "/linux/memoryPolicy/": linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "0"}),
    "/linux/personality/": linux(personality={"domain": "LINUX"}),
}
# The mount that has a list of the other kind, and the device that has numbers.
WITH_UIDS = {"destination": "/mnt", "source": "/srv", "options": ["bind"], "uidMappings": MAPPING}
WITH_GIDS = {"destination": "/mnt", "source": "/srv", "options": ["bind"], "gidMappings": MAPPING}
DEVICE = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3}
ELEMENTS = {"/mounts/*/uidMappings": WITH_GIDS, "/mounts/*/gidMappings": WITH_UIDS, "/linux/devices/*/type": DEVICE,
            "/linux/devices/*/major": DEVICE, "/linux/devices/*/minor": DEVICE}


def element(schema, path, whole):
    """The element of a list in which the property `whole` is to be changed."""
    for beginning, value in ELEMENTS.items():
        if path_text(whole).startswith(beginning) and beginning.startswith(path_text(path)):
            return copy.deepcopy(value)
    return sample(schema, path)


def put(doc, schema, path, value):
    """Gives the property at path a value, and makes what is above it; lists above it become lists of one."""
    node, here, whole = doc, (), path
    for token, after in zip(path, path[1:]):
        schema, here = below(schema, token), here + (token,)
        if isinstance(node, list):
            node = node[0]
            continue
        token = at(here[:-1], KEYS, "key") if token == KEY else token
        new = node.get(token) if isinstance(node, dict) else None
        if isinstance(after, int):
            new = [element(schema["items"], here + (INDEX,), whole)]
        elif not isinstance(new, dict):
            new = sample(schema, here)
        node[token] = new
        node = new
    if isinstance(node, list):
        node[0] = value
    else:
        node[at(path[:-1], KEYS, "key") if path[-1] == KEY else path[-1]] = value


def below(schema, token):
    if isinstance(token, int):
        return schema["items"]
    return schema["additionalProperties"] if token == KEY else schema["properties"][token]


def with_context(path):
    doc = copy.deepcopy(BASE)
    for beginning, context in CONTEXTS.items():
        if path_text(path).startswith(beginning):
            context(doc)
    return doc


def singles(schema):
    """Documents with one property changed: (path, text)."""
    for path, sub in walk(schema):
        if not path or not sub:
            continue
        for value in values_of(sub, path):
            doc = with_context(path)
            put(doc, schema, path, value)
            yield path, to_text(doc)
    for linux_part in ("maskedPaths", "readonlyPaths", "no such"):
        doc = copy.deepcopy(BASE)
        without_mounts(doc)
        doc["linux"].update({"namespaces": [], linux_part: ["/proc/keys"]})
        doc["root"]["readonly"] = linux_part == "no such"
        yield ("linux", "namespaces"), to_text(doc)
    for name in BASE:
        yield (name,), to_text({k: v for k, v in BASE.items() if k != name})
    for value in ([], None, 1, "text", {}):
        yield (), to_text(value)


def combinations(schema, count, seed):
    """Documents in which two to five properties were changed at random, from a seed: the same ones each time."""
    rng = random.Random(seed)
    places = [(path, list(values_of(sub, path))) for path, sub in walk(schema) if path and sub]
    for _ in range(count):
        doc = copy.deepcopy(BASE)
        for path, values in rng.sample(places, rng.randint(2, 5)):
            put(doc, schema, path, copy.deepcopy(rng.choice(values[:3] if rng.random() < 0.8 else values)))
        yield to_text(doc)


def every(iterable, count):
    """About count elements of a list, evenly spread."""
    items = list(iterable)
    return list(itertools.islice(items, 0, None, max(1, -(-len(items) // count))))
