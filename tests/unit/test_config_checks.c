/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What oci/config.h accepts, and what it refuses with which message. Texts are written as
 * config_text.h says, and each snippet breaks one thing only.
 */
#include "tests/unit/unit.h"

#include <errno.h>

#include "oci/config.h"
#include "tests/unit/config_text.h"

/* ---- what is accepted and refused ------------------------------------------------------------- */

#define PROCESS(members)   "'process': {'cwd': '/', " members "}"
#define LINUX(members)     "'linux': {" members "}"
#define RESOURCES(members) LINUX("'resources': {" members "}")
#define SECCOMP(members)   LINUX("'seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', " members "}")
#define SYSCALL(members)   SECCOMP("'syscalls': [{'names': ['a'], " members "}]")
#define VM(members)        "'vm': {'kernel': {'path': '/k'}, " members "}"
#define HOOK(members)      "'hooks': {'prestart': [{" members "}]}"

static void valid_snippets_are_accepted(void **state)
{
	static const char *const snippets[] = {
		"'x': [[[1e400]]], 'solaris': {'anything': null}, 'windows': 7, 'Process': 1",
		"'root': {'path': '/abs'}, 'hostname': '', 'domainname': ''",
		/* Stacked mounts are legal and ordered; relative destinations deprecated. */
		"'mounts': [{'destination': '/a'}, {'destination': '/a'}, {'destination': 'b/c'}]",
		"'annotations': {'a/b': '', ' ': 'x'}",
		PROCESS("'env': ['', 'A', 'A=', '=B', 'A=B', 'A=C']"),
		PROCESS("'capabilities': {'bounding': ['CAP_NONSENSE', ''], 'ambient': []}"),
		PROCESS("'consoleSize': {'height': 0, 'width': 18446744073709551615}"),
		PROCESS("'user': {}"),
		PROCESS("'user': {'uid': 4294967294, 'gid': 0, 'username': 'x'}"),
		PROCESS("'oomScoreAdj': 1000"),
		PROCESS("'ioPriority': {'class': 'IOPRIO_CLASS_IDLE'}"),
		PROCESS("'ioPriority': {'class': 'IOPRIO_CLASS_RT', 'priority': -2147483648}"),
		PROCESS("'scheduler': {'policy': 'SCHED_DEADLINE', 'flags': [], 'nice': -20,"
			"'runtime': 18446744073709551615}"),
		PROCESS("'scheduler': {'policy': 'SCHED_ISO', 'flags': ['SCHED_FLAG_RECLAIM']}"),
		PROCESS("'rlimits': [{'type': 'RLIMIT_FOO', 'hard': 0, 'soft': 0}]"),
		PROCESS("'execCPUAffinity': {'initial': '', 'final': '0-3, 7'}"),
		PROCESS("'commandLine': 'x', 'selinuxLabel': '', 'apparmorProfile': ''"),
		PROCESS("'user': {'uid': -0}"),
		"'hooks': {}",
		HOOK("'path': '/a', 'args': [], 'env': ['x'], 'timeout': 9223372036854775807"),
		LINUX("'namespaces': [{'type': 'pid'}, {'type': 'network'}, {'type': 'mount'},"
		      "{'type': 'ipc'}, {'type': 'uts'}, {'type': 'user'}, {'type': 'cgroup'},"
		      "{'type': 'time'}]"),
		LINUX("'rootfsPropagation': 'rslave'"),
		LINUX("'rootfsPropagation': 'unbindable'"),
		LINUX("'devices': [{'path': '/dev/p', 'type': 'p'}]"),
		LINUX("'devices': [{'path': '/d', 'type': 'u', 'major': 0, 'minor': 0}]"),
		LINUX("'personality': {'domain': 'LINUX32', 'flags': ['x']}"),
		LINUX("'personality': {}"),
		LINUX("'memoryPolicy': {'mode': 'MPOL_BIND', 'nodes': '0', 'flags': []}"),
		LINUX("'intelRdt': {'closID': '', 'memBwSchema': 'MB:', 'schemata': ['x']}"),
		LINUX("'uidMappings': [], 'cgroupsPath': '', 'mountLabel': ''"),
		LINUX("'sysctl': {'net.ipv4.ip_forward': '1', '': ''}"),
		RESOURCES("'memory': {'swappiness': 18446744073709551615, 'limit': 0}"),
		RESOURCES("'cpu': {'idle': -5, 'cpus': 'x', 'quota': -1}"),
		RESOURCES("'blockIO': {'weight': 0, 'leafWeight': 65535, 'weightDevice': []}"),
		RESOURCES("'blockIO': {'throttleReadBpsDevice': [{'major': -1, 'minor': 2}]}"),
		RESOURCES("'hugepageLimits': [{'pageSize': '64KB', 'limit': 0}]"),
		RESOURCES("'devices': [{'allow': true, 'access': '', 'major': -1}]"),
		RESOURCES("'network': {'classID': 4294967295, 'priorities': []}"),
		SECCOMP("'architectures': ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86_64']"),
		SECCOMP("'flags': ['SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']"),
		SYSCALL("'action': 'SCMP_ACT_NOTIFY', 'errnoRet': 4294967295, 'args': []"),
		SYSCALL("'action': 'SCMP_ACT_LOG', 'args': [{'index': 5, 'value': 1,"
			"'valueTwo': 18446744073709551615, 'op': 'SCMP_CMP_MASKED_EQ'}]"),
		VM("'image': {'path': '/i', 'format': 'qcow2'}"),
		VM("'hwConfig': {'iomems': [{'firstMFN': 1, 'nrMFNs': 2}]}"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(snippets); i++)
		must_accept(snippets[i]);
}

struct refusal {
	const char *snippet, *message;
};

static void must_refuse_all(const struct refusal *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		must_refuse(cases[i].snippet, cases[i].message);
}

static void wrong_types_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{ RESOURCES("'memory': {'limit': '5'}"),
		  "/linux/resources/memory/limit: expected an integer, found a string" },
		{ "'process': []", "/process: expected an object, found an array" },
		{ "'mounts': {}", "/mounts: expected an array, found an object" },
		{ "'mounts': [{'destination': '/a'}, null]",
		  "/mounts/1: expected an object, found null" },
		{ "'mounts': [{'destination': '/'}, {'destination': '/'}, {'destination': '/'},"
		  "{'destination': 3}]",
		  "/mounts/3/destination: expected a string, found a number" },
		{ "'mounts': [{'destination': null}]",
		  "/mounts/0/destination: expected a string, found null" },
		{ "'hostname': null", "/hostname: expected a string, found null" },
		{ "'hooks': null", "/hooks: expected an object, found null" },
		{ PROCESS("'args': null"),
		  "/process/args: expected an array of strings, found null" },
		{ PROCESS("'oomScoreAdj': null"),
		  "/process/oomScoreAdj: expected an integer, found null" },
		{ "'hostname': true", "/hostname: expected a string, found a boolean" },
		{ PROCESS("'args': 'sh'"),
		  "/process/args: expected an array of strings, found a string" },
		{ PROCESS("'args': ['sh', 1]"),
		  "/process/args/1: expected a string, found a number" },
		{ PROCESS("'args': ['sh', null]"),
		  "/process/args/1: expected a string, found null" },
		{ PROCESS("'terminal': 1"),
		  "/process/terminal: expected a boolean, found a number" },
		{ PROCESS("'user': {'additionalGids': 5}"),
		  "/process/user/additionalGids: expected an array of integers, found a number" },
		{ PROCESS("'user': {'additionalGids': [5, '6']}"),
		  "/process/user/additionalGids/1: expected an integer, found a string" },
		{ "'annotations': ['a']", "/annotations: expected an object, found an array" },
		{ "'annotations': {'a.b': 1}",
		  "/annotations/a.b: expected a string, found a number" },
		{ LINUX("'netDevices': []"),
		  "/linux/netDevices: expected an object, found an array" },
		{ LINUX("'netDevices': {'eth0': 1}"),
		  "/linux/netDevices/eth0: expected an object, found a number" },
		{ RESOURCES("'rdma': {'a': {'hcaHandles': {}}}"),
		  "/linux/resources/rdma/a/hcaHandles: expected an integer, found an object" },
		{ RESOURCES("'devices': [{'allow': 'yes'}]"),
		  "/linux/resources/devices/0/allow: expected a boolean, found a string" },
	};
	static const char *const wholes[][2] = {
		{ "[]", "/: expected an object, found an array" },
		{ "null", "/: expected an object, found null" },
		{ "{\"ociVersion\": 1}", "/ociVersion: expected a string, found a number" },
		{ "{\"ociVersion\": null}", "/ociVersion: expected a string, found null" },
	};

	(void)state;
	must_refuse_all(cases, ARRAY_SIZE(cases));
	for (size_t i = 0; i < ARRAY_SIZE(wholes); i++) {
		struct oci_config *config;
		struct error err = { 0 };
		struct arena arena;

		arena_init(&arena, 0);
		assert_int_equal(
			oci_config_parse(wholes[i][0], strlen(wholes[i][0]), &arena, &config, &err),
			-EINVAL);
		assert_string_equal(err.text, wholes[i][1]);
		arena_free(&arena);
	}
}

