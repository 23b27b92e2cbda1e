# SPDX-License-Identifier: Apache-2.0
"""Where hull and the schemas differ, and why. Each entry must be met by a document, or it is in the way.

An entry: the property as a regular expression of its path in a document, which of its values (of those that hull and the
schemas judge differently), and the reason. ABSENT stands for a property that is not there.
"""

ABSENT = object()


def anything(_):
    return True


def absent(value):
    return value is ABSENT or value == []


def not_absolute(value):
    return isinstance(value, str) and not value.startswith("/")


def empty(value):
    return not value and value is not ABSENT


def outside(low, high):
    return lambda value: isinstance(value, int) and not low <= value <= high


def with_file_type(value):
    return isinstance(value, int) and value & ~0o7777 in (0o10000, 0o20000, 0o60000)


VALID_VALUES = 'config.md, "Valid values": "Runtimes MUST generate an error when invalid or unsupported values are encountered"'

# The schemas accept it, and the specification's text, which they serve, does not.
STRICTER = [
    (r"/ociVersion", anything, 'config.md: "MUST be in SemVer v2.0.0 format", and compatible "within major versions"'),
    (r"/root/path", empty, 'config.md: "a directory MUST exist at the path", "an absolute path or a relative path": "" is neither'),
    (r"/mounts/\d+/destination", empty, 'config.md: "path inside container"; POSIX resolves no empty path'),
    (r"/process/cwd", not_absolute, 'config.md: "This value MUST be an absolute path"'),
    (r"/process/user/(uid|gid|additionalGids/\d+)", (2**32 - 1).__eq__,
     'config.md: "specifies the user ID": to setresuid(2) this one is none, and means no change; ' + VALID_VALUES),
    (r"/process/args", empty, 'config.md: "at least one entry is REQUIRED"'),
    (r"/process/oomScoreAdj", outside(-1000, 1000), 'config.md: "the runtime MUST set oom_score_adj to the given value": Linux has no other'),
    (r"/process/rlimits/\d+/type", anything, 'config.md: "If rlimits contains duplicated entries with same type, the runtime MUST generate an error"'),
    (r"/hooks/\w+/\d+/path", not_absolute, 'config.md: "This specification extends the IEEE standard in that path MUST be absolute"'),
    (r"/hooks/\w+/\d+/timeout", outside(1, 2**63 - 1), 'config.md: "timeout (int, OPTIONAL)": no int is that large'),
    (r"/annotations", lambda value: "" in value, 'config.md: "Keys MUST NOT be an empty string"'),
    (r"/linux/namespaces/\d+/path", not_absolute, 'config-linux.md: "This value MUST be an absolute path in the runtime mount namespace"'),
    (r"/linux/namespaces/\d+/type", anything, 'config-linux.md: "duplicated namespaces with same type, the runtime MUST generate an error"'),
    (r"/linux/devices/\d+/path", not_absolute, 'config-linux.md: "full path to device inside container"'),
    (r"/linux/devices/\d+/(major|minor)", absent, 'config-linux.md: "major, minor (int64, REQUIRED unless type is p)"'),
    (r"/linux/resources/devices/\d+/type", anything, 'config-linux.md: "type of device: a (all), c (char), or b (block)"; ' + VALID_VALUES),
    (r"/linux/resources/devices/\d+/access", anything, 'config-linux.md: "A composition of r (read), w (write), and m (mknod)"; ' + VALID_VALUES),
    (r"/linux/seccomp/syscalls/\d+/args/\d+/index", outside(0, 5), 'config-linux.md: "the index for syscall arguments": they are six; ' + VALID_VALUES),
    (r"/vm/(hypervisor|kernel|image)/path", not_absolute, 'config-vm.md: "This value MUST be an absolute path in the runtime mount namespace"'),
    (r"/vm/kernel/initrd", not_absolute, 'config-vm.md: "This value MUST be an absolute path in the runtime mount namespace"'),
]

# The schemas reject it, and engines write it.
LAXER = [
    (r"/linux/rootfsPropagation", ("rprivate", "rshared", "rslave", "runbindable").__contains__,
     "containerd's and docker's rslave and rshared are how every volume with propagation comes; runc and crun take them"),
    (r"/linux/devices/\d+/fileMode", with_file_type,
     "podman passes the st_mode of the host's device, with the type in it (8630 is a character device of 0666)"),
    (r"/vm/image/format", empty, "the Go types write an image that is not there as {\"path\": \"\", \"format\": \"\"}"),
]

# It is a valid document for both, and hull says with its path that no container can be so: members that contradict one
# another or that miss one another, and what Linux does not have.
REFUSED = [
    (r"/root", absent, 'config.md: "On all other platforms, this field is REQUIRED"'),
    (r"/process", absent, 'config.md: "This property is REQUIRED when start is called"'),
    (r"/process/args", absent, 'config.md: "at least one entry is REQUIRED"'),
    (r"/mounts", anything, "mounts without a mount namespace would be the host's"),
    (r"/root/readonly|/linux/(masked|readonly)Paths", anything, "without a mount namespace they would be the host's"),
    (r"/mounts/\d+/type", absent, "mount(2) takes a type, unless it is a bind mount"),
    (r"/mounts/\d+/[ug]idMappings", absent, 'config.md: "If specified, it MUST be specified along with" the other'),
    (r"/mounts/\d+/options", anything, "idmapped mounts are bind mounts"),
    (r"/process/ioPriority/priority", outside(0, 7), "ioprio_set(2): from 0 to 7"),
    (r"/process/scheduler/nice", outside(-20, 19), "sched(7): from -20 to 19"),
    (r"/process/scheduler/priority", anything, "sched(7): from 1 to 99, and for SCHED_FIFO and SCHED_RR alone"),
    (r"/process/scheduler/policy", "SCHED_ISO".__eq__, "sched(7): Linux has no SCHED_ISO"),
    (r"/process/scheduler/flags/\d+", anything, "flags of SCHED_DEADLINE alone; clamps without a value to clamp to"),
    (r"/process/scheduler(/runtime)?", anything, "sched(7): for SCHED_DEADLINE alone, and 1024 <= runtime <= deadline <= period"),
    (r"/linux/uidMappings", anything, "a user namespace needs mappings, and mappings a user namespace"),
    (r"/linux/timeOffsets", anything, "time_namespaces(7): offsets are a new time namespace's"),
    (r"/linux/devices/\d+/major", outside(0, 0xfff), "Linux has 12 bits for it"),
    (r"/linux/devices/\d+/minor", outside(0, 0xfffff), "Linux has 20 bits for it"),
    (r"/linux/netDevices.*", anything, "no name that Linux has for a device that can be moved"),
    (r"/linux/intelRdt/closID", anything, "no name that a directory can have"),
    (r"/linux/memoryPolicy/mode", absent, 'config-linux.md: "mode (string, REQUIRED)"'),
    (r"/linux/memoryPolicy/(nodes|flags.*)", anything, "set_mempolicy(2): which modes take nodes and flags"),
    (r"/linux/personality/domain", absent, 'config-linux.md: "domain (string, REQUIRED)"'),
    (r"/linux/personality/flags/\d+", anything, "no flag of personality(2)"),
    (r"/linux/mountLabel", anything, "no label"),
]