static void missing_members_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{ "'root': {}", "/root/path: missing, but required" },
		{ "'mounts': [{}]", "/mounts/0/destination: missing, but required" },
		{ "'process': {}", "/process/cwd: missing, but required" },
		{ PROCESS("'consoleSize': {'height': 1}"),
		  "/process/consoleSize/width: missing, but required" },
		{ PROCESS("'rlimits': [{'type': 'RLIMIT_AS', 'soft': 1}]"),
		  "/process/rlimits/0/hard: missing, but required" },
		{ PROCESS("'scheduler': {}"), "/process/scheduler/policy: missing, but required" },
		{ PROCESS("'ioPriority': {}"), "/process/ioPriority/class: missing, but required" },
		{ HOOK("'args': []"), "/hooks/prestart/0/path: missing, but required" },
		{ LINUX("'namespaces': [{'path': '/a'}]"),
		  "/linux/namespaces/0/type: missing, but required" },
		{ LINUX("'uidMappings': [{'containerID': 0, 'size': 1}]"),
		  "/linux/uidMappings/0/hostID: missing, but required" },
		{ LINUX("'devices': [{'path': '/a'}]"),
		  "/linux/devices/0/type: missing, but required" },
		{ LINUX("'devices': [{'path': '/a', 'type': 'p'}, {'path': '/a', 'type': 'b'}]"),
		  "/linux/devices/1/major: missing, but required for type \"b\"" },
		{ LINUX("'devices': [{'path': '/a', 'type': 'c', 'major': 1}]"),
		  "/linux/devices/0/minor: missing, but required for type \"c\"" },
		{ LINUX("'seccomp': {}"), "/linux/seccomp/defaultAction: missing, but required" },
		{ SECCOMP("'syscalls': [{'action': 'SCMP_ACT_KILL'}]"),
		  "/linux/seccomp/syscalls/0/names: missing, but required" },
		{ SYSCALL("'args': []"),
		  "/linux/seccomp/syscalls/0/action: missing, but required" },
		{ SYSCALL("'action': 'SCMP_ACT_KILL', 'args': [{'index': 0, 'value': 0}]"),
		  "/linux/seccomp/syscalls/0/args/0/op: missing, but required" },
		{ RESOURCES("'pids': {}"), "/linux/resources/pids/limit: missing, but required" },
		{ RESOURCES("'devices': [{}]"),
		  "/linux/resources/devices/0/allow: missing, but required" },
		{ RESOURCES("'blockIO': {'weightDevice': [{'major': 1}]}"),
		  "/linux/resources/blockIO/weightDevice/0/minor: missing, but required" },
		{ RESOURCES("'blockIO': {'throttleWriteIOPSDevice': [{'minor': 1}]}"),
		  "/linux/resources/blockIO/throttleWriteIOPSDevice/0/major: missing, but required" },
		{ RESOURCES("'hugepageLimits': [{'limit': 1}]"),
		  "/linux/resources/hugepageLimits/0/pageSize: missing, but required" },
		{ RESOURCES("'network': {'priorities': [{'name': 'a'}]}"),
		  "/linux/resources/network/priorities/0/priority: missing, but required" },
		{ "'vm': {}", "/vm/kernel: missing, but required" },
		{ "'vm': {'kernel': {}}", "/vm/kernel/path: missing, but required" },
		{ VM("'hypervisor': {}"), "/vm/hypervisor/path: missing, but required" },
		{ VM("'image': {'path': '/i'}"), "/vm/image/format: missing, but required" },
		{ VM("'hwConfig': {'iomems': [{'firstMFN': 1}]}"),
		  "/vm/hwConfig/iomems/0/nrMFNs: missing, but required" },
	};
	struct oci_config *config;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	must_refuse_all(cases, ARRAY_SIZE(cases));
	arena_init(&arena, 0);
	assert_int_equal(oci_config_parse("{}", 2, &arena, &config, &err), -EINVAL);
	assert_string_equal(err.text, "/ociVersion: missing, but required");
	arena_free(&arena);
}

static void numbers_out_of_range_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{ PROCESS("'user': {'uid': 4294967296}"),
		  "/process/user/uid: 4294967296 is out of range (0 to 4294967294)" },
		{ PROCESS("'user': {'uid': -1}"),
		  "/process/user/uid: -1 is out of range (0 to 4294967294)" },
		/* To setresuid(2) and its like this is -1: no change, and the process would stay root. */
		{ PROCESS("'user': {'uid': 4294967295}"),
		  "/process/user/uid: 4294967295 is out of range (0 to 4294967294)" },
		{ PROCESS("'user': {'gid': 4294967295}"),
		  "/process/user/gid: 4294967295 is out of range (0 to 4294967294)" },
		{ PROCESS("'user': {'additionalGids': [1, 4294967295]}"),
		  "/process/user/additionalGids/1: 4294967295 is out of range (0 to 4294967294)" },
		{ PROCESS("'user': {'uid': 1e3}"),
		  "/process/user/uid: expected an integer, found 1e3" },
		{ PROCESS("'user': {'uid': 5.0}"),
		  "/process/user/uid: expected an integer, found 5.0" },
		{ PROCESS("'user': {'additionalGids': [1, 99999999999]}"),
		  "/process/user/additionalGids/1: 99999999999 is out of range (0 to 4294967294)" },
		{ PROCESS("'oomScoreAdj': 1001"),
		  "/process/oomScoreAdj: 1001 is out of range (-1000 to 1000)" },
		{ PROCESS("'oomScoreAdj': -1001"),
		  "/process/oomScoreAdj: -1001 is out of range (-1000 to 1000)" },
		{ PROCESS("'scheduler': {'policy': 'SCHED_OTHER', 'nice': 2147483648}"),
		  "/process/scheduler/nice: 2147483648 is out of range (-2147483648 to 2147483647)" },
		{ HOOK("'path': '/a', 'timeout': 0"),
		  "/hooks/prestart/0/timeout: 0 is out of range (1 to 9223372036854775807)" },
		{ HOOK("'path': '/a', 'timeout': -5"),
		  "/hooks/prestart/0/timeout: -5 is out of range (1 to 9223372036854775807)" },
		{ RESOURCES("'memory': {'limit': 9223372036854775808}"),
		  "/linux/resources/memory/limit: 9223372036854775808 is out of range "
		  "(-9223372036854775808 to 9223372036854775807)" },
		{ RESOURCES("'cpu': {'shares': 18446744073709551616}"),
		  "/linux/resources/cpu/shares: 18446744073709551616 is out of range "
		  "(0 to 18446744073709551615)" },
		{ RESOURCES("'blockIO': {'weight': 65536}"),
		  "/linux/resources/blockIO/weight: 65536 is out of range (0 to 65535)" },
		{ LINUX("'gidMappings': [{'containerID': 0, 'hostID': 0, 'size': 4294967296}]"),
		  "/linux/gidMappings/0/size: 4294967296 is out of range (0 to 4294967295)" },
		{ LINUX("'devices': [{'path': '/a', 'type': 'p', 'fileMode': 65536}]"),
		  "/linux/devices/0/fileMode: 65536 is out of range (0 to 511)" },
		{ LINUX("'timeOffsets': {'monotonic': {'nanosecs': -1}}"),
		  "/linux/timeOffsets/monotonic/nanosecs: -1 is out of range (0 to 4294967295)" },
		{ SYSCALL("'action': 'SCMP_ACT_KILL',"
			  "'args': [{'index': 6, 'value': 0, 'op': 'SCMP_CMP_EQ'}]"),
		  "/linux/seccomp/syscalls/0/args/0/index: 6 is out of range (0 to 5)" },
	};

	(void)state;
	must_refuse_all(cases, ARRAY_SIZE(cases));
}

static void wrong_strings_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{ "'root': {'path': ''}", "/root/path: expected a path, found \"\"" },
		{ "'mounts': [{'destination': ''}]",
		  "/mounts/0/destination: expected a path, found \"\"" },
		{ "'process': {'cwd': 'tmp'}",
		  "/process/cwd: expected an absolute path, found \"tmp\"" },
		{ "'process': {'cwd': ''}", "/process/cwd: expected an absolute path, found \"\"" },
		{ PROCESS("'args': []"), "/process/args: expected at least one entry" },
		{ PROCESS("'rlimits': [{'type': 'NOFILE', 'soft': 1, 'hard': 1}]"),
		  "/process/rlimits/0/type: expected RLIMIT_ and a name, found \"NOFILE\"" },
		{ PROCESS("'rlimits': [{'type': 'RLIMIT_', 'soft': 1, 'hard': 1}]"),
		  "/process/rlimits/0/type: expected RLIMIT_ and a name, found \"RLIMIT_\"" },
		{ PROCESS("'scheduler': {'policy': 'SCHED_X'}"),
		  "/process/scheduler/policy: \"SCHED_X\" is not one of SCHED_OTHER, SCHED_FIFO, "
		  "SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE" },
		{ PROCESS("'scheduler': {'policy': 'SCHED_RR', 'flags': ['SCHED_FLAG_RECLAIM', 'x']}"),
		  "/process/scheduler/flags/1: \"x\" is not one of SCHED_FLAG_RESET_ON_FORK, "
		  "SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN, SCHED_FLAG_KEEP_POLICY, "
		  "SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP_MIN, SCHED_FLAG_UTIL_CLAMP_MAX" },
		{ PROCESS("'ioPriority': {'class': 'RT'}"),
		  "/process/ioPriority/class: \"RT\" is not one of IOPRIO_CLASS_RT, "
		  "IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE" },
		{ PROCESS("'execCPUAffinity': {'final': '0-x'}"),
		  "/process/execCPUAffinity/final: expected a list of CPUs as 0-3,7, "
		  "found \"0-x\"" },
		{ HOOK("'path': 'true'"),
		  "/hooks/prestart/0/path: expected an absolute path, found \"true\"" },
		{ "'annotations': {'a': '', '': 'x'}",
		  "/annotations: the name of a member is empty" },
		{ LINUX("'namespaces': [{'type': 'net'}]"),
		  "/linux/namespaces/0/type: \"net\" is not one of pid, network, mount, ipc, uts, "
		  "user, cgroup, time" },
		{ LINUX("'namespaces': [{'type': 'pid', 'path': 'x'}]"),
		  "/linux/namespaces/0/path: expected an absolute path, found \"x\"" },
		{ LINUX("'devices': [{'path': 'dev/a', 'type': 'p'}]"),
		  "/linux/devices/0/path: expected an absolute path, found \"dev/a\"" },
		{ LINUX("'devices': [{'path': '/a', 'type': 'x'}]"),
		  "/linux/devices/0/type: \"x\" is not one of c, b, u, p" },
		{ LINUX("'rootfsPropagation': 'Private'"),
		  "/linux/rootfsPropagation: \"Private\" is not one of private, shared, slave, "
		  "unbindable, rprivate, rshared, rslave, runbindable" },
		{ LINUX("'personality': {'domain': 'BSD'}"),
		  "/linux/personality/domain: \"BSD\" is not one of LINUX, LINUX32" },
		{ LINUX("'memoryPolicy': {'mode': 'MPOL'}"),
		  "/linux/memoryPolicy/mode: \"MPOL\" is not one of MPOL_DEFAULT, MPOL_BIND, "
		  "MPOL_INTERLEAVE, MPOL_WEIGHTED_INTERLEAVE, MPOL_PREFERRED, "
		  "MPOL_PREFERRED_MANY, MPOL_LOCAL" },
		{ LINUX("'memoryPolicy': {'flags': ['x']}"),
		  "/linux/memoryPolicy/flags/0: \"x\" is not one of MPOL_F_NUMA_BALANCING, "
		  "MPOL_F_RELATIVE_NODES, MPOL_F_STATIC_NODES" },
		{ LINUX("'intelRdt': {'memBwSchema': 'L3:0=f'}"),
		  "/linux/intelRdt/memBwSchema: expected MB: and one line, found \"L3:0=f\"" },
		{ LINUX("'intelRdt': {'memBwSchema': 'MB:0\\nL3:1'}"),
		  "/linux/intelRdt/memBwSchema: expected MB: and one line, found \"MB:0?L3:1\"" },
		{ LINUX("'seccomp': {'defaultAction': 'ALLOW'}"),
		  "/linux/seccomp/defaultAction: \"ALLOW\" is not one of SCMP_ACT_KILL, "
		  "SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_TRAP, SCMP_ACT_ERRNO, "
		  "SCMP_ACT_TRACE, SCMP_ACT_ALLOW, SCMP_ACT_LOG, SCMP_ACT_NOTIFY" },
		{ SECCOMP("'flags': ['']"),
		  "/linux/seccomp/flags/0: \"\" is not one of SECCOMP_FILTER_FLAG_TSYNC, "
		  "SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, "
		  "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" },
		{ SECCOMP("'syscalls': [{'names': [], 'action': 'SCMP_ACT_LOG'}]"),
		  "/linux/seccomp/syscalls/0/names: expected at least one entry" },
		{ SYSCALL("'action': 'SCMP_ACT_LOG',"
			  "'args': [{'index': 0, 'value': 0, 'op': '=='}]"),
		  "/linux/seccomp/syscalls/0/args/0/op: \"==\" is not one of SCMP_CMP_NE, "
		  "SCMP_CMP_LT, SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, "
		  "SCMP_CMP_MASKED_EQ" },
		{ RESOURCES("'hugepageLimits': [{'pageSize': '2048', 'limit': 1}]"),
		  "/linux/resources/hugepageLimits/0/pageSize: expected a size as 2MB, "
		  "found \"2048\"" },
		{ RESOURCES("'hugepageLimits': [{'pageSize': '02MB', 'limit': 1}]"),
		  "/linux/resources/hugepageLimits/0/pageSize: expected a size as 2MB, "
		  "found \"02MB\"" },
		{ RESOURCES("'devices': [{'allow': true, 'type': 'd'}]"),
		  "/linux/resources/devices/0/type: \"d\" is not one of a, b, c" },
		{ RESOURCES("'devices': [{'allow': true, 'access': 'rx'}]"),
		  "/linux/resources/devices/0/access: expected letters of rwm, found \"rx\"" },
		{ "'vm': {'kernel': {'path': 'k'}}",
		  "/vm/kernel/path: expected an absolute path, found \"k\"" },
		{ "'vm': {'kernel': {'path': ''}}",
		  "/vm/kernel/path: expected an absolute path, found \"\"" },
		{ VM("'image': {'path': '/i', 'format': 'iso'}"),
		  "/vm/image/format: \"iso\" is not one of raw, qcow2, vdi, vmdk, vhd" },
		{ VM("'hypervisor': {'path': 'x'}"),
		  "/vm/hypervisor/path: expected an absolute path, found \"x\"" },
	};

	(void)state;
	must_refuse_all(cases, ARRAY_SIZE(cases));
	/* An architecture that is not known is named; the list of known ones is long. */
	must_refuse(SECCOMP("'architectures': ['SCMP_ARCH_X86', 'SCMP_ARCH_Z80']"),
		    "/linux/seccomp/architectures/1: \"SCMP_ARCH_Z80\" is not one of "
		    "SCMP_ARCH_X86, SCMP_ARCH_X86_64, SCMP_ARCH_X32, SCMP_ARCH_ARM, "
		    "SCMP_ARCH_AARCH64, SCMP_ARCH_LOONGARCH64, SCMP_ARCH_M68K, SCMP_ARCH_MIPS, "
		    "SCMP_ARCH_MIPS64, SCMP_ARCH_MIPS64N32, SCMP_ARCH_MIPSEL, SCMP_ARCH_MIPSEL64, "
		    "SCMP_ARCH_MIPSEL64N32, SCMP_ARCH_PPC, SCMP_ARCH_PPC64, SCMP_ARCH_PPC64LE, "
		    "SCMP_ARCH_S390, SCMP_ARCH_S390X, SCMP_ARCH_SH, SCMP_ARCH_SHEB, "
		    "SCMP_ARCH_PARISC, SCMP_ARCH_PARISC64, SCMP_ARCH_RISCV64");
}

static void repeated_entries_are_refused(void **state)
{
	static const struct refusal cases[] = {
		{ LINUX("'namespaces': [{'type': 'pid'}, {'type': 'uts'},"
			"{'type': 'pid', 'path': '/x'}]"),
		  "/linux/namespaces/2/type: \"pid\" appears twice" },
		{ PROCESS("'rlimits': [{'type': 'RLIMIT_AS', 'soft': 1, 'hard': 1},"
			  "{'type': 'RLIMIT_AS', 'soft': 1, 'hard': 1}]"),
		  "/process/rlimits/1/type: \"RLIMIT_AS\" appears twice" },
		{ "'hostname': 'a', 'hostname': 'b'",
		  "invalid JSON at line 1, column 52: member \"hostname\" appears twice in one "
		  "object" },
	};

	(void)state;
	must_refuse_all(cases, ARRAY_SIZE(cases));
}

static void versions_are_those_of_1_x(void **state)
{
	static const char *const good[] = { "1.0.0",    "1.0.2-dev", "1.3.0+dev",
					    "1.99.123", "1.0.0-rc5", "1.2.3-a.b+c" };
	static const char *const bad[] = { "",       "1",      "1.0",       "1.0.",   "1..0",
					   "2.0.0",  "0.5.0",  "v1.0.0",    "1.0.0-", "1.0.0 ",
					   "1.0.0x", "10.0.0", "1.0.0-a b", "1.-1.0" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good) + ARRAY_SIZE(bad); i++) {
		bool valid = i < ARRAY_SIZE(good);
		const char *version = valid ? good[i] : bad[i - ARRAY_SIZE(good)];
		struct oci_config *config;
		struct error err = { 0 };
		struct arena arena;
		char text[64], message[96];

		arena_init(&arena, 0);
		snprintf(text, sizeof(text), "{\"ociVersion\": \"%s\"}", version);
		snprintf(message, sizeof(message),
			 "/ociVersion: expected a version 1.x.y, found \"%s\"", version);
		assert_int_equal(oci_config_parse(text, strlen(text), &arena, &config, &err),
				 valid ? 0 : -EINVAL);
		assert_string_equal(err.text, valid ? "" : message);
		arena_free(&arena);
	}
}

/* What a file says cannot break a message into two lines or make it endless. */
static void messages_quote_safely(void **state)
{
	char name[3000], snippet[3200];
	struct oci_config *config;
	struct error err = { 0 };
	struct arena arena;

	(void)state;
	must_refuse("'process': {'cwd': 'a\\nlevel=error\\u0007'}",
		    "/process/cwd: expected an absolute path, found \"a?level=error?\"");
	must_refuse("'annotations': {'a\\nb': 1}",
		    "/annotations/a?b: expected a string, found a number");
	memset(name, 0xc3, sizeof(name));
	for (size_t i = 1; i < sizeof(name); i += 2)
		name[i] = (char)0xa9;
	name[sizeof(name) - 2] = '\0';
	snprintf(snippet, sizeof(snippet), "'process': {'cwd': '%s'}", name);
	assert_int_equal(parse_config(snippet, &arena, &config, &err), -EINVAL);
	assert_true(strlen(err.text) < 200);
	assert_non_null(strstr(err.text, "\u00e9...\""));
	arena_free(&arena);
	snprintf(snippet, sizeof(snippet), "'annotations': {'%s': 1}", name);
	assert_int_equal(parse_config(snippet, &arena, &config, &err), -EINVAL);
	assert_true(strlen(err.text) < 200);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_snippets_are_accepted),
		cmocka_unit_test(wrong_types_are_refused),
		cmocka_unit_test(missing_members_are_refused),
		cmocka_unit_test(numbers_out_of_range_are_refused),
		cmocka_unit_test(wrong_strings_are_refused),
		cmocka_unit_test(repeated_entries_are_refused),
		cmocka_unit_test(versions_are_those_of_1_x),
		cmocka_unit_test(messages_quote_safely),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
